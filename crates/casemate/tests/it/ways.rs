//! The ways out of sessions: a real gateway, keeper and process of egress, and a destination that counts whoever comes.

use std::{
    fs,
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    home::{Ran, User},
    keeper::{Keepers, until},
    way::{World, base_url, for_everybody},
};

/// A gateway whose calls have ways out.
pub(crate) struct Served<'a> {
    pub(crate) world: &'a World,
    gateway: Child,
    _keepers: Keepers<'a>,
}

impl<'a> Served<'a> {
    /// Under the rules of the world, in sessions of this mode.
    pub(crate) fn start(world: &'a World, mode: &str, more: &str) -> Self {
        let profile = include_str!("../../../policy/profiles/serve.toml")
            .replace("session = \"thread\"", &format!("session = {mode:?}"));
        world
            .home
            .write("serve.toml", world.with_rule(&profile, more));
        Self::under(world, &["serve.toml"])
    }

    /// Under these profiles; or under the bundle in force, if there are none.
    pub(crate) fn under(world: &'a World, profiles: &[&str]) -> Self {
        let log = fs::File::create(world.home.path("gateway.log")).unwrap();
        let profiles = profiles.iter().flat_map(|name| ["--profile", *name]);
        let words: Vec<_> = ["serve"].into_iter().chain(profiles).collect();
        let gateway = world
            .casemate(&words)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let served = Self {
            world,
            gateway,
            _keepers: Keepers(&world.home),
        };
        until("the gateway listens", || {
            let listed = world.home.casemate(["session", "list"]).output().unwrap();
            listed.status.success()
        });
        served
    }

    pub(crate) fn call(&self, words: &[&str]) -> Ran {
        let words = [&["call", "--json"], words].concat();
        self.world.home.run(&words)
    }

    /// The answer to a call that ran.
    #[track_caller]
    pub(crate) fn ran(&self, words: &[&str]) -> Value {
        let ran = self.call(words);
        let log = fs::read_to_string(self.world.home.path("gateway.log")).unwrap();
        let answer: Value = serde_json::from_slice(&ran.0.stdout)
            .unwrap_or_else(|_| panic!("{words:?}: {ran:?} {log}"));
        assert!(
            answer["outcome"].is_object() || answer["cause"].is_string(),
            "{answer} {log}"
        );
        answer
    }

    /// The processes of egress that serve, not those that watch over them.
    pub(crate) fn processes(&self) -> Vec<Pid> {
        let gateway = self.gateway.id().to_string();
        let children = |parent: &str| -> Vec<String> {
            let found = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
                let status = fs::read_to_string(process.path().join("status"));
                status.is_ok_and(|status| {
                    status
                        .lines()
                        .any(|line| line == format!("PPid:\t{parent}"))
                })
            });
            found
                .map(|process| process.file_name().into_string().unwrap())
                .collect()
        };
        let is_egress = |process: &String| {
            let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            words.starts_with(b"casemate\0egress\0")
        };
        let watchers = children(&gateway).into_iter().filter(is_egress);
        let serving = watchers.flat_map(|watcher| children(&watcher));
        serving
            .map(|process| Pid::from_raw(process.parse().unwrap()).unwrap())
            .collect()
    }

    #[track_caller]
    pub(crate) fn process(&self) -> Pid {
        let [process] = self.processes().try_into().unwrap();
        process
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        let is_request = |record: &Value| record["summary"]["tool"] == "egress.request";
        self.world
            .home
            .log()
            .into_iter()
            .filter(is_request)
            .collect()
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        drop(self.gateway.kill());
        drop(self.gateway.wait());
    }
}

pub(crate) fn stdout(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    text(&answer["stdout"])
        .or_else(|| text(&answer["output"]["stdout"]))
        .unwrap_or_else(|| panic!("{answer}"))
}

/// R103, R104, R105, R106, I3, I4: programs of sessions and cells of contexts, which know nothing of us, reach what the rules allow, by the
/// proxy's variables and without; each request is on disk before it is sent, and closed after it, with the call's name.
#[test]
fn calls_of_sessions_reach_what_is_allowed() {
    for_everybody(|world| {
        for mode in ["thread", "context"] {
            let served = Served::start(world, mode, "");
            let url = world.url("/v1/orders/7");
            let cell = format!(
                "import urllib.request as r; print(r.urlopen('{url}').read().decode(), end='')"
            );
            for words in [
                &["--thread", mode, "--", "curl", "-sS", &url][..],
                &[
                    "--thread",
                    mode,
                    "--",
                    "curl",
                    "-sS",
                    "--noproxy",
                    "*",
                    &url,
                ],
                &["--thread", mode, "-c", &cell],
                // The same interpreter in a context, and another call's way out.
                &["--thread", mode, "-c", &cell],
                &["--", "curl", "-sS", &url],
            ] {
                let before = (world.upstream.requests(), served.requests().len());
                let answer = served.ran(words);
                assert_eq!(
                    stdout(&answer),
                    "GET /v1/orders/7 HTTP/1.1",
                    "{words:?} {answer}"
                );
                assert_eq!(world.upstream.requests(), before.0 + 1);
                let log = served.requests().split_off(before.1);
                let [sent, ended] = log.as_slice() else {
                    panic!("{words:?} {log:?}");
                };
                assert_eq!(
                    (&sent["kind"], &ended["kind"]),
                    (&"allowed".into(), &"outcome".into())
                );
                assert_eq!(sent["decision"], ended["decision"]);
                for record in [sent, ended] {
                    assert_eq!(record["summary"]["call"], answer["decision"]);
                    assert_eq!(record["summary"]["rule"], "orders");
                }
            }
            // One process for the agent, however many calls.
            assert_eq!(served.processes().len(), 1);
            drop(served);
            world.home.run(["audit", "verify"]).exits(0);
        }
    });
}

/// R109, R110, I3, I5: what no rule allows leaves no packet; the program is told, the outcome lists it, and the log has it once.
#[test]
fn what_no_rule_allows_does_not_leave_a_session() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", "");
        let allowed = world.url("/v1/a");
        let port = world.upstream.port;
        let other = format!("https://other.way.example:{port}/v1/a");
        for (words, because) in [
            (&[world.url("/v2/a").as_str()][..], "path_refused"),
            (&["-X", "DELETE", &allowed], "method_refused"),
            (&[other.as_str()], "not_allowed"),
        ] {
            let before = served.requests().len();
            let curl = [&["--thread", "t", "--", "curl", "-sS"], words].concat();
            let answer = served.ran(&curl);
            let denied = answer.to_string();
            assert!(denied.contains(because), "{because}: {answer}");
            let log = served.requests().split_off(before);
            let [record] = log.as_slice() else {
                panic!("{log:?}");
            };
            assert_eq!(record["kind"], "denied");
            assert_eq!(record["summary"]["call"], answer["decision"]);
        }
        // A name that no rule is about is not known, and an address leads nowhere.
        let look = format!(
            "import socket\nfor host in ('other.way.example', '127.0.0.1', '192.0.2.1'):\n try: socket.create_connection((host, {port}), 2); print('connected')\n except OSError as e: print(type(e).__name__)"
        );
        let answer = served.ran(&["--thread", "t", "-c", &look]);
        assert!(
            !stdout(&answer)
                .lines()
                .next()
                .unwrap()
                .contains("connected"),
            "{answer}"
        );
        assert!(
            !stdout(&answer)
                .lines()
                .nth(2)
                .unwrap()
                .contains("connected"),
            "{answer}"
        );
        assert_eq!(world.upstream.connections(), 0);
    });
}

/// I1: when the process of egress is killed, at whatever moment, nothing leaves without a record, each record has an end, and
/// the next call works.
#[test]
fn a_killed_process_lets_nothing_out_unrecorded() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", "");
        let url = world.url("/v1/a");
        let curl = ["--thread", "t", "--", "curl", "-sS", &url];
        assert_eq!(stdout(&served.ran(&curl)), "GET /v1/a HTTP/1.1");

        // Between two calls.
        kill_process(served.process(), Signal::KILL).unwrap();
        until("it is dead", || served.processes().is_empty());
        assert_eq!(stdout(&served.ran(&curl)), "GET /v1/a HTTP/1.1");

        // While a request waits for its answer: the call ends, and says why.
        let hang = world.url("/v1/hang");
        let script = format!("echo begun; curl -sS {hang}; echo curl $?; sleep 60");
        let before = world.upstream.requests();
        let process = served.process();
        let running = world
            .home
            .casemate(["call", "--json", "--thread", "t", "--", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("it is sent", || world.upstream.requests() > before);
        kill_process(process, Signal::KILL).unwrap();
        let answer = Ran(running.wait_with_output().unwrap());
        let answer: Value = serde_json::from_slice(&answer.0.stdout).unwrap();
        let told = answer.to_string();
        assert!(told.contains("its way out was lost"), "{told}");
        assert_eq!(world.upstream.requests(), before + 1);
        let log = served.requests();
        let of_call: Vec<_> = log
            .iter()
            .filter(|record| record["summary"]["call"] == answer["decision"])
            .collect();
        let [sent, ended] = of_call.as_slice() else {
            panic!("{of_call:?}");
        };
        assert_eq!(sent["kind"], "allowed");
        assert_eq!(ended["kind"], "outcome");
        assert_eq!(ended["summary"]["status"], "unknown");
        assert_eq!(ended["summary"]["code"], "egress_lost");

        // Before a call has sent anything: it ends, and sends nothing.
        let script = format!("echo begun; sleep 1; curl -sS {url}; sleep 60");
        let (before, records) = (world.upstream.connections(), served.requests().len());
        let first = served.ran(&curl);
        assert_eq!(stdout(&first), "GET /v1/a HTTP/1.1");
        let process = served.process();
        let running = world
            .home
            .casemate(["call", "--json", "--thread", "t", "--", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(500));
        kill_process(process, Signal::KILL).unwrap();
        let answer = running.wait_with_output().unwrap();
        assert!(String::from_utf8_lossy(&answer.stdout).contains("its way out was lost"));
        assert_eq!(world.upstream.connections(), before + 1);
        assert_eq!(served.requests().len(), records + 2);

        assert_eq!(stdout(&served.ran(&curl)), "GET /v1/a HTTP/1.1");
        drop(served);
        world.home.run(["audit", "verify"]).exits(0);
    });
}

/// I1: a process that hangs lets nothing out: a call is refused in time, and when it is taken for dead the next one works.
#[test]
fn a_process_that_hangs_is_replaced() {
    let world = World::of(User::Tester);
    let served = Served::start(&world, "thread", "");
    let url = world.url("/v1/a");
    let curl = ["--thread", "t", "--", "curl", "-sS", &url];
    assert_eq!(stdout(&served.ran(&curl)), "GET /v1/a HTTP/1.1");
    let hung = served.process();
    kill_process(hung, Signal::STOP).unwrap();
    let told = format!("{:?}", served.call(&curl));
    assert!(told.contains("isolation_unavailable"), "{told}");
    assert_eq!(world.upstream.requests(), 1);
    until("another one serves", || {
        let answer: Value = serde_json::from_slice(&served.call(&curl).0.stdout).unwrap();
        answer["stdout"] == "GET /v1/a HTTP/1.1"
    });
    assert_eq!(world.upstream.requests(), 2);
    assert_ne!(served.process(), hung);
}

/// I1: where no process of egress can be, a call that would have a way out is refused with the reason, and runs nothing.
#[test]
fn without_egress_a_call_is_refused() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", "");
        // The operator's authorities are no file of this user's any more.
        let roots = world.home.path("state/egress/roots.pem");
        fs::write(&roots, "no certificate").unwrap();
        let ran = served.call(&["--thread", "t", "--", "sh", "-c", "echo ran"]);
        let told = format!("{ran:?}");
        assert!(told.contains("isolation_unavailable"), "{told}");
        assert!(told.contains("egress"), "{told}");
        let kinds = world.home.kinds();
        assert!(!kinds.contains(&"allowed".to_owned()), "{kinds:?}");
    });
}

/// I1: a switch that is thrown closes the way out: what is open is cut off, and nothing more leaves.
#[test]
fn a_switch_closes_the_way_out() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", "");
        let hang = world.url("/v1/hang");
        let url = world.url("/v1/a");
        let script = format!("trap '' INT TERM; curl -sS {hang}; curl -sS {url}; sleep 60");
        let running = world
            .home
            .casemate(["call", "--json", "--thread", "t", "--", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("it is sent", || world.upstream.requests() == 1);
        let off = ["switch", "off", "tool", "shell", "--reason", "a test"];
        world.home.run(off).exits(0);
        let answer = running.wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(told.contains("it was stopped"), "{told}");
        assert_eq!(world.upstream.requests(), 1);
        let log = served.requests();
        let [sent, ended] = log.as_slice() else {
            panic!("{log:?}");
        };
        assert_eq!(
            (&sent["kind"], &ended["kind"]),
            (&"allowed".into(), &"outcome".into())
        );
    });
}

/// Where the way out leads is not the caller's to say.
#[test]
fn the_variables_of_the_way_out_are_not_the_callers() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", "");
        for variable in [
            "HTTPS_PROXY=http://192.0.2.1",
            "no_proxy=*",
            "Ssl_Cert_File=/x",
        ] {
            let ran = served.call(&["--thread", "t", "--env", variable, "--", "true"]);
            let told = format!("{ran:?}");
            assert!(
                told.contains("invalid_call") && told.contains("way out"),
                "{told}"
            );
        }
    });
}

/// A client that takes a base URL finds it in a session, too.
#[test]
fn a_base_url_stands_for_a_destination_in_a_session() {
    for_everybody(|world| {
        let served = Served::start(world, "thread", &base_url(world));
        let script =
            "curl -sS $CASEMATE_ROUTE_ORDERS/7; curl -sS --path-as-is $CASEMATE_ROUTE_ORDERS/../x";
        let answer = served.ran(&["--thread", "t", "--", "sh", "-c", script]);
        let told = stdout(&answer);
        assert!(told.starts_with("GET /v1/orders/7 HTTP/1.1{"), "{answer}");
        assert!(told.contains("path_ambiguous"), "{answer}");
        assert_eq!(world.upstream.requests(), 1);
    });
}
