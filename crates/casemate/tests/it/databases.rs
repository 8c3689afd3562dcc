//! Logins to a real PostgreSQL, by unmodified `psql` in real sandboxes that have no password.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    canary::fresh,
    credentials::Safe,
    deciders::{asked, install},
    home::users,
    keeper::until,
    upstream::{Roots, Upstream},
    way::HOST,
};

/// Whoever the server runs as if we are root, which it refuses: somebody with a name, `nobody`.
const SERVER_USER: u32 = 65_534;

/// A server with the users `agent` and `old`, both with one password.
struct Database {
    dir: tempfile::TempDir,
    server: Child,
    port: u16,
}

/// The programs of the newest PostgreSQL that is installed.
fn programs() -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .expect("PostgreSQL is not installed")
        .map(|version| version.unwrap().path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().expect("PostgreSQL is not installed")
}

impl Database {
    fn command(program: &str) -> Command {
        let program = programs().join(program);
        if !rustix::process::geteuid().is_root() {
            let mut command = Command::new(program);
            command.current_dir("/");
            return command;
        }
        let mut command = Command::new("setpriv");
        let user = SERVER_USER;
        // It wants to come back to where it began, which may be nobody else's.
        command
            .current_dir("/")
            .args([format!("--reuid={user}"), format!("--regid={user}")])
            .arg("--clear-groups")
            .arg(program);
        command
    }

    /// One whose certificate is `certificate`'s, and which encrypts if there is one.
    fn start(roots: &Roots, name: Option<&str>, secret: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |file: &str| dir.path().join(file);
        let give = |file: &Path| {
            if rustix::process::geteuid().is_root() {
                chown(file, Some(SERVER_USER), Some(SERVER_USER)).unwrap();
            }
        };
        give(dir.path());
        let write = |file: &str, text: &str| {
            fs::write(path(file), text).unwrap();
            fs::set_permissions(
                path(file),
                std::os::unix::fs::PermissionsExt::from_mode(0o600),
            )
            .unwrap();
            give(&path(file));
        };
        write("password", secret);
        let made = Self::command("initdb")
            .args([
                "-U",
                "agent",
                "-A",
                "scram-sha-256",
                "--no-sync",
                "-E",
                "UTF8",
            ])
            .args(["--no-locale", "--pwfile"])
            .arg(path("password"))
            .arg("-D")
            .arg(path("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let roles = format!(
            "SET password_encryption = md5;\nCREATE ROLE old LOGIN PASSWORD '{secret}';\nCREATE DATABASE orders;\nCREATE DATABASE clear;\nCREATE DATABASE open;\n"
        );
        write("roles.sql", &roles);
        let filled = Self::command("postgres")
            .args(["--single", "-D"])
            .arg(path("data"))
            .arg("postgres")
            .stdin(fs::File::open(path("roles.sql")).unwrap())
            .output()
            .unwrap();
        assert!(filled.status.success(), "{filled:?}");
        for file in ["password", "roles.sql"] {
            fs::remove_file(path(file)).unwrap();
        }
        // In this order: what a destination asks for is its own to say.
        let rules = "hostssl open agent 127.0.0.1/32 trust\nhostssl clear agent 127.0.0.1/32 password\nhostssl orders old 127.0.0.1/32 md5\nhostssl orders agent 127.0.0.1/32 scram-sha-256\nhost all all all reject\n";
        write("data/pg_hba.conf", rules);
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "log_connections=on".to_owned(),
            "fsync=off".to_owned(),
        ];
        if let Some(name) = name {
            let (certificate, key) = roots.pems(name);
            write("data/server.crt", &certificate);
            write("data/server.key", &key);
            settings.push("ssl=on".to_owned());
        }
        let (server, port) = Self::serve(dir.path(), &settings);
        let mut database = Self { dir, server, port };
        // Others take ports, too: then with another one.
        while !database.is_ready() {
            (database.server, database.port) = Self::serve(database.dir.path(), &settings);
        }
        database
    }

    /// A server of what is in `dir`, and the port that it tries.
    fn serve(dir: &Path, settings: &[String]) -> (Child, u16) {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Self::command("postgres");
        command.arg("-D").arg(dir.join("data"));
        for setting in settings {
            command.args(["-c", setting]);
        }
        let server = command
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        (server, port)
    }

    /// Waits until it is, or has ended because its port was taken.
    fn is_ready(&mut self) -> bool {
        let mut has_ended = false;
        until("the database is ready", || {
            has_ended = self.server.try_wait().unwrap().is_some();
            has_ended || self.log().contains("ready to accept connections")
        });
        let log = self.log();
        assert!(!has_ended || log.contains("could not bind"), "{log}");
        !has_ended
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// How often somebody connected, and how often somebody was let in.
    fn counts(&self) -> (usize, usize) {
        let log = self.log();
        let count = |what: &str| log.matches(what).count();
        (count("connection received"), count("connection authorized"))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !matches!(self.server.try_wait(), Ok(None)) {
            return;
        }
        // Killed, it would leave its shared memory.
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).ok();
        for _ in 0..100 {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

/// A safe with a password, before a database.
fn world(user: crate::home::User, name: Option<&str>, more: &str) -> (Safe, Database) {
    let secret = fresh();
    let password = secret.clone();
    let safe = Safe::with(user, secret, |roots| Upstream::tls(roots, HOST));
    safe.add(&["--kind", "postgres-password", "--user", "agent"]);
    let words = [
        "credential",
        "add",
        "cred:old",
        "--kind",
        "postgres-password",
        "--user",
        "old",
    ];
    safe.world.home.feed(words, password.as_bytes()).exits(0);
    let database = Database::start(&safe.world.roots, name, &password);
    let builtin = safe.world.home.run(["profile", "show"]).exits(0).stdout();
    let with = safe.world.with_rule(&builtin, "");
    let (profile, _) = with.split_once("[[egress.rules]]").unwrap();
    let port = database.port;
    let rule = |name: &str, user: &str, databases: &str, credential: &str| {
        format!(
            "[[egress.rules]]\nname = \"{name}\"\nprotocol = \"postgres\"\nhost = \"{HOST}\"\nclass = \"internal\"\ncidr = [\"127.0.0.0/8\"]\n\
             ports = [{port}]\nuser = \"{user}\"\ndatabases = [{databases}]\ncredential = \"{credential}\"\nside_effect = \"read\"\n{more}\n"
        )
    };
    let agent = rule(
        "agent",
        "agent",
        "\"orders\", \"clear\", \"open\", \"no\", \"puts\", \"takes\", \"body\", \"dies\"",
        "cred:orders-api",
    );
    let old = rule("old", "old", "\"orders\"", "cred:old");
    safe.world
        .home
        .write("p.toml", format!("{profile}\n{agent}\n{old}"));
    (safe, database)
}

fn psql(database: &Database, more: &str, query: &str) -> String {
    let psql = programs().join("psql");
    let port = database.port;
    format!(
        "{} -w -X -At 'host={HOST} port={port} {more}' -c \"{query}\"",
        psql.display()
    )
}

fn said(answer: &Value) -> String {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    text("stdout") + &text("stderr")
}

/// R75, R79, R101, I2: unmodified `psql` logs in with a password that it does not have, however the server asks for it, with TLS to us and without;
/// each login has its records, and the password is nowhere.
#[test]
fn psql_logs_in_with_a_password_that_it_does_not_know() {
    for user in users() {
        let (safe, database) = world(user, Some(HOST), "");
        for (number, more) in [
            "user=agent dbname=orders sslmode=require",
            "user=agent dbname=orders sslmode=disable",
            "user=agent dbname=orders password=of-its-own",
            "user=agent dbname=orders sslmode=verify-full sslrootcert=/etc/casemate/authority.pem",
            "user=agent dbname=clear",
            "user=old dbname=orders",
        ]
        .into_iter()
        .enumerate()
        {
            let query = "select current_user, current_database(), repeat('x', 100000) like 'x%'";
            let script = psql(&database, more, query);
            let ran = safe.world.run(&["sh", "-c", &script]);
            let answer = ran.json();
            let [user, name] = ["user=", "dbname="].map(|key| {
                let (_, rest) = more.split_once(key).unwrap();
                rest.split(' ').next().unwrap()
            });
            assert_eq!(
                said(&answer),
                format!("{user}|{name}|t\n"),
                "{more} {answer} {}",
                database.log()
            );
            assert_eq!(database.counts(), (number + 1, number + 1));
            let log = safe.world.requests();
            let [.., sent, ended] = log.as_slice() else {
                panic!("{log:?}");
            };
            assert_eq!(log.len(), 2 * (number + 1));
            assert_eq!(sent["summary"]["method"], "CONNECT", "{sent}");
            let credential = if user == "old" {
                "cred:old"
            } else {
                "cred:orders-api"
            };
            assert_eq!(sent["summary"]["credential"], credential);
            assert_eq!(ended["summary"]["decision"], sent["summary"]["decision"]);
            safe.assert_nowhere(&ran);
        }
        let home = &safe.world.home;
        let explained = home.run(["credential", "explain", "cred:old", "--profile", "p.toml"]);
        let told = explained.exits(0).stdout();
        assert!(told.contains("as old, databases [\"orders\"]"), "{told}");
        home.run(["audit", "verify"]).exits(0);
    }
}

/// R87, R90, I6: another user, database, protocol or first message than the rule's does not reach the database; what it is told has the reason.
#[test]
fn what_is_no_login_of_the_rule_does_not_leave() {
    for user in users() {
        let (safe, database) = world(user, Some(HOST), "");
        let port = database.port;
        let mut refused = 0;
        for (more, why) in [
            ("user=postgres dbname=orders", "login_refused"),
            ("user=agent dbname=postgres", "login_refused"),
            ("user=old dbname=clear", "login_refused"),
            ("user=agent", "login_refused"),
            (
                "user=agent dbname=orders replication=database",
                "method_refused",
            ),
            ("user=agent dbname=orders replication=off", "method_refused"),
        ] {
            // Without this it tries again without TLS.
            let script = psql(&database, &format!("{more} sslmode=require"), "select 1");
            let answer = safe.world.run(&["sh", "-c", &script]).json();
            assert!(said(&answer).contains(why), "{more} {answer}");
            refused += 1;
            let log = safe.world.requests();
            assert_eq!(log.len(), refused, "{log:?}");
            assert_eq!(log[refused - 1]["kind"], "denied");
        }
        let python = format!(
            r#"
import socket, struct
def send(data):
    with socket.create_connection(("{HOST}", {port})) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        said = b""
        while part := s.recv(4096):
            said += part
        return said
cancel = struct.pack("!IIII", 16, 80877102, 1, 2)
start = lambda code, rest: struct.pack("!II", 8 + len(rest), code) + rest
print(send(cancel))
print(send(b"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"))
print(send(start(196610, b"user\0agent\0database\0orders\0\0")))
print(send(start(196608, b"user\0agent\0user\0old\0database\0orders\0\0")))
print(send(start(80877103, b"") + start(196608, b"user\0agent\0database\0orders\0\0")))
"#
        );
        let answer = safe.world.run(&["/usr/bin/python3", "-c", &python]).json();
        let told = said(&answer);
        assert_eq!(
            told.matches("casemate: method_refused").count(),
            1,
            "{answer}"
        );
        assert_eq!(
            told.matches("casemate: not_postgres").count(),
            4,
            "{answer}"
        );
        let log = safe.world.requests();
        assert_eq!(log.len(), refused + 5, "{log:?}");
        assert!(log.iter().all(|one| one["kind"] == "denied"), "{log:?}");
        assert_eq!(database.counts(), (0, 0));
        // The rule is about its own protocol only, at whatever port.
        let url = format!("https://{HOST}:{port}/");
        let answer = safe.world.run(&["curl", "-sS", "-m", "5", &url]).json();
        assert!(said(&answer).contains("curl:"), "{answer}");
        assert_eq!(database.counts(), (0, 0));
    }
}

/// I5: a database that does not encrypt, or is not who it has to be, hears of no login.
#[test]
fn a_database_proves_who_it_is() {
    for (name, why) in [
        (None, "plaintext_denied"),
        (Some("other.example"), "upstream_cert"),
    ] {
        let (safe, database) = world(users()[0], name, "");
        let script = psql(
            &database,
            "user=agent dbname=orders sslmode=require",
            "select 1",
        );
        let answer = safe.world.run(&["sh", "-c", &script]).json();
        assert!(said(&answer).contains(why), "{answer}");
        assert_eq!(database.counts().1, 0);
        assert!(!database.log().contains("agent"), "{}", database.log());
        assert_eq!(safe.world.requests().len(), 1);
    }
}

/// R95: a password that is wrong, of another user or revoked lets nobody in, and a budget ends a connection.
#[test]
fn a_login_is_bounded() {
    let (safe, database) = world(
        users()[0],
        Some(HOST),
        "max_requests = 1\nmax_answer_bytes = 5000",
    );
    let one = psql(&database, "user=agent dbname=orders", "select 1");
    let script = format!("{one}; {one}");
    let answer = safe.world.run(&["sh", "-c", &script]).json();
    assert!(said(&answer).starts_with("1\n"), "{answer}");
    assert!(said(&answer).contains("budget_exhausted"), "{answer}");
    assert_eq!(database.counts(), (1, 1));
    let many = psql(
        &database,
        "user=agent dbname=orders",
        "select repeat('x', 100000)",
    );
    let answer = safe.world.run(&["sh", "-c", &many]).json();
    assert!(!said(&answer).contains("xxxxx"), "{answer}");
    let log = safe.world.requests();
    assert_eq!(
        log.last().unwrap()["summary"]["code"],
        "budget_exhausted",
        "{log:?}"
    );
    let wrong = fresh();
    let home = &safe.world.home;
    home.feed(
        ["credential", "rotate", "cred:orders-api"],
        wrong.as_bytes(),
    )
    .exits(0);
    let answer = safe.world.run(&["sh", "-c", &one]).json();
    assert!(said(&answer).contains("login_refused"), "{answer}");
    home.run([
        "credential",
        "revoke",
        "cred:orders-api",
        "--reason",
        "a test",
    ])
    .exits(0);
    let answer = safe.world.run(&["sh", "-c", &one]).json();
    let told = said(&answer);
    assert!(
        told.contains("cred_unavailable") || told.contains("revoked"),
        "{answer}"
    );
    assert_eq!(database.counts().1, 2);
    safe.assert_not_kept();
}

/// I1, I5: where a database believes whoever comes, identity is not asked, and nobody gets in.
#[test]
fn a_database_that_asks_for_no_proof_is_not_entered() {
    let (safe, database) = world(crate::home::User::Tester, Some(HOST), "");
    let query = psql(
        &database,
        "user=agent dbname=open",
        "select 'got' || 'through'",
    );
    let answer = safe.world.run(&["sh", "-c", &query]).json();
    let told = said(&answer);
    assert!(told.contains("login_unproven"), "{answer}");
    assert!(!told.contains("gotthrough"), "{answer}");
    assert_eq!(
        safe.world.requests().last().unwrap()["summary"]["code"],
        "login_unproven"
    );
}

/// R87, I1: the operator's decider is asked about each login that the rules let through, as a request without fields or a body; what it does not
/// let pass as it is, is not connected to, and no credential is asked for.
#[test]
fn a_decider_is_asked_about_logins() {
    for user in users() {
        let (safe, database) = world(user, Some(HOST), "");
        let world = &safe.world;
        install(world);
        let log_in = |name: &str| {
            let more = format!("user=agent dbname={name} sslmode=require");
            let script = psql(&database, &more, "select 1");
            said(&world.run(&["sh", "-c", &script]).json())
        };
        for (name, why) in [
            ("no", "decider_denied"),
            ("puts", "decider_widens"),
            ("takes", "decider_inexpressible"),
            ("body", "decider_body"),
            ("dies", "decider_unavailable"),
        ] {
            let told = log_in(name);
            assert!(
                told.contains(&format!("casemate: decider_denied ({why})")),
                "{told}"
            );
            assert!(!told.contains("not today"), "{told}");
            let log = world.requests();
            let denied = log.last().unwrap();
            assert_eq!(denied["kind"], "denied", "{denied}");
            assert_eq!(denied["summary"]["because"], why, "{denied}");
            assert!(denied["summary"]["credential"].is_null(), "{denied}");
        }
        assert_eq!(database.counts(), (0, 0));
        // The rules come first: it is not asked about what they refuse.
        let before = asked(world).len();
        assert!(log_in("postgres").contains("login_refused"));
        assert_eq!(asked(world).len(), before);
        assert_eq!(log_in("orders"), "1\n");
        assert_eq!(database.counts(), (1, 1));
        let questions = asked(world);
        let question = questions.last().unwrap();
        for (key, value) in [("method", "CONNECT"), ("host", HOST), ("path", "/orders")] {
            assert_eq!(question[key], value, "{question}");
        }
        let log = world.requests();
        let [.., sent, _] = log.as_slice() else {
            panic!("{log:?}");
        };
        assert_eq!(
            sent["summary"]["decider"],
            serde_json::json!({ "name": "dlp", "said": "pass" })
        );
        safe.assert_not_kept();
    }
}
