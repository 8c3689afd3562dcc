//! The holes of others (research/governance.md §9) that only a real sandbox, disk and log can show closed: 10, 11, 12, 14 and 16. The others
//! are in `gateway`.

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{home::Home, keeper::Keepers, route::Route, serve::Gateway};

/// What a program says of the network that it has: every interface, every route, and whether anything answers.
const LOOK: &str = r#"
import os, socket, sys
port = int(sys.argv[1])
print("interfaces", sorted(name for _, name in socket.if_nameindex()))
print("routes", len(open("/proc/net/route").read().splitlines()) - 1)
hosts = ["127.0.0.1", "169.254.169.254", "10.0.0.1", "192.0.2.1"] + sys.argv[2:]
for host in hosts:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(socket.AF_INET, kind) as it:
                it.settimeout(2)
                it.connect((host, port))
                it.send(b"out")
                if kind == socket.SOCK_STREAM or not host.startswith("127."):
                    print("REACHED", host, kind)
        except OSError:
            pass
try:
    socket.getaddrinfo("api.example.com", 443)
    print("RESOLVED")
except OSError:
    pass
print("looked")
"#;

/// Listens on every address of the host.
struct Ears {
    tcp: TcpListener,
    udp: UdpSocket,
    port: u16,
}

impl Ears {
    fn open() -> Self {
        let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let udp = UdpSocket::bind(("0.0.0.0", port)).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        Self { tcp, udp, port }
    }

    /// Whether nobody has come by.
    fn heard_nothing(&self) -> bool {
        let would_block = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
        self.tcp.accept().is_err_and(would_block)
            && self.udp.recv(&mut [0; 8]).is_err_and(would_block)
    }

    /// An address of the host that is no loopback, if it has one.
    fn host() -> Option<String> {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Nothing is sent: the kernel only says from where it would be.
        socket.connect("192.0.2.1:9").ok()?;
        Some(socket.local_addr().ok()?.ip().to_string())
    }
}

/// What the record of the last call that ran says of its network.
fn recorded_network(home: &Home) -> Value {
    let log = home.log();
    let allowed = log.iter().rfind(|record| {
        record["kind"] == "allowed" && record["summary"]["isolation"]["controls"].is_array()
    });
    let controls = allowed.unwrap()["summary"]["isolation"]["controls"]
        .as_array()
        .unwrap();
    let network = controls
        .iter()
        .find(|control| control["name"] == "network_namespace");
    network.unwrap()["strength"].clone()
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest = vec![directory.to_owned()];
    while let Some(directory) = rest.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => rest.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// The files of the state directory that hold these bytes.
fn holding(home: &Home, bytes: &str) -> Vec<PathBuf> {
    let mut all = files(&home.path("state"));
    all.retain(|file| {
        // One that is gone meanwhile holds nothing.
        let content = fs::read(file).unwrap_or_default();
        content
            .windows(bytes.len())
            .any(|part| part == bytes.as_bytes())
    });
    all
}

/// R107: others: a sandbox reaches everything unless somebody says otherwise, and connectors go around what was said. Here: there is no network
/// by default, nor by any profile, and no way around it.
#[test]
fn hole_10_the_default_is_no_network() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let ears = Ears::open();
    let port = ears.port.to_string();
    home.write("look.py", LOOK);
    let mut words = vec!["look.py", &port];
    let host = Ears::host();
    words.extend(host.as_deref());
    let run = [&["run"][..], &words].concat();
    let call = [&["call", "--thread", "t"][..], &words].concat();
    for words in [run, call] {
        let said = gateway.says(&words);
        assert_eq!(said, "interfaces ['lo']\nroutes 0\nlooked\n", "{words:?}");
        assert!(ears.heard_nothing());
    }
    // What a profile says in the other direction is no profile.
    let route = Route {
        allowed: "\"python\", \"shell\"",
        ..Route::default()
    };
    let profile = route.profile();
    for (from, to) in [
        (
            "block_private_networks = true",
            "block_private_networks = false",
        ),
        ("require_tls = true", "require_tls = false"),
        ("allowed_domains = []", "allowed_domains = [\"*\"]"),
        (
            "allowed_domains = []",
            "mode = \"unrestricted\"\nallowed_domains = []",
        ),
    ] {
        assert!(profile.contains(from));
        home.write("open.toml", profile.replace(from, to));
        home.run(["run", "--profile", "open.toml", "--", "true"])
            .exits(120)
            .says("invalid_profile");
    }
}

/// R107: others: one page says that there is no network, another that there is, a third that it is limited. Here: what the reference and the threat
/// model say, what the record says, and what a program finds are the same, also when a profile lists destinations.
#[test]
fn hole_11_papers_records_and_the_sandbox_agree() {
    let home = Home::new();
    let ears = Ears::open();
    let port = ears.port.to_string();
    home.write("look.py", LOOK);
    let listing = Route {
        allowed: "\"python\", \"shell\"",
        ..Route::default()
    };
    let profile = listing.profile().replace(
        "allowed_domains = []",
        "allowed_domains = [\"api.example.com\"]",
    );
    home.write("listing.toml", profile);
    // A name that is allowed is one of the sandbox itself, and no question to anybody.
    for (more, names) in [
        (&[][..], ""),
        (&["--profile", "listing.toml"], "RESOLVED\n"),
    ] {
        let words = [&["run"][..], more, &["look.py", &port]].concat();
        let said = home.run(words).exits(0).stdout();
        let looked = format!("interfaces ['lo']\nroutes 0\n{names}looked\n");
        assert_eq!(said, looked, "{more:?}");
        assert!(ears.heard_nothing());
        assert_eq!(recorded_network(&home), "enforced", "{more:?}");
    }
    let reference = include_str!("../../../../docs/reference/profile.md");
    assert!(reference.contains("No program has a network: it has a proxy, which sends what"));
    let controls = include_str!("../../../../docs/reference/words.md");
    assert!(controls.contains("A network namespace with nothing but its own loopback."));
    let threats = include_str!("../../../../docs/threat-model.md");
    assert!(threats.contains("there is no interface but the loopback, so there is no route"));
    assert!(threats.contains("the only way out are listeners in a network of this call alone"));
    assert!(threats.contains("no key of a profile adds an interface, a route"));
    // And what the papers say of the proxy is so: where nothing is listed there is none.
    let proxied = "import os, socket; s = socket.socket(); print('HTTPS_PROXY' in os.environ, s.connect_ex(('127.0.0.1', 3128)) == 0)";
    for (more, found) in [
        (&[][..], "False False\n"),
        (&["--profile", "listing.toml"], "True True\n"),
    ] {
        let words = [
            &["run"][..],
            more,
            &["--", "/usr/bin/python3", "-c", proxied],
        ]
        .concat();
        home.run(words).exits(0).prints(found);
    }
}

/// R230: others: the examples have API keys in code. Here: what looks like one is refused, wherever a caller puts it, before anything runs; and it is
/// in no answer and no file of ours.
#[test]
fn hole_12_a_secret_in_a_call_is_refused_and_kept_nowhere() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    // Made here, so that none is in the tree.
    let random: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(40)
        .collect();
    let session = gateway.says(&["session", "open", "t"]);
    let session = session.split('"').find(|part| part.starts_with("ses_"));
    let session = session.expect("a session").to_owned();
    for prefix in ["ghp_", "sk-proj-", "AKIA"] {
        let secret = format!("{prefix}{random}");
        let cell = format!("open('/workspace/ran', 'w'); KEY = '{secret}'; print('ran')");
        home.write("script.py", &cell);
        home.write("script.sh", format!("touch /workspace/ran; KEY={secret}"));
        let env = format!("GREETING={secret}");
        let touch = "touch /workspace/ran; echo ran";
        let header = format!("authorization: bearer {secret}");
        let ways: [&[&str]; 7] = [
            &["call", "--session", &session, "-c", &cell],
            &["call", "--session", &session, "script.py"],
            &["call", "--session", &session, "script.sh"],
            &[
                "call",
                "--session",
                &session,
                "--env",
                &env,
                "--",
                "sh",
                "-c",
                touch,
            ],
            &[
                "call",
                "--session",
                &session,
                "--",
                "sh",
                "-c",
                touch,
                &header,
            ],
            &["run", "script.py"],
            &["run", "--env", &env, "--", "sh", "-c", "echo ran"],
        ];
        for words in ways {
            let ran = home.run(words);
            ran.exits(120).prints("").says("secret_in_environment");
            assert!(!ran.stderr().contains(&random), "{words:?}");
        }
    }
    let listed = gateway.says(&["session", "ls", &session]);
    assert!(!listed.contains("ran"), "{listed}");
    assert_eq!(holding(&home, &random), Vec::<PathBuf>::new());
    let log = home.log();
    let refused = |record: &&Value| record["summary"]["reason"] == "secret_in_environment";
    assert_eq!(log.iter().filter(refused).count(), 21, "each is on record");
    let shown: Vec<_> = log.iter().map(ToString::to_string).collect();
    assert!(!shown.concat().contains(&random));
}

/// Others: half an hour after a conversation, an agent writes down what it has learned, and nobody decides about it. Here: what a call leaves is in its
/// session and nowhere else; it is gone with the session, is not another thread's, and no change of it is without a record.
#[test]
fn hole_14_nothing_is_remembered_without_a_record() {
    let home = Home::new();
    let _keepers = Keepers(&home);
    let gateway = Gateway::start(&home);
    let learned: String = std::iter::repeat_with(fastrand::lowercase)
        .take(24)
        .collect();
    let (half, rest) = learned.split_at(12);
    // In no request as a whole: if it is found anywhere, it comes out of the sandbox.
    let learn = format!(
        "open('/workspace/memory', 'w').write('{half}' + '{rest}'); print('{half}' + '{rest}')"
    );
    let said = gateway.says(&["call", "--thread", "t", "-c", &learn]);
    assert!(said.contains(&learned));
    let recall = ["cat", "/workspace/memory"];
    let call = |thread| [&["call", "--thread", thread, "--"][..], &recall].concat();
    assert_eq!(gateway.says(&call("t")), learned);
    assert_eq!(
        gateway.run(&call("u")).status.code(),
        Some(1),
        "another thread"
    );
    assert_eq!(holding(&home, &learned), Vec::<PathBuf>::new());
    let log = home.log();
    let session = log.iter().find_map(|record| {
        let lodging = &record["summary"]["lodging"];
        lodging["session"].as_str()
    });
    let session = session.unwrap().to_owned();
    // Every change of a session is two records of one decision: before, and after.
    gateway.says(&["session", "destroy", &session]);
    let log = home.log();
    let destroyed = log.iter().filter(|record| {
        record["summary"]["tool"] == "session.destroy"
            || record["summary"]["what"] == "session.destroy"
    });
    assert_eq!(destroyed.count(), 2);
    for record in &log {
        let of = |kind: &str| {
            let same = log
                .iter()
                .filter(|other| other["decision"] == record["decision"]);
            same.filter(|other| other["kind"] == kind).count()
        };
        if record["kind"] == "outcome" {
            assert_eq!(of("allowed"), 1, "an end without a decision: {record}");
        }
    }
    let forgotten = gateway.run(&call("t"));
    assert_eq!(forgotten.status.code(), Some(1), "{forgotten:?}");
    drop(gateway);
    let gateway = Gateway::start(&home);
    assert_eq!(
        gateway.run(&call("t")).status.code(),
        Some(1),
        "after a restart"
    );
    assert_eq!(holding(&home, &learned), Vec::<PathBuf>::new());
}

/// I12, I11: others: the audit log is a table of telemetry with inputs and outputs, that its operator can edit. Here: no output is in it, it is closed with
/// a signature, and whoever edits it is found out with nothing but a copy and a public key.
#[test]
fn hole_16_the_log_holds_no_output_and_shows_every_edit() {
    let home = Home::new();
    let output: String = std::iter::repeat_with(fastrand::lowercase)
        .take(24)
        .collect();
    let (half, rest) = output.split_at(12);
    for _ in 0..3 {
        let ran = home.run(["run", "--", "printf", "%s%s", half, rest]);
        ran.exits(0).prints(&output);
    }
    assert_eq!(holding(&home, &output), Vec::<PathBuf>::new());
    // Nor is what was run there in clear.
    assert_eq!(holding(&home, half), Vec::<PathBuf>::new());
    let key = home.run(["audit", "key"]).exits(0).stdout();
    let verify = ["audit", "verify", "--public-key", key.trim()];
    home.run(verify).exits(0);
    let log = home.path("state/ledger/log");
    let genuine = fs::read(&log).unwrap();
    let edits: [(&str, Vec<u8>); 5] = [
        ("a word", {
            let text = String::from_utf8_lossy(&genuine).into_owned();
            let at = text.find("succeeded").unwrap();
            let mut edited = genuine.clone();
            edited[at..at + 9].copy_from_slice(b"succeedes");
            edited
        }),
        ("the end gone", genuine[..genuine.len() * 2 / 3].to_vec()),
        ("the beginning gone", genuine[genuine.len() / 3..].to_vec()),
        ("something twice", {
            let (third, half) = (genuine.len() / 3, genuine.len() / 2);
            [&genuine[..half], &genuine[third..]].concat()
        }),
        ("all gone", Vec::new()),
    ];
    for (what, edited) in edits {
        assert!(edited != genuine, "{what}");
        fs::write(&log, edited).unwrap();
        let ran = home.run(verify);
        assert_ne!(ran.0.status.code(), Some(0), "{what}: {ran:?}");
    }
    fs::write(&log, &genuine).unwrap();
    home.run(verify).exits(0);
}
