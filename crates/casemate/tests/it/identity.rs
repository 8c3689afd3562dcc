//! The process that holds credentials: what it can do, who is heard, whom it asks.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::Path,
    process::Command,
};

use base64::Engine as _;

use crate::{
    canary::fresh,
    credentials::{Safe, for_everybody},
    home::{User, users},
    upstream::Upstream,
};

/// R73, R79: the process that holds secrets has no capability, gains none, dumps no core, and cannot be read by
/// others of the same user; and whoever squats in its place, or makes the place open to others, gets nothing.
#[test]
fn the_process_that_holds_secrets_is_alone() {
    for_everybody(|safe| {
        let (world, home) = (&safe.world, &safe.world.home);
        home.run(["credential", "test", "cred:orders-api"]).exits(0);
        let socket = home.path("state/run/identity.sock");
        let peer = UnixStream::connect(&socket).unwrap();
        let pid = rustix::net::sockopt::socket_peercred(&peer)
            .unwrap()
            .pid
            .as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in [
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapAmb:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{status}");
        }
        // Who may lower what could be got does so.
        let root = rustix::process::geteuid().is_root() && home.user() == User::Tester;
        assert!(
            !root || status.contains("CapBnd:\t0000000000000000"),
            "{status}"
        );
        let core = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = core
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap()
            .to_owned();
        assert_eq!(core.split_whitespace().nth(4), Some("1"), "{core}");
        assert_eq!(
            fs::read(format!("/proc/{pid}/environ")).unwrap_or_default(),
            b""
        );
        if home.user() == User::Ordinary {
            for file in ["mem", "environ", "maps"] {
                let read = Command::new("cat")
                    .arg(format!("/proc/{pid}/{file}"))
                    .uid(60_001)
                    .gid(60_001)
                    .output()
                    .unwrap();
                assert!(!read.status.success() && read.stdout.is_empty(), "{file}");
            }
        }
        if users().len() == 2 {
            // Another user connects, and is told nothing.
            let script = format!(
                "import socket\ns = socket.socket(socket.AF_UNIX)\ntry:\n  s.connect({:?})\n  s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n')\n  print(len(s.recv(100)))\nexcept OSError:\n  print(0)",
                socket.display().to_string()
            );
            let stranger = Command::new("/usr/bin/python3")
                .args(["-c", &script])
                .uid(60_002)
                .gid(60_002)
                .output()
                .unwrap();
            assert_eq!(stranger.stdout, b"0\n", "{stranger:?}");
        }
        drop(peer);
        let process = rustix::process::Pid::from_raw(pid.get()).unwrap();
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        while Path::new(&format!("/proc/{pid}")).exists()
            && !fs::read_to_string(format!("/proc/{pid}/stat"))
                .unwrap_or_default()
                .contains(") Z ")
        {
            std::thread::yield_now();
        }
        // A place that others can enter is none.
        fs::set_permissions(home.path("state/run"), fs::Permissions::from_mode(0o755)).unwrap();
        let ran = world.curl(&[&world.url("/v1/a")]);
        assert!(ran.stderr().contains("0700"), "{ran:?}");
        // Nor is a link to one.
        fs::set_permissions(home.path("state/run"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::rename(home.path("state/run"), home.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink(home.path("elsewhere"), home.path("state/run")).unwrap();
        let ran = world.curl(&[&world.url("/v1/a")]);
        assert!(ran.stderr().contains("0700"), "{ran:?}");
        assert_eq!(world.upstream.proven(), 0);
        fs::remove_file(home.path("state/run")).unwrap();
        fs::rename(home.path("elsewhere"), home.path("state/run")).unwrap();
        assert_eq!(
            world.run(&["curl", "-sS", &world.url("/v1/a")]).json()["stdout"],
            "good"
        );
    });
}

/// R80, R85: a client's secret is used outside to get a token, once for many calls; the sandbox sees neither. One that its issuer does
/// not take is put aside until it is rotated, and the issuer is asked no more.
#[test]
fn tokens_are_fetched_outside() {
    for user in users() {
        let (token, secret) = (fresh(), fresh());
        let safe = Safe::before(
            user,
            token.clone(),
            &format!("authorization: Bearer {token}\r\n"),
        );
        let home = &safe.world.home;
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("client:{secret}"));
        let issuer = Upstream::tokens(
            &safe.world.roots,
            "localhost",
            &format!("Basic {basic}"),
            &token,
        );
        fs::create_dir(home.path("state/identity")).unwrap();
        home.give("state/identity");
        home.write("state/identity/roots.pem", &safe.world.roots.pem);
        home.give("state/identity/roots.pem");
        let url = format!("https://localhost:{}/token", issuer.port);
        let words = [
            "--kind",
            "oauth-client",
            "--token-url",
            &url,
            "--client-id",
            "client",
            "--scope",
            "orders.read",
        ];
        let add = |secret: &str| {
            let words = [&["credential", "add", "cred:orders-api"][..], &words].concat();
            home.feed(words, secret.as_bytes()).exits(0);
        };
        add("another-secret-of-the-client");
        for _ in 0..2 {
            let ran = safe.world.curl(&[&safe.world.url("/v1/a")]);
            assert!(
                ran.json()["stdout"]
                    .as_str()
                    .unwrap()
                    .contains("cred_unavailable"),
                "{ran:?}"
            );
        }
        assert_eq!(issuer.requests(), 1);
        let listed = home.run(["credential", "list"]);
        assert!(listed.stdout().contains("quarantined"), "{listed:?}");
        home.run(["credential", "test", "cred:orders-api"])
            .exits(1)
            .says("quarantined");
        home.feed(
            ["credential", "rotate", "cred:orders-api"],
            secret.as_bytes(),
        )
        .exits(0);
        for _ in 0..3 {
            let ran = safe.world.run(&["curl", "-sS", &safe.world.url("/v1/raw")]);
            assert_eq!(
                ran.json()["stdout"],
                "you sent [redacted] and it is good",
                "{ran:?}"
            );
            safe.assert_nowhere(&ran);
        }
        // One token for all: that it was seen in an answer is for people to act on, and costs no token that is being fetched.
        assert_eq!((issuer.requests(), safe.world.upstream.proven()), (2, 3));
        home.run(["credential", "test", "cred:orders-api"]).exits(0);
    }
}
