//! Logins at a database that does as it is told, and how long they may take.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;
use casemate_egress::{Code, Stage};
use postgres_protocol::message::frontend::startup_message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    net::TcpListener,
    sync::Notify,
    time::sleep,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    upstream::Roots,
    world::{Rule, World},
};

/// Lets somebody in, after a password.
const LETS_IN: &[u8] = &[b'R', 0, 0, 0, 8, 0, 0, 0, 3, b'R', 0, 0, 0, 8, 0, 0, 0, 0];
/// Says something that nobody has to know.
const NOTES: &[u8] = &[b'N', 0, 0, 0, 5, 0];
/// Between two of those: sooner than one of them is waited for.
const PAUSE: Duration = Duration::from_secs(5);

/// A database that says something to whoever logs in, and no more.
struct Database {
    port: u16,
    /// What came, until now.
    heard: Arc<Mutex<Vec<u8>>>,
    started: Arc<Notify>,
    /// A connection to it did.
    ended: Arc<Notify>,
}

impl Database {
    async fn start(roots: &Roots, says: Vec<u8>, notes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tls = roots.server(&["db.test"], &[b"postgresql"], |_| {});
        let tls = TlsAcceptor::from(Arc::new(tls));
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let (started, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let database = Self {
            port,
            heard: Arc::clone(&heard),
            started: Arc::clone(&started),
            ended: Arc::clone(&ended),
        };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.read_exact(&mut [0; 8]).await.unwrap();
                stream.write_all(b"S").await.unwrap();
                let mut stream = tls.accept(stream).await.unwrap();
                let mut bytes = Vec::new();
                loop {
                    let read = tokio::select! {
                        read = stream.read_buf(&mut bytes) => read,
                        () = sleep(PAUSE), if notes => {
                            stream.write_all(NOTES).await.unwrap();
                            stream.flush().await.unwrap();
                            continue;
                        }
                    };
                    if !matches!(read, Ok(1..)) {
                        break;
                    }
                    let is_first = heard.lock().unwrap().is_empty();
                    heard.lock().unwrap().append(&mut bytes);
                    if is_first {
                        stream.write_all(&says).await.unwrap();
                        stream.flush().await.unwrap();
                        started.notify_one();
                    }
                }
                ended.notify_one();
            }
        });
        database
    }

    fn heard(&self) -> usize {
        self.heard.lock().unwrap().len()
    }
}

/// A database that says this, perhaps notes for ever, and a proxy with a rule for it.
async fn world(says: &[u8], notes: bool) -> (World, Database) {
    let roots = Roots::new();
    let database = Database::start(&roots, says.to_vec(), notes).await;
    let world = World::new(&roots.pem, Vec::new());
    let rule = Rule {
        logins: true,
        credential: Some("cred:db".to_owned()),
        ..Rule::local(database.port)
    };
    world.allow("db.test", rule);
    (world, database)
}

/// A login that such a database has begun to answer.
async fn begun(says: &[u8], notes: bool) -> (World, Database, DuplexStream) {
    let (world, database) = world(says, notes).await;
    let mut client = log_in(&world, database.port, "one").await;
    database.started.notified().await;
    if says == LETS_IN {
        client.read_exact(&mut [0; 9]).await.unwrap();
    }
    (world, database, client)
}

/// A client that logs in, and sets its name to this.
async fn log_in(world: &World, port: u16, name: &str) -> DuplexStream {
    let address = crate::entries::address(world, "db.test").await;
    let mut client = world.connect_to(SocketAddr::from((address, port)));
    let mut message = BytesMut::new();
    let parameters = [
        ("user", "agent"),
        ("database", "orders"),
        ("application_name", name),
    ];
    startup_message(parameters, &mut message).unwrap();
    client.write_all(&message).await.unwrap();
    client
}

/// What the client is told, until the connection ends.
async fn told(mut client: DuplexStream) -> String {
    let mut told = Vec::new();
    client.read_to_end(&mut told).await.unwrap();
    String::from_utf8_lossy(&told).into_owned()
}

/// What a client sets leaves with its login; the record that is there before says how much that is, and so does the last one.
#[tokio::test]
async fn what_a_client_sets_is_in_the_record() {
    let (world, database) = world(b"", false).await;
    let name = "x".repeat(5_000);
    let client = log_in(&world, database.port, &name).await;
    database.started.notified().await;
    let sent = world.records(1).await;
    let left = database.heard();
    assert!(left > name.len(), "{left}");
    assert_eq!(sent[0].stage, Stage::Sent);
    assert_eq!(sent[0].bytes_out, u64::try_from(left).unwrap());
    world.withdraw("db.test");
    drop(client);
    assert_eq!(world.records(2).await[1].bytes_out, sent[0].bytes_out);
}

/// What a client sets and there is no budget for does not leave, and is not recorded as sent.
#[tokio::test]
async fn what_a_client_sets_is_in_the_budget() {
    let (world, database) = world(b"", false).await;
    world
        .rules
        .change("db.test", |rule| rule.budget = Some(1_000));
    let client = log_in(&world, database.port, &"x".repeat(5_000)).await;
    let told = told(client).await;
    assert!(told.contains("budget_exhausted"), "{told}");
    assert_eq!(world.denied().await, Code::BudgetExhausted);
    assert_eq!(world.records(1).await[0].bytes_out, 0);
    assert_eq!(database.heard(), 0);
}

/// A login is given up when its client goes, before the database has let it in and after.
#[tokio::test]
async fn a_client_that_goes_takes_its_login_along() {
    for says in [&[][..], LETS_IN] {
        let (world, database, client) = begun(says, false).await;
        drop(client);
        database.ended.notified().await;
        let records = world.records(2).await;
        assert_eq!(records[1].stage, Stage::Ended(Some(Code::ClientGone)));
    }
}

/// A rule that is taken back ends a login that is being made, and its client is told.
#[tokio::test]
async fn a_login_is_cut_off() {
    for says in [&[][..], LETS_IN] {
        let (world, database, client) = begun(says, false).await;
        world.withdraw("db.test");
        database.ended.notified().await;
        let told = told(client).await;
        assert!(told.contains("revoked"), "{told}");
        let records = world.records(2).await;
        assert_eq!(records[1].stage, Stage::Ended(Some(Code::Revoked)));
    }
}

/// I15: a database that always has something to say keeps nobody for longer than a login may take.
#[tokio::test]
async fn a_login_takes_no_longer_than_it_may() {
    for says in [&[][..], LETS_IN] {
        let (world, _database, client) = begun(says, true).await;
        tokio::time::pause();
        let told = told(client).await;
        tokio::time::resume();
        assert!(told.contains("casemate: timeout"), "{told}");
        let records = world.records(2).await;
        assert_eq!(records[1].stage, Stage::Ended(Some(Code::Timeout)));
    }
}

/// I1: a database that lets in whoever comes has its own word, and one that does not speak as it must has another.
#[tokio::test]
async fn what_a_database_does_wrong_is_told_apart() {
    let unproven = &LETS_IN[9..];
    for (says, code) in [
        (unproven, Code::LoginUnproven),
        (b"HTTP/1.1 400\r\n", Code::UpstreamProtocol),
    ] {
        let (world, database) = world(says, false).await;
        let told = told(log_in(&world, database.port, "one").await).await;
        assert!(told.contains(&format!("casemate: {code}")), "{told}");
        assert!(!told.contains("HTTP"), "{told}");
        let records = world.records(2).await;
        assert_eq!(records[1].stage, Stage::Ended(Some(code)));
    }
}
