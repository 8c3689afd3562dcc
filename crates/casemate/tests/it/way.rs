//! The way out of `casemate run`: real programs, real sandboxes, and destinations that count whoever comes.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    home::{Home, Ran, User, users},
    upstream::{Roots, Upstream},
};

/// The destination of most tests; it is this machine.
pub(crate) const HOST: &str = "orders.way.example";

/// A user with a profile, a destination behind it, and an operator who vouches for the destination.
pub(crate) struct World {
    pub(crate) home: Home,
    pub(crate) upstream: Upstream,
    pub(crate) roots: Roots,
}

/// Runs a test as everybody whom we can be. Names lead to this machine in a mount namespace of the test's own.
pub(crate) fn for_everybody(test: impl Fn(&World)) {
    for user in users() {
        test(&World::of(user));
    }
}

impl World {
    pub(crate) fn of(user: User) -> Self {
        Self::before(user, |roots| Upstream::tls(roots, HOST))
    }

    /// In front of another destination.
    pub(crate) fn before(user: User, upstream: impl FnOnce(&Roots) -> Upstream) -> Self {
        let roots = Roots::new();
        let upstream = upstream(&roots);
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
        world.rule("");
        world
    }

    /// Lets calls be decided by a profile with one rule, which says this too.
    pub(crate) fn rule(&self, more: &str) {
        let builtin = self.home.run(["profile", "show"]).exits(0).stdout();
        let profile = self.with_rule(&builtin, more);
        self.home.write("p.toml", profile);
    }

    /// A profile that allows no destination, with one rule that says this too.
    pub(crate) fn with_rule(&self, profile: &str, more: &str) -> String {
        let port = self.upstream.port;
        let rule = format!(
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
{more}
"#
        );
        let with = "allowed_domains = [\"orders.way.example\", \"meta.way.example\"]";
        assert!(profile.contains("allowed_domains = []"), "{profile}");
        let profile = profile.replace("allowed_domains = []", with);
        format!("{profile}\n{rule}")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{HOST}:{}{path}", self.upstream.port)
    }

    /// `casemate` with these words, where names lead to this machine.
    pub(crate) fn casemate(&self, words: &[&str]) -> Command {
        let plain = self.home.casemate(words);
        let mut command = Command::new("unshare");
        let tester = rustix::process::geteuid();
        if !tester.is_root() {
            // Whoever has no rights here has them in a namespace of users.
            command.args(["--user", "--map-root-user"]);
        }
        command
            .args(["--mount", "--", "sh", "-c"])
            .arg("mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"")
            .arg("sh")
            .arg(self.home.path("hosts"));
        if !tester.is_root() {
            // And gives them up in another one.
            let group = rustix::process::getegid();
            command.args(["unshare", "--user"]).args([
                format!("--map-user={}", tester.as_raw()),
                format!("--map-group={}", group.as_raw()),
            ]);
        }
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
            .stdin(Stdio::null());
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap());
        }
        command
    }

    pub(crate) fn run(&self, command: &[&str]) -> Ran {
        self.run_with(&[], command)
    }

    /// The same, with more options.
    pub(crate) fn run_with(&self, options: &[&str], command: &[&str]) -> Ran {
        let words = ["run", "--json", "--profile", "p.toml", "--timeout", "60s"];
        Ran(self
            .casemate(&[&words[..], options, &["--"], command].concat())
            .output()
            .unwrap())
    }

    /// Runs curl, which tells of every head that it gets.
    pub(crate) fn curl(&self, words: &[&str]) -> Ran {
        self.run(&[&["curl", "-sS", "-D", "-", "-o", "/dev/null"], words].concat())
    }

    /// Nothing came to the destination, and this is the one request that was refused: the program, the answer and the log
    /// say why.
    #[track_caller]
    fn assert_refused(&self, ran: &Ran, code: &str, because: &str) {
        let answer = ran.json();
        let heads = answer["stdout"].as_str().unwrap().to_ascii_lowercase();
        assert!(
            heads.contains(&format!("casemate-denied: {code}\r")),
            "{ran:?}"
        );
        assert_eq!(self.upstream.connections(), 0, "{ran:?}");
        let [denied] = answer["denied"].as_array().unwrap().as_slice() else {
            panic!("{ran:?}");
        };
        assert_eq!(denied["kind"], "egress");
        assert_eq!(denied["count"], 1);
        let what = denied["what"].as_str().unwrap();
        assert!(what.ends_with(because), "{what}");
        let mut log = self.requests();
        log.retain(|record| record["summary"]["call"] == answer["decision"]);
        let [record] = log.as_slice() else {
            panic!("{log:?}");
        };
        assert_eq!(record["kind"], "denied");
        let summary = &record["summary"];
        assert_eq!(summary["code"], code);
        assert_eq!(summary["policy_decision"], "deny");
        assert_eq!(summary["trace_id"], answer["trace_id"]);
    }

    /// The records of requests, oldest first.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let is_request = |record: &Value| record["summary"]["tool"] == "egress.request";
        self.home.log().into_iter().filter(is_request).collect()
    }
}

/// R105, R106: programs that know nothing of us reach what the rules allow, over TLS that they verify, and each request is on
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

/// R105, R106, R109, R110, R115, I3, I5, I6: what no rule allows does not leave this machine, and the program is told the code.
#[test]
fn what_no_rule_allows_does_not_leave() {
    for_everybody(|world| {
        let port = world.upstream.port;
        let allowed = world.url("/v1/a");
        let other_host = format!("https://other.way.example:{port}/v1/a");
        let other_port = format!("https://{HOST}:{}/v1/a", Upstream::plain().port);
        let plain = format!("http://{HOST}:{port}/v1/a");
        for (words, code, because) in [
            (
                &[world.url("/v2/a").as_str()][..],
                "egress_denied",
                "path_refused",
            ),
            (
                &["-X", "DELETE", &allowed],
                "egress_denied",
                "method_refused",
            ),
            (&[&other_host], "egress_denied", "not_allowed"),
            (&[&other_port], "egress_denied", "port_refused"),
            (&[&plain], "plaintext_denied", "plaintext_denied"),
            (
                &["http://169.254.169.254/latest/meta-data/"],
                "addr_metadata",
                "addr_metadata",
            ),
            (
                &["https://169.254.169.254/"],
                "addr_metadata",
                "addr_metadata",
            ),
            (&["https://10.0.0.1/"], "addr_private", "addr_private"),
            (&["https://203.0.113.1/"], "addr_reserved", "addr_reserved"),
            (&["https://8.8.8.8/"], "addr_literal", "addr_literal"),
            (
                &["--noproxy", "", "https://127.0.0.1/"],
                "addr_literal",
                "addr_literal",
            ),
            // Allowed, but for where its name leads.
            (
                &["https://meta.way.example/"],
                "addr_metadata",
                "addr_metadata",
            ),
        ] {
            let ran = world.curl(words);
            world.assert_refused(&ran, code, because);
        }
    });
}

/// R116: a request that would wait for a person is refused: there is nobody at this command line who could answer.
#[test]
fn what_waits_for_a_person_is_not_sent() {
    for_everybody(|world| {
        for approval in ["always", "new_destination"] {
            world.rule(&format!("approval = \"{approval}\""));
            let because = match approval {
                "always" => "approval_required",
                _ => approval,
            };
            let ran = world.curl(&[&world.url("/v1/a")]);
            world.assert_refused(&ran, "approval_required", because);
        }
    });
}

/// A rule that wants a credential lets nothing through: there is none.
#[test]
fn a_credential_that_nobody_has_sends_nothing() {
    for_everybody(|world| {
        world.rule("credential = \"orders-api\"");
        let ran = world.curl(&[&world.url("/v1/a")]);
        let heads = ran.json()["stdout"].as_str().unwrap().to_ascii_lowercase();
        assert!(
            heads.contains("casemate-denied: cred_unavailable\r"),
            "{ran:?}"
        );
        assert_eq!(world.upstream.requests(), 0);
    });
}

/// What a body says decides, and so does what a call has used up.
#[test]
fn bodies_and_budgets_are_judged() {
    for_everybody(|world| {
        let url = world.url("/v1/a");
        let post =
            |body: &str| world.curl(&["-H", "content-type: application/json", "-d", body, &url]);
        world.rule("body.json = { \"/op\" = '\"look\"' }");
        world.assert_refused(
            &post("{\"op\":\"erase\"}"),
            "egress_denied",
            "body_condition",
        );
        let passed = post("{\"op\":\"look\"}");
        assert!(
            passed.json()["stdout"]
                .as_str()
                .unwrap()
                .contains("HTTP/1.1 200"),
            "{passed:?}"
        );
        assert_eq!(world.upstream.requests(), 1);

        world.rule("max_requests = 2");
        let ran = world.curl(&[&url, &url, &url]);
        assert_eq!(
            ran.json()["denied"][0]["what"],
            format!("https://{HOST}:{} budget_exhausted", world.upstream.port)
        );
        assert_eq!(world.upstream.requests(), 3);

        world.rule("max_bytes = 1_000");
        let ran = world.curl(&[&format!("{url}?{}", "a".repeat(1_000))]);
        assert_eq!(
            ran.json()["denied"][0]["what"],
            format!("https://{HOST}:{} budget_exhausted", world.upstream.port)
        );
        assert_eq!(world.upstream.requests(), 3);
    });
}

/// R111: a destination that cannot prove its name gets no request, and there is no switch that changes this.
#[test]
fn a_destination_that_is_another_gets_no_request() {
    for_everybody(|world| {
        let stranger = Roots::new();
        world.home.write("state/egress/roots.pem", &stranger.pem);
        world.home.give("state/egress/roots.pem");
        for words in [&[][..], &["-k"]] {
            let ran = world.curl(&[words, &[world.url("/v1/a").as_str()]].concat());
            let heads = ran.json()["stdout"].as_str().unwrap().to_ascii_lowercase();
            assert!(
                heads.contains("casemate-denied: upstream_cert\r"),
                "{ran:?}"
            );
            assert_eq!(world.upstream.requests(), 0);
        }
        world.home.write("state/egress/roots.pem", "nothing");
        world.home.give("state/egress/roots.pem");
        let ran = world.curl(&[&world.url("/v1/a")]);
        ran.exits(120).says("roots.pem").says("has no certificate");
        assert_eq!(world.upstream.requests(), 0);
    });
}

/// The certificate of a way out is another each time, and a repeat is the same call all the same.
#[test]
fn a_repeat_under_a_key_is_not_sent_again() {
    for_everybody(|world| {
        let url = world.url("/v1/a");
        let options = ["run", "--profile", "p.toml", "--idempotency-key", "k", "--"];
        for _ in 0..2 {
            let words = [&options[..], &["curl", "-sS", &url]].concat();
            let ran = Ran(world.casemate(&words).output().unwrap());
            ran.exits(0).prints("GET /v1/a HTTP/1.1");
        }
        assert_eq!(world.upstream.requests(), 1);
    });
}

/// A program that does not believe our certificate sends nothing, and is on record however soon it ends.
#[test]
fn a_program_that_expects_another_certificate_sends_nothing() {
    for_everybody(|world| {
        let url = world.url("/v1/a");
        // It believes nobody.
        let python = format!(
            "import ssl, urllib.request as r; r.urlopen('{url}', context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))"
        );
        let ran = world.run(&["/usr/bin/python3", "-c", &python]);
        let answer = ran.json();
        let stderr = answer["stderr"].as_str().unwrap();
        assert!(stderr.contains("CERTIFICATE_VERIFY_FAILED"), "{ran:?}");
        assert_eq!(answer["denied"][0]["kind"], "egress", "{ran:?}");
        let [record] = &world.requests()[..] else {
            panic!("{:?}", world.requests());
        };
        assert_eq!(record["kind"], "denied");
        assert_eq!(record["summary"]["code"], "pinned_client");
        assert_eq!(world.upstream.connections(), 0);
    });
}

/// I1: a request that was on its way when everything was killed is found by the next call, and closed as unknown.
#[test]
fn a_request_that_nobody_saw_the_end_of_is_unknown() {
    for_everybody(|world| {
        let url = world.url("/v1/hang");
        let mut running = world
            .casemate(&["run", "--profile", "p.toml", "--", "curl", "-sS", &url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while world.upstream.requests() == 0 {
            assert!(running.try_wait().unwrap().is_none(), "nothing was sent");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let [sent] = &world.requests()[..] else {
            panic!("{:?}", world.requests());
        };
        assert_eq!(sent["kind"], "allowed");
        running.kill().unwrap();
        running.wait().unwrap();
        world.home.run(["run", "--", "true"]).exits(0);
        let log = world.home.log();
        let end =
            |record: &&Value| record["kind"] == "outcome" && record["decision"] == sent["decision"];
        let ends: Vec<_> = log.iter().filter(end).collect();
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0]["summary"]["status"], "unknown");
        assert_eq!(world.upstream.requests(), 1);
    });
}

/// I4: a way out is one call's alone. Another call, with or without one, does not find it; without rules there is none.
#[test]
fn a_way_out_is_one_calls_alone() {
    for_everybody(|world| {
        let words = ["run", "--profile", "p.toml", "--"];
        let mut first = world
            .casemate(&[&words[..], &["sh", "-c", "echo ready; read line"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let stdout = first.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");

        let look = "curl -sS -x http://127.0.0.1:3128 https://orders.way.example/; echo $?; \
                    env | grep -ci _proxy; ls -d /etc/casemate";
        let words = ["run", "--json", "--", "sh", "-c", look];
        let without = Ran(world.casemate(&words).output().unwrap()).json();
        // It cannot connect to the proxy, has no variable of it, and no certificate.
        assert_eq!(without["stdout"], "7\n0\n", "{without}");
        let with = world.curl(&[&world.url("/v1/a")]);
        let answer = with.exits(0).json();
        for record in world.requests() {
            assert_eq!(record["summary"]["call"], answer["decision"]);
        }
        assert_eq!(world.requests().len(), 2);
        drop(first.stdin.take());
        first.wait().unwrap();
    });
}

/// Where the way out leads is not the caller's to say.
#[test]
fn the_variables_of_the_way_out_are_not_the_callers() {
    for_everybody(|world| {
        for variable in [
            "HTTPS_PROXY=http://192.0.2.1",
            "no_proxy=*",
            "Ssl_Cert_File=/x",
        ] {
            let words = [
                "run",
                "--profile",
                "p.toml",
                "--env",
                variable,
                "--",
                "true",
            ];
            let ran = Ran(world.casemate(&words).output().unwrap());
            ran.exits(2).says("way out");
        }
        assert!(!world.home.path("state/ledger").exists());
        let words = ["run", "--env", "HTTPS_PROXY=http://192.0.2.1", "--", "true"];
        world.home.run(words).exits(0);
    });
}

/// I1: when nothing can be recorded, nothing is sent, and what is open ends.
#[test]
fn without_a_record_nothing_is_sent() {
    for_everybody(|world| {
        let url = world.url("/v1/a");
        let script = format!(
            "echo ready; read line; curl -sS {url}; echo; curl -sS {url}; echo second $?; read line"
        );
        let words = [
            "run",
            "--profile",
            "p.toml",
            "--out",
            "out",
            "--",
            "sh",
            "-c",
            &script,
        ];
        let mut running = world
            .casemate(&words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(running.stdout.take().unwrap());
        let mut said = String::new();
        stdout.read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        let log = world.home.path("state/ledger/log");
        let genuine = fs::read(&log).unwrap();
        let broken = &genuine[..genuine.len() / 2];
        fs::write(&log, broken).unwrap();
        let mut stdin = running.stdin.take().unwrap();
        stdin.write_all(b"\n").unwrap();
        let mut rest = String::new();
        while !rest.contains("second ") && stdout.read_line(&mut rest).unwrap() > 0 {}
        stdin.write_all(b"\n").unwrap();
        assert!(!rest.contains("GET /v1/a"), "{rest}");
        assert!(rest.contains("record_unavailable"), "{rest}");
        // The second finds nobody who listens.
        assert_eq!(running.wait().unwrap().code(), Some(123));
        assert!(
            rest.contains("second ") && !rest.contains("second 0"),
            "{rest}"
        );
        assert_eq!(world.upstream.requests(), 0);
        // And nothing says that something was.
        assert!(fs::read(&log).unwrap() == broken);
    });
}

/// A call of which something is not recorded did not go well, even if the log takes its outcome.
#[test]
fn what_is_not_recorded_is_not_a_success() {
    for_everybody(|world| {
        let url = world.url("/v1/a");
        let script = format!("echo ready; read line; curl -sS {url}; echo; echo asked; read line");
        let words = ["run", "--profile", "p.toml", "--", "sh", "-c", &script];
        let mut running = world
            .casemate(&words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(running.stdout.take().unwrap()).lines();
        let mut stdin = running.stdin.take().unwrap();
        assert_eq!(stdout.next().unwrap().unwrap(), "ready");
        let log = world.home.path("state/ledger/log");
        let genuine = fs::read(&log).unwrap();
        fs::write(&log, &genuine[..genuine.len() / 2]).unwrap();
        stdin.write_all(b"\n").unwrap();
        assert!(stdout.by_ref().any(|line| line.unwrap() == "asked"));
        fs::write(&log, &genuine).unwrap();
        stdin.write_all(b"\n").unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(123));
        assert_eq!(world.upstream.requests(), 0);
        let log = world.home.log();
        let succeeded = |record: &&Value| record["summary"]["status"] == "succeeded";
        assert_eq!(log.iter().filter(succeeded).count(), 0, "{log:?}");
    });
}

/// I5: a request is sent to where its own rule says that the destination is, or not at all: a connection that another rule
/// of the host allows is not lent to it.
#[test]
fn a_rule_does_not_lend_its_networks() {
    for_everybody(|world| {
        let port = world.upstream.port;
        world.rule(&format!(
            r#"
[[egress.rules]]
name = "orders-elsewhere"
host = "{HOST}"
class = "internal"
cidr = ["10.0.0.0/8"]
ports = [{port}]
methods = ["DELETE"]
side_effect = "read"
"#
        ));
        let url = world.url("/v1/a");
        let ran = world.curl(&["-X", "DELETE", &url]);
        world.assert_refused(&ran, "class_unknown", "class_unknown");
        world.curl(&[&url]).exits(0);
        assert_eq!(world.upstream.requests(), 1);
    });
}

/// What others can read is sent only where a rule says so, and only there.
#[test]
fn plain_http_needs_a_rule_of_its_own() {
    for_everybody(|world| {
        let (plain, other) = (Upstream::plain(), Upstream::plain());
        let profile = fs::read_to_string(world.home.path("p.toml")).unwrap();
        let ports = format!("ports = [{}]", world.upstream.port);
        let with = format!("ports = [{}]\nplaintext = \"allowed\"", plain.port);
        assert!(profile.contains(&ports));
        world.home.write("p.toml", profile.replace(&ports, &with));
        for (upstream, requests) in [(&plain, 1), (&other, 0)] {
            world.curl(&[&format!("http://{HOST}:{}/v1/a", upstream.port)]);
            assert_eq!(upstream.requests(), requests);
        }
        let log = world.requests();
        let kinds: Vec<_> = log.iter().map(|record| &record["kind"]).collect();
        assert_eq!(kinds, ["allowed", "outcome", "denied"]);
    });
}

/// R103, R105: a client that takes a base URL and knows of no proxy reaches what the URL stands for, over TLS, by the same rules; another name,
/// or another path than the rules have, leads nowhere.
#[test]
fn a_base_url_stands_for_a_destination() {
    for_everybody(|world| {
        world.rule(&base_url(world));
        let look = "import os, sys, urllib.request as r, urllib.error as e\n\
            try: print(r.urlopen(os.environ['CASEMATE_ROUTE_ORDERS'] + sys.argv[1]).read().decode())\n\
            except e.HTTPError as error: print(error.code, error.read().decode())";
        let asks = |path: &str| {
            let ran = world.run(&["/usr/bin/python3", "-c", look, path]);
            let answer = ran.exits(0).json();
            answer["stdout"].as_str().unwrap().trim().to_owned()
        };
        assert_eq!(asks("/7?x=1"), "GET /v1/orders/7?x=1 HTTP/1.1");
        let log = world.requests();
        let [sent, ended] = log.as_slice() else {
            panic!("{log:?}");
        };
        for record in [sent, ended] {
            assert_eq!(record["summary"]["entry"], "route");
            assert_eq!(record["summary"]["host"], HOST);
            assert_eq!(record["summary"]["rule"], "orders");
        }
        let before = world.upstream.connections();
        for (path, code) in [("s/7", "egress_denied"), ("/../../v2", "path_ambiguous")] {
            let told = asks(path);
            assert!(told.contains(code), "{told}");
        }
        assert_eq!(world.upstream.connections(), before);
        // Where programs find it is nobody else's to say.
        let words = [
            "run",
            "--env",
            "CASEMATE_ROUTE_ORDERS=x",
            "--profile",
            "p.toml",
            "--",
            "true",
        ];
        let ran = Ran(world.casemate(&words).output().unwrap());
        ran.exits(2).says("CASEMATE_ROUTE_ORDERS");
    });
}

/// A base URL for the destination of a world.
pub(crate) fn base_url(world: &World) -> String {
    format!(
        "\n[[egress.base_urls]]\nname = \"orders\"\nurl = \"{}\"",
        world.url("/v1/orders")
    )
}

/// An answer that is longer than its rule lets through is cut off, and looks so; the record says why.
#[test]
fn a_long_answer_is_cut_off() {
    for_everybody(|world| {
        world.rule("max_answer_bytes = 10");
        let ran = world.run(&["curl", "-sS", &world.url("/v1/orders/7")]);
        let answer = ran.json();
        assert_eq!(answer["stdout"], "", "{ran:?}");
        let ended = world.requests().pop().unwrap();
        assert_eq!(ended["summary"]["code"], "budget_exhausted", "{ended}");
        world.rule("max_answer_bytes = 1_000");
        let ran = world.run(&["curl", "-sS", &world.url("/v1/orders/7")]);
        assert_eq!(ran.json()["stdout"], "GET /v1/orders/7 HTTP/1.1");
    });
}
