//! Very many connections, and such as never say what they want.

use std::{env, fs, net::SocketAddr, process::Command, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::remote::{Headers, Remote};

/// At one time, if there may be so many open files.
const CROWD: usize = 10_000;
/// How many of one address there may be.
const OF_ADDRESS: usize = casemate_api::limits::MAX_CONNECTIONS_OF_ADDRESS;
/// Set for the process that does nothing else.
const ALONE: &str = "CASEMATE_TEST_ALONE";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// The status of an answer to somebody at this address, if there is one.
async fn status(remote: &Remote, address: [u8; 4], by: &Headers) -> Option<u16> {
    let mut stream = from(address, remote.address).await;
    let mut request = "GET /v1/load HTTP/1.1\r\nhost: casemate\r\nconnection: close\r\n".to_owned();
    for (name, value) in by {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).unwrap();
    text.split(' ').nth(1)?.parse().ok()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Ten thousand connections of one address that say half of something take as many places as one address has, and nobody else's:
/// others are served meanwhile, and it is too when they are gone.
///
/// It counts the open files of its process, so it has one of its own, whatever runs the tests.
#[test]
fn ten_thousand_connections_keep_nobody_else_out() {
    if env::var_os(ALONE).is_some() {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build();
        return runtime.unwrap().block_on(a_crowd_keeps_nobody_else_out());
    }
    let name = "crowd::ten_thousand_connections_keep_nobody_else_out";
    let alone = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(
        alone.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&alone.stderr)
    );
}

async fn a_crowd_keeps_nobody_else_out() {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    let of_crowd = CROWD.min(most.saturating_sub(2 * OF_ADDRESS));
    assert!(
        of_crowd >= 4 * OF_ADDRESS,
        "a process may have {most} open files here (`ulimit -Hn`): too few for a crowd"
    );
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let remote = Remote::new().await;
    let by = remote.somebody(&["reader"]);
    let (crowded, other) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    assert_eq!(status(&remote, crowded, &by).await, Some(200));
    let before = descriptors();
    let crowd = async {
        let mut crowd = Vec::with_capacity(of_crowd);
        for _ in 0..of_crowd {
            let mut stream = from(crowded, remote.address).await;
            // One that was closed already says so, and is still held here.
            drop(stream.write_all(b"GET /v1/load HTTP/1.1\r\nhost: c").await);
            crowd.push(stream);
        }
        crowd
    };
    let crowd = timeout(PATIENCE, crowd).await.unwrap();
    let served = timeout(PATIENCE, status(&remote, other, &by)).await;
    assert_eq!(served.unwrap(), Some(200));
    assert_eq!(crowd.len(), of_crowd);
    let taken = descriptors().saturating_sub(before + of_crowd);
    assert!(
        taken <= OF_ADDRESS + 16,
        "{taken} descriptors for a crowd of one address"
    );
    // It has no place left.
    assert_eq!(status(&remote, crowded, &by).await, None);
    drop(crowd);
    let again = async {
        while status(&remote, crowded, &by).await != Some(200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
}

/// Whoever stops in the middle of a body has asked for nothing: no call runs, nothing fails, and every place is given back.
#[tokio::test]
async fn a_body_that_is_cut_off_runs_nothing() {
    let remote = Remote::new().await;
    let by = remote.somebody(&["operator"]);
    let mut clients = JoinSet::new();
    for number in 0..OF_ADDRESS * 2 {
        let to = remote.address;
        let length = match number % 3 {
            0 => "content-length: 1000",
            1 => "content-length: 67108864",
            _ => "transfer-encoding: chunked",
        };
        let mut request = format!(
            "POST /v1/calls HTTP/1.1\r\nhost: c\r\ncontent-type: application/json\r\n{length}\r\n"
        );
        for (name, value) in &by {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n{\"tool\": \"python\", \"code\": \"1\"";
        clients.spawn(async move {
            let mut stream = from([127, 0, 0, 4], to).await;
            drop(stream.write_all(request.as_bytes()).await);
            // Half of them still listen.
            drop(stream.shutdown().await);
            let mut answer = Vec::new();
            if number % 2 == 0 {
                drop(stream.read_to_end(&mut answer).await);
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    let answers = timeout(PATIENCE, clients.join_all()).await.unwrap();
    for answer in answers.iter().filter(|answer| !answer.is_empty()) {
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    let again = async {
        while status(&remote, [127, 0, 0, 4], &by).await != Some(200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
    assert_eq!(remote.house.keeper.runs(), 0);
}
