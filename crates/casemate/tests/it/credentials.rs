//! Credentials: real programs in real sandboxes use them, and never see one.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use base64::Engine as _;
use serde_json::Value;

use crate::{
    canary::{self, fresh, spellings},
    home::{Ran, User, users},
    upstream::{Roots, Upstream},
    way::{HOST, World},
};

/// A user, a destination that demands a secret, and that secret, which nobody could guess.
pub(crate) struct Safe {
    pub(crate) world: World,
    secret: String,
}

pub(crate) fn for_everybody(test: impl Fn(&Safe)) {
    for user in users() {
        test(&Safe::bearer(user));
    }
}

impl Safe {
    fn bearer(user: User) -> Self {
        let secret = fresh();
        let shows = format!("authorization: Bearer {secret}\r\n");
        let safe = Self::before(user, secret, &shows);
        safe.add(&["--kind", "bearer"]);
        safe
    }

    pub(crate) fn before(user: User, secret: String, shows: &str) -> Self {
        let demanded = secret.clone();
        Self::with(user, secret, |roots| {
            Upstream::demanding(roots, HOST, &demanded, shows)
        })
    }

    /// In front of another destination.
    pub(crate) fn with(
        user: User,
        secret: String,
        upstream: impl FnOnce(&Roots) -> Upstream,
    ) -> Self {
        let world = World::before(user, upstream);
        world.rule("credential = \"cred:orders-api\"");
        Self { world, secret }
    }

    pub(crate) fn add(&self, kind: &[&str]) {
        let words = [&["credential", "add", "cred:orders-api"], kind].concat();
        self.world
            .home
            .feed(words, format!("{}\n", self.secret).as_bytes())
            .exits(0);
    }

    /// No form of the secret is in these bytes.
    #[track_caller]
    pub(crate) fn assert_absent(&self, place: &str, bytes: &[u8]) {
        for form in spellings(&self.secret) {
            let found = memchr::memmem::find(bytes, &form).is_some();
            assert!(!found, "a secret in {place}");
        }
    }

    /// It is not in what a command said, nor in any file of the state directory.
    #[track_caller]
    pub(crate) fn assert_nowhere(&self, ran: &Ran) {
        self.assert_absent("standard output", &ran.0.stdout);
        self.assert_absent("standard error", &ran.0.stderr);
        self.assert_not_kept();
    }

    /// It is in no file of its home.
    #[track_caller]
    pub(crate) fn assert_not_kept(&self) {
        let swept = canary::sweep(&self.world.home.path(""));
        assert_eq!(swept.found.len(), 0, "{swept:?}");
        assert!(swept.files > 5);
    }

    pub(crate) fn listed(&self) -> Value {
        let ran = self.world.home.run(["credential", "list", "--json"]);
        ran.exits(0);
        serde_json::from_str(ran.stdout().lines().next().unwrap()).unwrap()
    }
}

/// R72, R73, R75, R78, R79, R101, I2: unmodified programs use a credential that is nowhere: not in the environment, files, memory and
/// processes of the sandbox, not in what they print, not in the log, the database or any other file of ours.
#[test]
fn programs_use_a_credential_that_they_never_see() {
    for_everybody(|safe| {
        let url = safe.world.url("/v1/orders/7");
        let ran = safe.world.run(&["curl", "-sS", &url]);
        assert_eq!(ran.exits(0).json()["stdout"], "good");
        safe.assert_nowhere(&ran);
        // It looks for the secret wherever it can: first in itself.
        let python = format!(
            r#"
import os, re, urllib.request
print(urllib.request.urlopen("{url}").read().decode())
mark = bytes(reversed(b"-yranac"))
found = 0
for line in open("/proc/self/maps"):
    begin, end = (int(part, 16) for part in line.split()[0].split("-"))
    if " r" not in line[:40] and line.split()[1][0] != "r" or "[v" in line:
        continue
    try:
        with open("/proc/self/mem", "rb") as memory:
            memory.seek(begin)
            whole = memory.read(end - begin)
    except (OSError, OverflowError, ValueError):
        continue
    found += len(re.findall(mark + rb"[A-Za-z0-9]{{32}}", whole))
print("in memory:", found)
for root in ("/workspace", "/tmp", "/etc", "/run", "/dev/shm", "/proc"):
    for place, _, names in os.walk(root):
        for name in names:
            path = os.path.join(place, name)
            if root == "/proc" and name not in ("environ", "cmdline", "status", "mountinfo"):
                continue
            # Decoys are links: whoever opens one violates the sandbox.
            if os.path.islink(path) and os.path.realpath(path).startswith("/root/"):
                continue
            try:
                data = open(path, "rb").read(1 << 20)
            except OSError:
                continue
            if mark in data:
                print("in a file:", path)
print(dict(os.environ))
"#
        );
        let ran = safe.world.run(&["/usr/bin/python3", "-c", &python]);
        let answer = ran.exits(0).json();
        let said = answer["stdout"].as_str().unwrap();
        assert!(said.starts_with("good\nin memory: 0\n"), "{said}");
        assert!(!said.contains("in a file:"), "{said}");
        assert!(said.contains("HTTPS_PROXY"), "{said}");
        safe.assert_nowhere(&ran);
        assert_eq!(safe.world.upstream.proven(), 2);
        // The record says which credential went into it, and nothing more of it.
        let log = safe.world.requests();
        assert_eq!(log.len(), 4);
        assert!(
            log.iter()
                .all(|record| record["summary"]["credential"] == "cred:orders-api")
        );
        assert_eq!(safe.listed()["reflected"], false);
        safe.world.home.run(["audit", "verify"]).exits(0);
    });
}

/// R78, R93, I2: a destination that shows the secret, in whatever form, shows it to nobody; it is on record, and the credential is
/// marked. What cannot be looked into does not come back at all.
#[test]
fn a_secret_that_comes_back_is_taken_out() {
    for_everybody(|safe| {
        for (path, left) in [
            ("/v1/raw", "you sent [redacted] and it is good"),
            ("/v1/base64", "[redacted]"),
            ("/v1/gzip", "you sent [redacted] and it is good"),
            ("/v1/field", "x-you-sent: [redacted]"),
            ("/v1/unknown", "casemate-denied: response_blocked"),
        ] {
            let ran = safe
                .world
                .run(&["curl", "-sS", "-i", &safe.world.url(path)]);
            let answer = ran.json();
            let said = answer["stdout"].as_str().unwrap();
            assert!(said.contains(left), "{path}: {said}");
            safe.assert_nowhere(&ran);
            let log = safe.world.requests();
            let hits = log.last().unwrap()["summary"]["hits"].as_u64().unwrap();
            assert_eq!(hits > 0, path != "/v1/unknown", "{path}");
        }
        assert_eq!(safe.world.upstream.proven(), 5);
        assert_eq!(safe.listed()["reflected"], true);
        let listed = safe.world.home.run(["credential", "list"]);
        assert!(
            listed.stdout().contains("seen in an answer: rotate it"),
            "{listed:?}"
        );
        safe.world
            .home
            .feed(
                ["credential", "rotate", "cred:orders-api"],
                fresh().as_bytes(),
            )
            .exits(0);
        assert_eq!(safe.listed()["reflected"], false);
    });
}

/// R87, R89, R90: another host, path, method or scheme, and a request that proves itself otherwise, do not get the credential, nor are
/// they sent.
#[test]
fn what_it_is_not_for_does_not_get_it() {
    for_everybody(|safe| {
        let (world, port) = (&safe.world, safe.world.upstream.port);
        let allowed = world.url("/v1/a");
        for words in [
            &[world.url("/v2/a").as_str()][..],
            &["-X", "DELETE", &allowed],
            &[&format!("https://other.way.example:{port}/v1/a")],
            &[&format!("http://{HOST}:{port}/v1/a")],
            &["-H", "Authorization: Bearer mine", &allowed],
            &["-H", "X_Api_Key: mine", &allowed],
            &[&format!("{allowed}?access_token=mine")],
        ] {
            let ran = world.curl(words);
            assert!(
                ran.json()["stdout"]
                    .as_str()
                    .unwrap()
                    .to_ascii_lowercase()
                    .contains("casemate-denied:"),
                "{ran:?}"
            );
            safe.assert_nowhere(&ran);
        }
        assert_eq!((world.upstream.requests(), world.upstream.proven()), (0, 0));
        // A rule without a credential sends without one.
        world.rule("");
        let ran = world.run(&["curl", "-sS", &allowed]);
        assert_eq!(ran.json()["stdout"], "no");
        assert_eq!((world.upstream.requests(), world.upstream.proven()), (1, 0));
    });
}

/// Each kind that is not fetched goes where its protocol has it.
#[test]
fn kinds_go_where_their_protocols_have_them() {
    let user = users()[0];
    let secret = fresh();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{secret}"));
    let kinds: [(&[&str], String); 3] = [
        (
            &["--kind", "header", "--name", "X-Api-Key"],
            format!("x-api-key: {secret}\r\n"),
        ),
        (
            &["--kind", "basic", "--user", "user"],
            format!("authorization: Basic {basic}\r\n"),
        ),
        (
            &["--kind", "query", "--name", "key"],
            format!("GET /v1/raw?key={secret} HTTP/1.1"),
        ),
    ];
    for (kind, shows) in kinds {
        let safe = Safe::before(user, secret.clone(), &shows);
        safe.add(kind);
        let ran = safe.world.run(&["curl", "-sS", &safe.world.url("/v1/raw")]);
        assert_eq!(
            ran.json()["stdout"],
            "you sent [redacted] and it is good",
            "{kind:?} {ran:?}"
        );
        safe.assert_nowhere(&ran);
        assert_eq!(safe.world.upstream.proven(), 1);
    }
}

/// R95: what was revoked or switched off is lent to nobody; and whoever uses it is cut off.
#[test]
fn what_is_taken_back_is_lent_to_nobody() {
    for_everybody(|safe| {
        let (world, url) = (&safe.world, safe.world.url("/v1/hang"));
        let home = &world.home;
        let switch = |to: &str| {
            home.run([
                "switch",
                to,
                "credential",
                "cred:orders-api",
                "--reason",
                "test",
            ])
            .exits(0);
        };
        let mut running = world
            .casemate(&[
                "run",
                "--profile",
                "p.toml",
                "--timeout",
                "60s",
                "--",
                "curl",
                "-sSN",
                &url,
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(running.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "begun\n");
        // While all of us are at it, nobody was told it by words or environment.
        let swept = canary::sweep_processes();
        assert!(swept.files > 4 && swept.found.is_empty(), "{swept:?}");
        switch("off");
        // The destination never ends it.
        let code = running.wait().unwrap().code();
        assert!(
            code.is_some_and(|code| code != 0 && code != 124),
            "{code:?}"
        );
        let log = world.requests();
        assert_eq!(log.last().unwrap()["summary"]["code"], "revoked");
        // Whether the rule or identity says so first.
        let refused = || {
            let ran = world.curl(&[&world.url("/v1/a")]);
            let heads = ran.json()["stdout"].as_str().unwrap().to_ascii_lowercase();
            let codes = ["revoked", "cred_unavailable"];
            let says = |code: &&str| heads.contains(&format!("casemate-denied: {code}\r"));
            assert!(codes.iter().any(says), "{ran:?}");
        };
        refused();
        switch("on");
        assert_eq!(
            world.run(&["curl", "-sS", &world.url("/v1/a")]).json()["stdout"],
            "good"
        );
        home.run([
            "credential",
            "revoke",
            "cred:orders-api",
            "--reason",
            "test",
        ])
        .exits(0);
        refused();
        assert_eq!(world.upstream.proven(), 2);
        home.run(["credential", "test", "cred:orders-api"])
            .exits(1)
            .says("revoked");
    });
}

/// Bad input: secrets that no header could carry, settings that are missing, kinds that there are not: nothing is kept, and nothing
/// of a secret is said. There is no option that takes one.
#[test]
fn what_cannot_be_kept_is_refused() {
    let safe = Safe::before(users()[0], fresh(), "nothing");
    let home = &safe.world.home;
    let bearer = ["credential", "add", "cred:orders-api", "--kind", "bearer"];
    let mut large = vec![b'x'; 1 << 20];
    large[0] = b'y';
    for (secret, why) in [
        (&b""[..], "empty"),
        (b"\n", "empty"),
        (b"canary7", "fewer than"),
        (b"canary-77\r\nx: y", "line break"),
        (b"canary-77\0", "line break"),
        (b"canary-77\n\n", "line break"),
        (&large, "more than"),
    ] {
        let ran = home.feed(bearer, secret);
        ran.exits(2).says(why);
        assert!(!ran.stderr().contains("canary"), "{ran:?}");
    }
    for (words, why) in [
        (&["--kind", "basic"][..], "--user"),
        (&["--kind", "ssh-key"], "not supported"),
        (&["--kind", "azure-managed-identity"], "--resource"),
        (
            &[
                "--kind",
                "azure-managed-identity",
                "--resource",
                "https://vault.azure.net",
                "--endpoint",
                "http://192.0.2.1/msi",
            ],
            "this host",
        ),
        (
            &[
                "--kind",
                "oidc-federation",
                "--token-url",
                "https://id.example.com/",
                "--client-id",
                "c",
                "--assertion",
                "../x",
            ],
            "identity/assertions",
        ),
        (&["--kind", "nonsense"], "there is no kind"),
        (&["--kind", "header", "--name", "Host"], "Host"),
        (
            &[
                "--kind",
                "oauth-client",
                "--client-id",
                "c",
                "--token-url",
                "http://id.example.com/",
            ],
            "https://",
        ),
        (&["--kind", "bearer", "--secret", "canary-77"], "--secret"),
        (&["--kind", "bearer", "canary-77"], "unexpected"),
    ] {
        let words = [&["credential", "add", "cred:orders-api"], words].concat();
        home.feed(words, b"a-good-secret").exits(2).says(why);
    }
    home.feed(
        ["credential", "add", "../x", "--kind", "bearer"],
        b"a-good-secret",
    )
    .exits(2);
    assert_eq!(home.run(["credential", "list"]).exits(0).stdout(), "");
    for command in ["rotate", "test", "explain"] {
        home.feed(["credential", command, "cred:absent"], b"a-good-secret")
            .exits(1)
            .says("no credential");
    }
    home.feed(bearer, b"a-good-secret\n").exits(0);
    home.feed(bearer, b"another-secret\n")
        .exits(2)
        .says("already");
    assert_eq!(safe.listed()["version"], 1);
}

/// R91, R96: who can use a credential is said from the profile, and who did from the log: which identity called which tool, with
/// which scopes, under which policy.
#[test]
fn it_can_be_said_who_uses_what() {
    for_everybody(|safe| {
        let home = &safe.world.home;
        let explained = home
            .run([
                "credential",
                "explain",
                "cred:orders-api",
                "--profile",
                "p.toml",
                "--json",
            ])
            .exits(0)
            .json();
        let [one] = explained["uses"].as_array().unwrap().as_slice() else {
            panic!("{explained}")
        };
        assert_eq!(
            (&one["host"], &one["rule"]),
            (&HOST.into(), &"orders".into())
        );
        assert_eq!(one["methods"], serde_json::json!(["GET", "POST"]));
        assert_eq!(one["paths"], serde_json::json!(["/v1/**"]));
        assert!(one["policy"].as_str().unwrap().starts_with("sha256:"));
        safe.assert_nowhere(&home.run([
            "credential",
            "explain",
            "cred:orders-api",
            "--profile",
            "p.toml",
        ]));
        let nobody = home.run(["credential", "explain", "cred:orders-api"]);
        assert!(
            nobody.exits(0).stdout().contains("nobody can use it"),
            "{nobody:?}"
        );

        let ran = safe.world.run(&["curl", "-sS", &safe.world.url("/v1/a")]);
        let decision = ran.exits(0).json()["decision"].clone();
        let uses = home.run(["audit", "uses", "--json"]);
        let uses: Vec<Value> = uses
            .exits(0)
            .stdout()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let [one] = uses.as_slice() else {
            panic!("{uses:?}")
        };
        assert_eq!(one["decision"], decision);
        assert!(one["actor"].as_str().unwrap().starts_with("uid:"));
        assert_eq!(one["scopes"], serde_json::json!(["code:execute"]));
        assert_eq!(one["credentials"][0]["credential"], "cred:orders-api");
        assert_eq!(one["credentials"][0]["host"], HOST);
        assert!(one["tool"].is_string() && one["policy"].as_str().unwrap().starts_with("sha256:"));
        let by = |words: &[&str]| {
            home.run([&["audit", "uses"], words].concat())
                .exits(0)
                .stdout()
        };
        assert!(by(&["--credential", "cred:orders-api"]).contains("uid:"));
        assert_eq!(by(&["--credential", "cred:other"]), "");
        assert_eq!(by(&["--agent", "other"]), "");
    });
}
