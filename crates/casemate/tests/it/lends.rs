//! Credentials of sessions: a real gateway, keeper, process of egress and identity, and a destination that demands a secret.

use std::{
    fs,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
};

use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    approvals,
    canary::fresh,
    credentials::{Safe, for_everybody},
    home::users,
    keeper::until,
    upstream::Upstream,
    way::HOST,
    ways::{Served, stdout},
};

const CREDENTIAL: &str = "credential = \"cred:orders-api\"";
const OTHER: &str = "other.way.example";

/// The process that holds the credentials, which must be there.
fn identity(safe: &Safe) -> Pid {
    let peer = UnixStream::connect(safe.world.home.path("state/run/identity.sock")).unwrap();
    rustix::net::sockopt::socket_peercred(&peer).unwrap().pid
}

/// A call that goes on while something happens.
pub(crate) fn begin(safe: &Safe, script: &str) -> Child {
    let words = ["call", "--json", "--thread", "t", "--", "sh", "-c", script];
    safe.world
        .home
        .casemate(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Its answer.
pub(crate) fn end(running: Child) -> Value {
    let output = running.wait_with_output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The secret is in nothing that was said and kept.
#[track_caller]
fn assert_unseen(safe: &Safe, answers: &[Value]) {
    for answer in answers {
        safe.assert_absent("an answer", answer.to_string().as_bytes());
    }
    let log = fs::read(safe.world.home.path("gateway.log")).unwrap();
    safe.assert_absent("the log of the gateway", &log);
    safe.assert_not_kept();
}

/// R72, R73, R75, R76, R78, R94, R101, I2: programs of sessions and cells of contexts use a credential that they never see, with proxy variables and
/// without; what comes back is scrubbed, and on record.
#[test]
fn calls_of_sessions_use_credentials() {
    for_everybody(|safe| {
        let (mut proven, mut answers) = (0, Vec::new());
        for mode in ["thread", "context"] {
            let served = Served::start(&safe.world, mode, CREDENTIAL);
            let (url, raw) = (safe.world.url("/v1/a"), safe.world.url("/v1/raw"));
            let cell = format!(
                "import os, urllib.request as r; print(r.urlopen('{url}').read().decode(), 'canary' in str(os.environ))"
            );
            let shown = "you sent [redacted] and it is good";
            for (words, says) in [
                (&["--thread", mode, "--", "curl", "-sS", &url][..], "good"),
                (
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
                    "good",
                ),
                (&["--thread", mode, "-c", &cell], "good False\n"),
                // The same interpreter in a context: another call, and another lease.
                (&["--thread", mode, "-c", &cell], "good False\n"),
                (&["--thread", mode, "--", "curl", "-sS", &raw], shown),
                (&["--", "curl", "-sS", &raw], shown),
            ] {
                let answer = served.ran(words);
                assert_eq!(stdout(&answer), says, "{words:?} {answer}");
                proven += 1;
                assert_eq!(safe.world.upstream.proven(), proven);
                let log = served.requests();
                let [.., sent, ended] = log.as_slice() else {
                    panic!("{log:?}");
                };
                for record in [sent, ended] {
                    assert_eq!(record["summary"]["call"], answer["decision"]);
                    assert_eq!(record["summary"]["credential"], "cred:orders-api");
                }
                answers.push(answer);
            }
            drop(served);
            assert_unseen(safe, &answers);
        }
        assert_eq!(safe.world.upstream.requests(), proven);
        assert_eq!(safe.listed()["reflected"], true);
        safe.world.home.run(["audit", "verify"]).exits(0);
    });
}

/// R87, R90: what a credential is not for does not get it in a session either, and is not sent.
#[test]
fn a_session_gets_it_for_nothing_else() {
    for_everybody(|safe| {
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let url = safe.world.url("/v1/a");
        for words in [
            &[safe.world.url("/v2/a").as_str()][..],
            &["-X", "DELETE", &url],
            &["-H", "Authorization: Bearer mine", &url],
        ] {
            let curl = [&["--thread", "t", "--", "curl", "-sSi"], words].concat();
            let answer = served.ran(&curl);
            assert!(answer.to_string().contains("asemate-"), "{answer}");
        }
        assert_eq!(safe.world.upstream.requests(), 0);
    });
}

/// R72, R74, R91, I10: two agents whose calls run at once use a credential each, and neither the other's; nor does one get the other's by
/// asking for its destination.
#[test]
fn credentials_of_two_agents_do_not_mix() {
    let user = users()[0];
    let secret = fresh();
    let shows = format!("authorization: Bearer {secret}\r\n");
    let safe = Safe::before(user, secret, &shows);
    safe.add(&["--kind", "bearer"]);
    let (world, second) = (&safe.world, fresh());
    let shows = format!("authorization: Bearer {second}\r\n");
    let other = Upstream::demanding(&world.roots, OTHER, &second, &shows);
    let words = ["credential", "add", "cred:other-api", "--kind", "bearer"];
    world.home.feed(words, second.as_bytes()).exits(0);
    let profile = include_str!("../../../policy/profiles/serve.toml");
    let first = world.with_rule(profile, CREDENTIAL);
    let (ours, theirs) = (world.upstream.port.to_string(), other.port.to_string());
    let changed = first
        .replace("route = \"serve\"", "route = \"other\"")
        .replace(HOST, OTHER)
        .replace(&ours, &theirs)
        .replace("cred:orders-api", "cred:other-api");
    world.home.write("first.toml", &first);
    world.home.write("second.toml", &changed);
    let served = Served::under(world, &["first.toml", "second.toml"]);
    let (mine, its) = (
        world.url("/v1/raw"),
        format!("https://{OTHER}:{theirs}/v1/raw"),
    );
    let curl = |agent: &str, route: &str, url: &str| {
        let words = ["--agent", agent, "--route", route, "--", "curl", "-sS", url];
        let words = [&["call", "--json"][..], &words].concat();
        let mut call = world.home.casemate(words);
        call.stdout(Stdio::piped()).stderr(Stdio::piped());
        call.spawn().unwrap()
    };
    let running: Vec<_> = (0..6)
        .flat_map(|_| [curl("one", "serve", &mine), curl("two", "other", &its)])
        .collect();
    for running in running {
        let answer = end(running);
        assert_eq!(stdout(&answer), "you sent [redacted] and it is good");
    }
    assert_eq!((world.upstream.requests(), world.upstream.proven()), (6, 6));
    assert_eq!((other.requests(), other.proven()), (6, 6));
    assert_eq!(served.processes().len(), 2);
    for (agent, route, url) in [("one", "serve", &its), ("two", "other", &mine)] {
        let answer = end(curl(agent, route, url)).to_string();
        assert!(answer.contains("not_allowed"), "{answer}");
    }
    assert_eq!((world.upstream.requests(), other.requests()), (6, 6));
    // Each is marked by its own answers, and used by its own agent.
    let uses = world.home.run(["audit", "uses", "--json"]).stdout();
    let mut used = 0;
    for line in uses.lines() {
        let one: Value = serde_json::from_str(line).unwrap();
        if one["credentials"] == serde_json::json!([]) {
            continue;
        }
        used += 1;
        let handle = &one["credentials"][0]["credential"];
        let expected = match one["agent"].as_str() {
            Some("one") => "cred:orders-api",
            _ => "cred:other-api",
        };
        assert_eq!(handle, expected, "{one}");
    }
    assert_eq!(used, 12);
    assert_unseen(&safe, &[]);
}

/// I1, R76: identity that is killed at whatever moment takes every right along: nothing leaves with a credential that was not granted, what
/// is open is cut off, and the next call works.
#[test]
fn killed_identity_lends_nothing() {
    for_everybody(|safe| {
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let (upstream, url) = (&safe.world.upstream, safe.world.url("/v1/a"));
        let hang = safe.world.url("/v1/hang");
        let curl = ["--thread", "t", "--", "curl", "-sS", &url];
        assert_eq!(stdout(&served.ran(&curl)), "good");

        // Between two calls.
        kill_process(identity(safe), Signal::KILL).unwrap();
        assert_eq!(stdout(&served.ran(&curl)), "good");

        // While an answer comes, and before more is sent.
        let before = upstream.proven();
        let script = format!("curl -sSN {hang}; echo; echo ended $?; curl -sSi {url}");
        let running = begin(safe, &script);
        until("it is sent", || upstream.proven() > before);
        kill_process(identity(safe), Signal::KILL).unwrap();
        let answer = end(running);
        let said = stdout(&answer).to_ascii_lowercase();
        assert!(said.contains("ended"), "{answer}");
        assert!(
            said.contains("cred_unavailable") || said.contains("revoked"),
            "{answer}"
        );
        assert_eq!(upstream.proven(), before + 1);
        assert_eq!(upstream.requests(), before + 1);
        let log = served.requests();
        let ended = log
            .iter()
            .filter(|record| record["summary"]["call"] == answer["decision"])
            .find(|record| record["kind"] == "outcome")
            .unwrap();
        assert_eq!(ended["summary"]["code"], "revoked");

        // Before a call sends anything; the same session goes on.
        let begun = format!(
            "touch /workspace/begun; until test -e /workspace/go; do sleep 0.05; done; curl -sSi {url}"
        );
        let running = begin(safe, &begun);
        until("it has begun", || {
            let look = ["--thread", "t", "--", "ls", "/workspace"];
            stdout(&served.ran(&look)).contains("begun")
        });
        kill_process(identity(safe), Signal::KILL).unwrap();
        served.ran(&["--thread", "t", "--", "touch", "/workspace/go"]);
        let answer = end(running);
        let said = stdout(&answer).to_ascii_lowercase();
        assert!(
            said.contains("cred_unavailable") || said.contains("revoked"),
            "{answer}"
        );
        assert_eq!(upstream.requests(), before + 1);

        assert_eq!(stdout(&served.ran(&curl)), "good");
        drop(served);
        assert_unseen(safe, &[answer]);
        safe.world.home.run(["audit", "verify"]).exits(0);
    });
}

/// I1: a process of egress that is killed while an answer with a credential comes loses its lease with everything else; the next call has
/// another process, and works.
#[test]
fn killed_egress_has_no_lease() {
    for_everybody(|safe| {
        let served = Served::start(&safe.world, "context", CREDENTIAL);
        let (upstream, url) = (&safe.world.upstream, safe.world.url("/v1/a"));
        let hang = safe.world.url("/v1/hang");
        let curl = ["--thread", "t", "--", "curl", "-sS", &url];
        assert_eq!(stdout(&served.ran(&curl)), "good");
        kill_process(served.process(), Signal::KILL).unwrap();
        until("it is dead", || served.processes().is_empty());
        assert_eq!(stdout(&served.ran(&curl)), "good");
        let before = upstream.proven();
        let running = begin(safe, &format!("curl -sSN {hang}; curl -sS {url}; sleep 60"));
        until("it is sent", || upstream.proven() > before);
        kill_process(served.process(), Signal::KILL).unwrap();
        let answer = end(running);
        let told = answer.to_string();
        assert!(told.contains("its way out was lost"), "{told}");
        assert_eq!(upstream.requests(), before + 1);
        assert_eq!(stdout(&served.ran(&curl)), "good");
        drop(served);
        assert_unseen(safe, &[answer]);
    });
}

/// R95: a credential that is revoked or switched off while a stream is open is taken from the call: the stream is cut off, and nothing more is
/// sent with it, while the call goes on.
#[test]
fn what_is_taken_back_is_taken_from_open_streams() {
    for_everybody(|safe| {
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let (upstream, url) = (&safe.world.upstream, safe.world.url("/v1/a"));
        let hang = safe.world.url("/v1/hang");
        let home = &safe.world.home;
        let off = ["switch", "off", "credential", "cred:orders-api"];
        let on = ["switch", "on", "credential", "cred:orders-api"];
        let revoke = ["credential", "revoke", "cred:orders-api"];
        for (takes_back, gives) in [(&off[..], Some(on)), (&revoke[..], None)] {
            let before = upstream.proven();
            let script = format!("curl -sSN {hang}; echo; curl -sSi {url}; echo over");
            let running = begin(safe, &script);
            until("it is sent", || upstream.proven() > before);
            let words = [takes_back, &["--reason", "a test"]].concat();
            home.run(words).exits(0);
            let answer = end(running);
            let said = stdout(&answer);
            assert!(
                said.starts_with("begun\n") && said.ends_with("over\n"),
                "{answer}"
            );
            assert_eq!(upstream.requests(), before + 1, "{answer}");
            let log = served.requests();
            let of_call = |record: &&Value| record["summary"]["call"] == answer["decision"];
            let outcome = log
                .iter()
                .filter(of_call)
                .find(|record| record["kind"] == "outcome");
            assert_eq!(outcome.unwrap()["summary"]["code"], "revoked");
            if let Some(on) = gives {
                let words = [&on[..], &["--reason", "a test"]].concat();
                home.run(words).exits(0);
                let again = served.ran(&["--thread", "t", "--", "curl", "-sS", &url]);
                assert_eq!(stdout(&again), "good");
            }
        }
        assert_unseen(safe, &[]);
    });
}

/// R76, I13: a lease ends when another policy comes into force than the one that allowed the call, also while a stream is open.
#[test]
fn a_new_policy_ends_leases() {
    let user = users()[0];
    let secret = fresh();
    let shows = format!("authorization: Bearer {secret}\r\n");
    let safe = Safe::before(user, secret, &shows);
    safe.add(&["--kind", "bearer"]);
    let home = &safe.world.home;
    let profile = include_str!("../../../policy/profiles/serve.toml");
    let activate = |version: u64, profile: &str| {
        let trial = "[[test]]\nname = \"Python\"\nroute = \"serve\"\ntool = \"python\"\narguments = { code = \"1\" }\nexpect = \"allow\"\nreason = \"allowed\"\n";
        for (path, text) in [
            (
                "bundle.toml",
                format!("name = \"small\"\nversion = {version}\n"),
            ),
            ("profiles/serve.toml", profile.to_owned()),
            ("tests/serve.toml", trial.to_owned()),
        ] {
            let path = home.path(format!("bundle-{version}/{path}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let bundle = format!("bundle-{version}");
        home.run([
            "policy",
            "activate",
            &bundle,
            "--solver",
            "/nonexistent",
            "--break-glass",
            "a test",
        ])
        .exits(0);
    };
    let profile = profile.replace("risk_class", "tier = \"code\"\nrisk_class");
    let with = safe.world.with_rule(&profile, CREDENTIAL);
    activate(1, &with);
    let served = Served::under(&safe.world, &[]);
    let (upstream, url) = (&safe.world.upstream, safe.world.url("/v1/a"));
    let running = begin(
        &safe,
        &format!(
            "curl -sSN {}; echo; curl -sSi {url}; echo over",
            safe.world.url("/v1/hang")
        ),
    );
    until("it is sent", || upstream.proven() == 1);
    activate(
        2,
        &with.replace("max_processes = 1_024", "max_processes = 1_023"),
    );
    let answer = end(running);
    assert!(stdout(&answer).ends_with("over\n"), "{answer}");
    assert_eq!(upstream.requests(), 1, "{answer}");
    let log = served.requests();
    let outcome = log.iter().find(|record| record["kind"] == "outcome");
    assert_eq!(outcome.unwrap()["summary"]["code"], "revoked");
    let again = served.ran(&["--thread", "u", "--", "curl", "-sS", &url]);
    assert_eq!(stdout(&again), "good");
}

/// R9, R101, R163: what a person approved has the credential once, and as it was shown; identity knows what that was from the gateway, not
/// from whoever sends it.
#[test]
fn what_a_person_approved_has_it_once() {
    for_everybody(|safe| {
        let waits = format!("{CREDENTIAL}\napproval = \"always\"");
        let served = Served::start(&safe.world, "thread", &waits);
        let (home, upstream) = (&safe.world.home, &safe.world.upstream);
        approvals::enlist(home, "alice", &[]);
        let url = safe.world.url("/v1/raw?x=1");
        let curl = format!("curl -sS -X POST -d amount=7 '{url}'");
        let running = begin(safe, &format!("{curl}; echo; {curl}"));
        for sent in [0, 1] {
            let held = approvals::waits(home, 1).remove(0);
            assert_eq!(upstream.requests(), sent);
            approvals::approve(home, &held, "alice").exits(0);
            until("it is sent", || upstream.requests() == sent + 1);
        }
        let answer = end(running);
        let shown = "you sent [redacted] and it is good";
        assert_eq!(stdout(&answer), format!("{shown}\n{shown}"), "{answer}");
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2));
        drop(served);
        assert_unseen(safe, &[answer]);
    });
}

/// I1, R101: what a person consents to when identity has just died has no credential, is not sent, and its record says why.
#[test]
fn a_consent_that_cannot_be_noted_is_not_used() {
    for_everybody(|safe| {
        let waits = format!("{CREDENTIAL}\napproval = \"always\"");
        let served = Served::start(&safe.world, "thread", &waits);
        let (home, upstream) = (&safe.world.home, &safe.world.upstream);
        approvals::enlist(home, "alice", &[]);
        let url = safe.world.url("/v1/a");
        let running = begin(safe, &format!("curl -sS '{url}'"));
        let held = approvals::waits(home, 1).remove(0);
        kill_process(identity(safe), Signal::KILL).unwrap();
        approvals::approve(home, &held, "alice").exits(0);
        let answer = end(running);
        assert!(stdout(&answer).contains("consent_unnoted"), "{answer}");
        assert_eq!(upstream.requests(), 0);
        let log = served.requests();
        let refused = log.iter().find(|one| one["kind"] == "denied").unwrap();
        assert_eq!(refused["summary"]["code"], "cred_unavailable", "{refused}");
        assert_eq!(refused["summary"]["because"], "consent_unnoted");
        drop(served);
        home.run(["audit", "verify"]).exits(0);
    });
}

/// R9, R116: a destination that answered by one rule is not new to another one, which has a credential: for egress and for identity alike.
#[test]
fn a_destination_that_answered_is_known_to_identity() {
    for_everybody(|safe| {
        let profile = include_str!("../../../policy/profiles/serve.toml");
        let with = safe.world.with_rule(profile, "");
        let (_, rule) = with.split_once("[[egress.rules]]").unwrap();
        let asks =
            format!("[[egress.rules]]{rule}\n{CREDENTIAL}\napproval = \"new_destination\"\n")
                .replace("name = \"orders\"", "name = \"asks\"")
                .replace("\"/v1/**\"", "\"/v1/a\"");
        let first = with.replace("\"/v1/**\"", "\"/v1/open\"");
        assert_ne!(first, with);
        safe.world
            .home
            .write("two.toml", format!("{first}\n{asks}"));
        let served = Served::under(&safe.world, &["two.toml"]);
        let (open, url) = (safe.world.url("/v1/open"), safe.world.url("/v1/a"));
        let script = format!("curl -sS -o /dev/null '{open}'; curl -sS '{url}'; curl -sS '{url}'");
        let answer = served.ran(&["--thread", "t", "--", "sh", "-c", &script]);
        assert_eq!(stdout(&answer), "goodgood", "{answer}");
        assert_eq!(safe.world.upstream.proven(), 2);
    });
}

/// R75, R79, I2: unmodified Git clones, fetches and pushes over HTTPS with a password that it does not know; nothing is pushed by a rule that
/// only lets it fetch.
#[test]
fn git_uses_a_password_that_it_does_not_know() {
    for user in users() {
        let secret = fresh();
        let repositories = tempfile::tempdir().unwrap();
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            let git = git.arg("-C").arg(repositories.path()).args(words);
            let output = git.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        git(&["init", "-q", "--bare", "-b", "main", "orders.git"]);
        git(&["-C", "orders.git", "config", "http.receivepack", "true"]);
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("bot:{secret}"));
        let shows = format!("authorization: Basic {pair}\r\n");
        let safe = Safe::with(user, secret, |roots| {
            Upstream::git(roots, HOST, &shows, repositories.path())
        });
        safe.add(&["--kind", "basic", "--user", "bot"]);
        let world = &safe.world;
        let profile = include_str!("../../../policy/profiles/serve.toml");
        let with = world.with_rule(profile, CREDENTIAL);
        let reads = "\"/v1/orders.git/info/refs\", \"/v1/orders.git/git-upload-pack\"";
        let of_git = |paths: &str, service: &str| {
            let says = format!("paths = [{paths}]\nquery = [\"service={service}\"]");
            let rules = with.replace("paths = [\"/v1/**\"]", &says);
            assert_ne!(rules, with);
            rules
        };
        let fetches = of_git(reads, "git-upload-pack");
        let writes = "\"/v1/orders.git/info/refs\", \"/v1/orders.git/git-receive-pack\"";
        let pushes = of_git(writes, "git-receive-pack");
        let (_, rule) = pushes.split_once("[[egress.rules]]").unwrap();
        let pushes = format!("[[egress.rules]]{rule}")
            .replace("name = \"orders\"", "name = \"push\"")
            .replace("side_effect = \"read\"", "side_effect = \"draft\"");
        let url = world.url("/v1/orders.git");
        let work = format!(
            "set -e; export GIT_TERMINAL_PROMPT=0; cd /workspace; rm -rf clone; git clone -q {url} clone; cd clone; \
             git checkout -qB main; echo one >> file; git add file; git -c user.name=n -c user.email=e commit -qm first; \
             git push -q origin main && git fetch -q && git rev-parse origin/main"
        );
        let fetcher = ["--thread", "t", "--", "sh", "-c", &work];
        let call = ["--thread", "u", "--", "sh", "-c", &work];
        world.home.write("fetch.toml", &fetches);
        let served = Served::under(world, &["fetch.toml"]);
        let answer = served.ran(&fetcher);
        assert_ne!(answer["outcome"]["exit_code"], 0, "{answer}");
        // Not even what there is to push to is said.
        let refused = served.requests();
        let refused = refused.iter().filter(|one| one["kind"] == "denied");
        let why: Vec<_> = refused.map(|one| &one["summary"]["because"]).collect();
        assert_eq!(why, ["query_refused"], "{answer}");
        drop(served);
        assert_eq!(git(&["-C", "orders.git", "branch"]), "");
        world
            .home
            .write("push.toml", format!("{fetches}\n{pushes}"));
        let served = Served::under(world, &["push.toml"]);
        let answer = served.ran(&call);
        let head = git(&["-C", "orders.git", "rev-parse", "main"]);
        assert_eq!(stdout(&answer), head, "{answer}");
        // Again, with something to fetch.
        let answer = served.ran(&call);
        let head = git(&["-C", "orders.git", "rev-parse", "main"]);
        assert_eq!(stdout(&answer), head, "{answer}");
        assert_eq!(world.upstream.requests(), world.upstream.proven());
        drop(served);
        assert_unseen(&safe, &[answer]);
    }
}

/// R72, R75, I2: programs that ask their platform for a token, as the SDKs of Azure do, get one that is worth nothing: in its place the rule's
/// credential goes into their requests; in another place, and in another session, it is what it says.
#[test]
fn a_placeholder_stands_for_the_credential_of_its_session() {
    for_everybody(|safe| {
        let served = Served::start(&safe.world, "context", CREDENTIAL);
        let upstream = &safe.world.upstream;
        let script = format!(
            r#"
import json, os, urllib.error, urllib.request as r
def get(url, **fields):
    try:
        return r.urlopen(r.Request(url, headers=fields)).read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code) + str(error.headers.get("Casemate-Denied", ""))
place = os.environ["IDENTITY_ENDPOINT"] + "?api-version=2019-08-01&resource=https://orders"
print(get(place), get(place, Metadata="true"))
given = json.loads(get(place, **{{"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]}}))
token = given["access_token"]
print(given["token_type"], given["resource"])
url = "{}"
print(get(url, Authorization="Bearer " + token))
print(get(url, Authorization="Bearer " + token, **{{"X-Note": token}}))
print(get(url, Authorization="Basic " + token), get(url, Authorization="Bearer x" + token))
if os.path.exists("/workspace/token"):
    print(get(url, Authorization="Bearer " + open("/workspace/token").read()))
open("/workspace/token", "w").write(token)
"#,
            safe.world.url("/v1/a")
        );
        let call = ["--thread", "t", "--", "/usr/bin/python3", "-c", &script];
        let first = "401 401\nBearer https://orders\ngood\ngood\n403cred_scope 403cred_scope\n";
        let answer = served.ran(&call);
        assert_eq!(stdout(&answer), first, "{answer}");
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2));
        // That of the call before is as good in this one, which is in the same session; in another it is nothing.
        let answer = served.ran(&call);
        assert_eq!(stdout(&answer), format!("{first}good\n"), "{answer}");
        assert_eq!((upstream.requests(), upstream.proven()), (5, 5));
        let token = stdout(&served.ran(&["--thread", "t", "--", "cat", "token"]));
        let bears = format!("Authorization: Bearer {token}");
        let curl = ["curl", "-sSi", "-H", &bears, &safe.world.url("/v1/a")];
        let answer = served.ran(&[&["--thread", "other", "--"], &curl[..]].concat());
        assert!(stdout(&answer).contains("cred_scope"), "{answer}");
        assert_eq!(upstream.requests(), 5);
        // A client that a variable keeps from one cell to the next.
        let keeps = script.replace("/workspace/token", "/nonexistent");
        let keeps = keeps.split_once("if os.path").unwrap().0;
        served.ran(&["--thread", "t", "-c", keeps]);
        let again = "print(get(url, Authorization='Bearer ' + token))";
        let answer = served.ran(&["--thread", "t", "-c", again]);
        assert_eq!(stdout(&answer), "good\n", "{answer}");
        drop(served);
        // Where nothing is lent, nothing is given.
        let served = Served::start(&safe.world, "thread", "");
        let ask = "curl -sS -H 'X-IDENTITY-HEADER: casemate' \"$IDENTITY_ENDPOINT?resource=x\"; curl -sS \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"";
        let answer = served.ran(&["--thread", "u", "--", "sh", "-c", ask]);
        let told = stdout(&answer);
        assert!(
            !told.contains("placeholder") && told.contains("no credential is lent"),
            "{told}"
        );
        drop(served);
        assert_unseen(safe, &[answer]);
    });
}

/// R75: a request (C29 of the corpus) that is signed with a placeholder, as the SDKs of AWS do, is signed again with the key of the rule, for its region
/// and service; one with a signature of something else is not sent.
#[test]
fn a_signature_by_a_placeholder_is_made_again() {
    for user in users() {
        let secret = fresh();
        let shows = "authorization: AWS4-HMAC-SHA256 Credential=AKIDOFTHERULE/";
        let safe = Safe::before(user, secret, shows);
        safe.add(&[
            "--kind",
            "aws-sigv4",
            "--access-key-id",
            "AKIDOFTHERULE",
            "--region",
            "eu-west-1",
            "--service",
            "s3",
        ]);
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let url = safe.world.url("/v1/a");
        let script = format!(
            r#"
set -e
curl -sS "$AWS_CONTAINER_CREDENTIALS_FULL_URI" > given
part() {{ python3 -c "import json; print(json.load(open('given'))['$1'], end='')"; }}
id=$(part AccessKeyId); key=$(part SecretAccessKey); session=$(part Token)
sign() {{ curl -sS --aws-sigv4 aws:amz:us-east-2:s3 "$@" {url}; echo; }}
sign --user "$id:$key" -H "x-amz-security-token: $session"
sign --user "$id:$key" -H "x-amz-security-token: $session" -X POST -d some-content
sign --user "AKIDOFTHERULE:$key"
"#
        );
        let answer = served.ran(&["--thread", "t", "--", "sh", "-c", &script]);
        let said = stdout(&answer);
        assert!(said.starts_with("good\ngood\n"), "{answer}");
        assert!(said.contains("cred_scope"), "{answer}");
        let upstream = &safe.world.upstream;
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2));
        drop(served);
        assert_unseen(&safe, &[answer]);
    }
}
