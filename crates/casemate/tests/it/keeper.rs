//! The keeper's process: one for a user, started when it is needed, gone when it is not.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Stdio,
    thread::sleep,
    time::{Duration, Instant},
};

use casemate_model::{Cause, Digest, Limits, SessionId, Text};
use casemate_ports::{
    CHANNEL_CAPACITY, CallIo, Command, Event, ImageRef, KeeperError, Kind, Owner, PlaceSpec, Quota,
    Quotas, Sandbox as _, SessionKeeper as _, SessionSpec,
};
use casemate_transport::RemoteKeeper;
use rustix::process::{Pid, Signal, getsid, kill_process, test_kill_process};
use tokio::sync::mpsc;

use crate::home::{Home, for_everybody};

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

const SOCKET: &str = "state/run/keeper.sock";

/// The keepers of a home; they die with this.
pub(crate) struct Keepers<'a>(pub(crate) &'a Home);

impl Keepers<'_> {
    /// Those that are alive now.
    fn alive(&self) -> Vec<Pid> {
        let socket = self.0.path(SOCKET);
        let is_one = |process: &Path| {
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let words: Vec<_> = words.split(|byte| *byte == 0).collect();
            words.get(..3) == Some(&[b"casemate".as_slice(), b"keeper", b"--socket"])
                && words
                    .get(3)
                    .is_some_and(|word| *word == socket.as_os_str().as_encoded_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let found: Vec<_> = processes
            .filter(|process| is_one(&process.path()))
            .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?))
            .collect();
        // What a keeper clones for a sandbox looks like it until it is one.
        let is_clone = |process: &Pid| {
            let parent = parent(*process);
            parent.is_some_and(|parent| found.contains(&parent))
        };
        let keepers = found.iter().filter(|process| !is_clone(process));
        keepers.copied().collect()
    }

    /// The one that is alive.
    #[track_caller]
    pub(crate) fn one(&self) -> Pid {
        let alive = self.alive();
        assert_eq!(alive.len(), 1, "{alive:?}");
        alive[0]
    }
}

fn parent(process: Pid) -> Option<Pid> {
    let path = format!("/proc/{}/status", process.as_raw_nonzero());
    let status = fs::read_to_string(path).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(line.trim().parse().ok()?)
}

impl Drop for Keepers<'_> {
    fn drop(&mut self) {
        for keeper in self.alive() {
            let _ = kill_process(keeper, Signal::KILL);
        }
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not yet: {what}");
        sleep(Duration::from_millis(10));
    }
}

fn is_gone(keeper: Pid) -> bool {
    test_kill_process(keeper).is_err()
}

/// However many want one at once, there is one, and nobody is turned away.
#[test]
fn many_starters_come_to_one_keeper() {
    for_everybody(|home| {
        let keepers = Keepers(home);
        let starters: Vec<_> = (0..8)
            .map(|_| {
                let mut starter = home.casemate(["keeper"]);
                starter.stdout(Stdio::piped()).stderr(Stdio::piped());
                starter.spawn().unwrap()
            })
            .collect();
        for starter in starters {
            let ran = crate::home::Ran(starter.wait_with_output().unwrap());
            ran.exits(0);
            assert_eq!(ran.json()["sessions"], serde_json::json!([]));
        }
        until("the others have given up", || keepers.alive().len() == 1);
        let keeper = keepers.one();
        home.run(["keeper"]).exits(0);
        assert_eq!(keepers.one(), keeper);
    });
}

/// It has nothing of whoever started it, and one thread.
#[test]
fn a_keeper_has_nothing_of_its_starter() {
    for_everybody(|home| {
        let keepers = Keepers(home);
        home.run(["keeper"]).exits(0);
        let keeper = keepers.one();
        let process = Path::new("/proc").join(keeper.to_string());
        assert_eq!(fs::read(process.join("environ")).unwrap(), b"");
        assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
        assert_eq!(getsid(Some(keeper)).unwrap(), keeper);
        assert_eq!(fs::read_dir(process.join("task")).unwrap().count(), 1);
        let limits = fs::read_to_string(process.join("limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        let words: Vec<_> = core.split_whitespace().collect();
        assert_eq!(words[4..6], ["1", "1"], "{core}");
        let status = fs::read_to_string(process.join("status")).unwrap();
        assert!(status.contains("\nUmask:\t0077\n"), "{status}");
        for entry in fs::read_dir(process.join("fd")).unwrap().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            let ours = [
                "/dev/null",
                "socket:",
                "anon_inode:",
                "/memfd:",
                "pipe:",
                "/proc",
            ];
            let state = home.path("state/run").to_string_lossy().into_owned();
            let known = ours.iter().any(|start| target.starts_with(start))
                || target.starts_with(&state)
                || target.starts_with("/sys/fs/cgroup");
            assert!(known, "a descriptor of {target}");
        }
    });
}

#[test]
fn a_keeper_that_dies_is_replaced_and_one_that_is_asked_goes() {
    for_everybody(|home| {
        let keepers = Keepers(home);
        home.run(["keeper"]).exits(0);
        let first = keepers.one();
        kill_process(first, Signal::KILL).unwrap();
        until("it is dead", || keepers.alive().is_empty());
        assert!(home.path(SOCKET).exists());
        home.run(["keeper"]).exits(0);
        let second = keepers.one();
        assert_ne!(first, second);
        kill_process(second, Signal::TERM).unwrap();
        until("it has gone", || keepers.alive().is_empty());
        assert!(!home.path(SOCKET).exists());
    });
}

/// A keeper that nobody needs does not stay.
#[test]
fn a_keeper_that_nobody_needs_ends() {
    for_everybody(|home| {
        home.run(["keeper"]).exits(0);
        let keepers = Keepers(home);
        kill_process(keepers.one(), Signal::TERM).unwrap();
        until("it has gone", || keepers.alive().is_empty());
        let words = [
            "keeper",
            "--socket",
            SOCKET,
            "--images",
            "state/images",
            "--idle-exit",
            "1s",
        ];
        let mut keeper = home.casemate(words).arg0("casemate").spawn().unwrap();
        let start = Instant::now();
        assert!(keeper.wait().unwrap().success());
        assert!(start.elapsed() > Duration::from_secs(1));
        assert!(!home.path(SOCKET).exists());
    });
}

#[test]
fn a_second_keeper_on_a_socket_and_an_open_directory_are_refused() {
    for_everybody(|home| {
        let keepers = Keepers(home);
        home.run(["keeper"]).exits(0);
        let words = ["keeper", "--socket", SOCKET, "--images", "state/images"];
        home.run(words).exits(123).says("a keeper listens on");
        let keeper = keepers.one();
        assert!(!is_gone(keeper));
        fs::create_dir(home.path("open")).unwrap();
        home.give("open");
        home.run(["keeper", "--socket", "open/s", "--images", "i"])
            .exits(123)
            .says("mode 0700");
        home.run(["keeper", "--socket", "x"]).exits(2);
    });
}

fn owner() -> Owner {
    Owner {
        tenant: "acme".into(),
        agent: "local".into(),
    }
}

fn session() -> SessionSpec {
    let quota = Quota {
        memory_bytes: 1 << 30,
        processes: 100,
        cpu_milli: 1_000,
        calls: 4,
    };
    SessionSpec {
        id: SessionId::new(1, [7; 10]),
        owner: owner(),
        kind: Kind {
            image: ImageRef::Host,
            profile: Digest::of(b"profile"),
            python: false,
            limits: Limits::default(),
            quotas: Quotas {
                session: quota,
                agent: quota,
                tenant: quota,
            },
            way: None,
            violations: None,
        },
        idle_ms: 60_000,
        max_ms: 60_000,
        resumes: false,
    }
}

/// A command runs in a session of the keeper, which is another process; when that is asked to go, the caller is told
/// how the command ended, and nothing of it is left.
#[tokio::test]
async fn a_keeper_that_is_asked_to_go_ends_what_runs_and_says_so() {
    let home = Home::new();
    let keepers = Keepers(&home);
    home.run(["keeper"]).exits(0);
    let process = keepers.one();
    let keeper = RemoteKeeper::connect(&home.path(SOCKET)).await.unwrap();
    let spec = session();
    keeper.open(spec.clone()).await.unwrap();
    let mut place = keeper
        .place(PlaceSpec {
            session: spec.id,
            owner: owner(),
            limits: Limits::default(),
            inputs: Vec::new(),
            context: None,
            way: None,
        })
        .await
        .unwrap();
    place.ready().await.unwrap();
    let (_stdin, stdin) = mpsc::channel(CHANNEL_CAPACITY);
    let (_control, control) = mpsc::channel(CHANNEL_CAPACITY);
    let (events, mut heard) = mpsc::channel(CHANNEL_CAPACITY);
    let io = CallIo {
        stdin,
        control,
        events,
    };
    let command = Command {
        argv: ["sh", "-c", "echo ready; exec sleep 86399"]
            .map(Text::from)
            .to_vec(),
        ..Command::default()
    };
    let running = async {
        let ended = place.run(command, io).await;
        (ended, Instant::now())
    };
    let asking = async {
        let Some(Event::Output(_, bytes)) = heard.recv().await else {
            panic!("it did not start");
        };
        assert_eq!(bytes, b"ready\n");
        kill_process(process, Signal::TERM).unwrap();
        Instant::now()
    };
    let ((ended, end), asked) = tokio::join!(running, asking);
    match ended {
        Ok(ended) => assert_eq!(ended.cause, Cause::SandboxLost),
        Err(error) => {
            let log = fs::read_to_string(home.path("state/run/keeper.log")).unwrap();
            assert!(
                matches!(error, KeeperError::SessionGone { .. }),
                "{error}: {log}"
            );
        }
    }
    assert!(end - asked < Duration::from_secs(5));
    until("it has gone", || keepers.alive().is_empty());
    let left = fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let words = fs::read(process.path().join("cmdline")).unwrap_or_default();
        words == b"sleep\x0086399\0"
    });
    assert!(!left, "the command lives on");
}
