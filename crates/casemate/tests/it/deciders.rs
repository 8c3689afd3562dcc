//! The operator's own program, asked about each request: real, and it can only tighten.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::{
    way::{HOST, World, for_everybody},
    ways::{Served, stdout},
};

/// Says of a request what its path says, and writes down what it was asked. It speaks the protocol of `srt proxy`.
const DECIDER: &str = r#"
import json, os, struct, sys

def read():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4: sys.exit(0)
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))

def say(**message):
    text = json.dumps(message).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(text)) + text)
    sys.stdout.buffer.flush()

log = open(sys.argv[1], "a")
assert read() == {"t": "hello", "proto": 1}
say(t="hello", proto=1, allowedDomains=["HOST"], deniedDomains=[])
while True:
    asked = read()
    print(json.dumps({**asked, "env": sorted(os.environ)}), file=log, flush=True)
    word = asked["path"].rsplit("/", 1)[1]
    verdict = dict(t="verdict", id=asked["id"])
    if word == "no": say(**verdict, action="deny", status=451, reason="not today")
    elif word == "puts": say(**verdict, action="allow", setHeaders={"x-one": ["1"]})
    elif word == "takes": say(**verdict, action="allow", removeHeaders=["x-one"])
    elif word == "dies": sys.exit(1)
    elif word == "breaks": say(**verdict, action="perhaps")
    elif word == "body":
        say(**verdict, action="need_body", max=1000)
        body = read()
        print(json.dumps(body), file=log, flush=True)
        bad = b"secret" in __import__("base64").b64decode(body["data"])
        if bad: say(**verdict, action="deny", status=403)
        else: say(**verdict, action="allow")
    else: say(**verdict, action="allow")
"#;

/// Gives the operator of `world` a decider.
pub(crate) fn install(world: &World) {
    let home = &world.home;
    home.write("decider.py", DECIDER.replace("HOST", HOST));
    let words = [
        "/usr/bin/python3".to_owned(),
        home.path("decider.py").display().to_string(),
        home.path("asked").display().to_string(),
    ];
    let file = format!("name = \"dlp\"\ncommand = {words:?}\n");
    home.write("state/egress/decider.toml", file);
    home.give("state/egress/decider.toml");
}

/// What the decider was asked.
pub(crate) fn asked(world: &World) -> Vec<Value> {
    let text = fs::read_to_string(world.home.path("asked")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// One request, and whether it came to the destination; the last record of it.
fn sends(world: &World, words: &[&str]) -> (bool, String, Value) {
    let before = world.upstream.requests();
    let ran = world.run(&[&["curl", "-sS", "-D", "-"], words].concat());
    let answer = ran.json();
    let mut log = world.requests();
    log.retain(|record| record["summary"]["call"] == answer["decision"]);
    let first = log.remove(0);
    let came = world.upstream.requests() > before;
    (came, answer["stdout"].as_str().unwrap().to_owned(), first)
}

/// I1: under `casemate run` each request that the rules let through is asked about; what the decider denies, widens, breaks
/// or does not answer is not sent, and the record says what it said. It sees no credential.
#[test]
fn what_a_decider_refuses_is_not_sent() {
    for_everybody(|world| {
        install(world);
        let (came, _, sent) = sends(
            world,
            &["-H", "Authorization: Bearer 123", &world.url("/v1/yes?a=b")],
        );
        assert!(came, "{sent}");
        assert_eq!(sent["kind"], "allowed");
        assert_eq!(
            sent["summary"]["decider"],
            serde_json::json!({ "name": "dlp", "said": "pass" })
        );
        let [question] = asked(world).try_into().unwrap();
        for (key, value) in [
            ("method", "GET"),
            ("host", HOST),
            ("path", "/v1/yes"),
            ("query", "a=b"),
        ] {
            assert_eq!(question[key], value, "{question}");
        }
        assert!(!question.to_string().contains("Bearer"), "{question}");
        assert_eq!(question["env"], serde_json::json!(["LC_CTYPE", "PATH"]));
        for (path, said, status) in [
            ("/v1/no", "decider_denied", "451"),
            ("/v1/puts", "decider_widens", "403"),
            ("/v1/dies", "decider_unavailable", "403"),
            ("/v1/breaks", "decider_unavailable", "403"),
        ] {
            let (came, told, denied) = sends(world, &[&world.url(path)]);
            assert!(!came, "{path}");
            assert_eq!(denied["kind"], "denied", "{path}");
            let summary = &denied["summary"];
            assert_eq!(summary["because"], said, "{path}");
            assert_eq!(summary["decider"]["said"], said, "{path}");
            assert!(told.starts_with("HTTP/1.1 200 Connection"), "{told}");
            assert!(told.contains(&format!("HTTP/2 {status} ")), "{told}");
            // Why, is for people.
            assert!(!told.contains("not today") && !denied.to_string().contains("not today"));
        }
        let (came, _, sent) = sends(world, &["-H", "X-One: 1", &world.url("/v1/takes")]);
        assert!(came);
        assert_eq!(
            sent["summary"]["decider"]["without"],
            serde_json::json!(["x-one"])
        );
        // It wants the body, and is shown it.
        let url = world.url("/v1/body");
        assert!(sends(world, &["-d", "harmless", &url]).0);
        let (came, _, denied) = sends(world, &["-d", "a secret", &url]);
        assert!(!came);
        assert_eq!(denied["summary"]["because"], "decider_denied");
        world.home.run(["audit", "verify"]).exits(0);
    });
}

/// A decider's yes widens nothing: it is not even asked about what the rules refuse.
#[test]
fn a_decider_is_asked_after_the_rules() {
    for_everybody(|world| {
        install(world);
        for words in [
            &[world.url("/v2/yes").as_str()][..],
            &["-X", "DELETE", &world.url("/v1/yes")],
            &[&format!(
                "https://other.way.example:{}/v1/yes",
                world.upstream.port
            )],
        ] {
            let (came, _, denied) = sends(world, words);
            assert!(!came, "{words:?}");
            assert_eq!(denied["kind"], "denied");
            assert!(denied["summary"]["decider"].is_null(), "{denied}");
        }
        assert_eq!(asked(world), Vec::<Value>::new());
    });
}

/// I1: a file that names no decider, or that others could have written, is not the same as none.
#[test]
fn a_decider_that_cannot_be_used_is_not_left_out() {
    for_everybody(|world| {
        let home = &world.home;
        let url = world.url("/v1/yes");
        let file = "state/egress/decider.toml";
        home.write(file, "name = \"dlp\"\n");
        home.give(file);
        let refused = world.run(&["curl", "-sS", &url]);
        assert_ne!(refused.0.status.code(), Some(0), "{refused:?}");
        install(world);
        fs::set_permissions(home.path(file), fs::Permissions::from_mode(0o666)).unwrap();
        let refused = world.run(&["curl", "-sS", &url]);
        assert_ne!(refused.0.status.code(), Some(0), "{refused:?}");
        world.home.write("serve.toml", "");
        let serve = world.casemate(&["serve"]).output().unwrap();
        assert_eq!(serve.status.code(), Some(1), "{serve:?}");
        // It is there, and is nobody.
        fs::set_permissions(home.path(file), fs::Permissions::from_mode(0o600)).unwrap();
        home.write(file, "name = \"dlp\"\nsocket = \"/nowhere/dlp.sock\"\n");
        let (came, _, denied) = sends(world, &[&url]);
        assert!(!came);
        assert_eq!(denied["summary"]["because"], "decider_unavailable");
        assert_eq!(world.upstream.connections(), 0);
    });
}

/// The same under `casemate serve`, where the process of egress can start nothing and reach no socket; one that died is started again.
#[test]
fn a_decider_is_asked_about_requests_of_sessions() {
    for_everybody(|world| {
        install(world);
        let served = Served::start(world, "thread", "");
        let curl = |path: &str| {
            let url = world.url(path);
            served.ran(&["--thread", "t", "--", "curl", "-sS", &url])
        };
        assert_eq!(stdout(&curl("/v1/yes")), "GET /v1/yes HTTP/1.1");
        for (path, said) in [
            ("/v1/no", "decider_denied"),
            ("/v1/dies", "decider_unavailable"),
        ] {
            let before = world.upstream.requests();
            let answer = curl(path);
            assert!(answer.to_string().contains(said), "{answer}");
            assert_eq!(world.upstream.requests(), before);
            let record = served.requests().pop().unwrap();
            assert_eq!(record["summary"]["decider"]["said"], said);
        }
        crate::keeper::until("another one is started", || {
            stdout(&curl("/v1/yes")) == "GET /v1/yes HTTP/1.1"
        });
        drop(served);
        world.home.run(["audit", "verify"]).exits(0);
    });
}
