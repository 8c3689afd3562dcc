//! The way out of `casemate run`: real programs, real sandboxes, and destinations that count whoever comes.

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

use crate::{
    home::{Home, Ran, User},
    upstream::{Roots, Upstream},
};

/// The destination of most tests; it is this machine.
const HOST: &str = "orders.way.example";

/// A user with a profile, a destination behind it, and an operator who vouches for the destination.
struct World {
    home: Home,
    upstream: Upstream,
    roots: Roots,
}

/// Runs a test as everybody whom we can be. Names lead to this machine in a mount namespace of the test's own.
fn for_everybody(test: impl Fn(&World)) {
    assert!(
        rustix::process::geteuid().is_root(),
        "names can only be given to this machine by root"
    );
    for user in [User::Tester, User::Ordinary] {
        test(&World::of(user));
    }
}

impl World {
    fn of(user: User) -> Self {
        let roots = Roots::new();
        let upstream = Upstream::tls(&roots, HOST);
        let world = Self {
            home: Home::of(user),
            upstream,
            roots,
        };
        let home = &world.home;
        home.write(
            "hosts",
            format!(
                "127.0.0.1 localhost {HOST} other.way.example\n169.254.169.254 meta.way.example\n"
            ),
        );
        for dir in ["state", "state/egress"] {
            fs::create_dir(home.path(dir)).unwrap();
            home.give(dir);
        }
        fs::set_permissions(
            home.path("state"),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        home.write("state/egress/roots.pem", &world.roots.pem);
        home.give("state/egress/roots.pem");
        let port = world.upstream.port;
        world.profile(&format!(
            r#"
[[egress.rules]]
name = "orders"
host = "{HOST}"
class = "internal"
cidr = ["127.0.0.0/8"]
ports = [{port}]
methods = ["GET", "POST"]
paths = ["/v1/**"]
side_effect = "read"
"#
        ));
        world
    }

    /// Lets calls be decided by a profile with these rules.
    fn profile(&self, rules: &str) -> PathBuf {
        let builtin = self.home.run(["profile", "show"]).exits(0).stdout();
        let with = "allowed_domains = [\"orders.way.example\", \"meta.way.example\"]";
        assert!(builtin.contains("allowed_domains = []"), "{builtin}");
        let profile = builtin.replace("allowed_domains = []", with);
        self.home.write("p.toml", format!("{profile}\n{rules}"))
    }

    fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.upstream.port)
    }

    /// `casemate` with these words, where names lead to this machine.
    fn casemate(&self, words: &[&str]) -> Command {
        let plain = self.home.casemate(words);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--", "sh", "-c"])
            .arg("mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"")
            .arg("sh")
            .arg(self.home.path("hosts"));
        if self.home.user() == User::Ordinary {
            command.args([
                "setpriv",
                "--reuid=60001",
                "--regid=60001",
                "--clear-groups",
            ]);
        }
        command
            .arg(plain.get_program())
            .args(plain.get_args())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir(plain.get_current_dir().unwrap())
            .stdin(std::process::Stdio::null());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        command
    }

    fn run(&self, command: &[&str]) -> Ran {
        let words = [
            "run",
            "--json",
            "--profile",
            "p.toml",
            "--timeout",
            "60s",
            "--",
        ];
        Ran(self
            .casemate(&[&words[..], command].concat())
            .output()
            .unwrap())
    }

    /// The records of requests, oldest first.
    fn requests(&self) -> Vec<Value> {
        let is_request = |record: &Value| record["summary"]["tool"] == "egress.request";
        self.home.log().into_iter().filter(is_request).collect()
    }
}

/// What curl says of an answer: its status and our word about it.
const CURL: [&str; 6] = [
    "curl",
    "-sS",
    "-o",
    "/dev/null",
    "-w",
    "%{http_code} %{http_connect} %header{casemate-denied}",
];

/// EGR: programs that know nothing of us reach what the rules allow, over TLS that they verify, and each request is on
/// disk before it is sent and closed after it, with the call and its trace.
#[test]
fn unmodified_programs_reach_what_is_allowed() {
    for_everybody(|world| {
        let url = world.url("/v1/orders/7");
        let python =
            format!("import urllib.request as r; print(r.urlopen('{url}').read().decode())");
        for command in [
            &["curl", "-sS", url.as_str()][..],
            &["/usr/bin/python3", "-c", &python],
        ] {
            let before = world.upstream.connections();
            let ran = world.run(command);
            let answer = ran.exits(0).json();
            assert_eq!(
                answer["stdout"].as_str().unwrap().trim(),
                "GET /v1/orders/7 HTTP/1.1"
            );
            assert_eq!(world.upstream.connections(), before + 1);
            assert_eq!(answer["denied"], serde_json::json!([]));
            let log = world.requests();
            let [.., sent, ended] = log.as_slice() else {
                panic!("{log:?}");
            };
            assert_eq!(sent["kind"], "allowed");
            assert_eq!(ended["kind"], "outcome");
            assert_eq!(sent["decision"], ended["decision"]);
            assert_ne!(sent["decision"], answer["decision"]);
            for record in [sent, ended] {
                let summary = &record["summary"];
                assert_eq!(summary["call"], answer["decision"]);
                assert_eq!(summary["trace_id"], answer["trace_id"]);
                assert_eq!(summary["host"], HOST);
                assert_eq!(summary["rule"], "orders");
                assert_eq!(summary["class"], "internal");
            }
            assert_eq!(ended["summary"]["http_status"], 200);
            // What programs were given is part of the call that was decided on.
            let env = answer["asked"]["env"].as_array().unwrap();
            assert!(env.contains(&"HTTPS_PROXY".into()) && env.contains(&"SSL_CERT_FILE".into()));
        }
        world.home.run(["audit", "verify"]).exits(0);
    });
}
