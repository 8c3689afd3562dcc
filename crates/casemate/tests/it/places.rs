//! Secrets that go into a path or into a body: where the rule says, and nowhere else.

use serde_json::Value;

use crate::{
    canary::fresh,
    credentials::Safe,
    home::{User, users},
    ways::{Served, stdout},
};

const STAND_IN: &str = "123:stand-in-of-orders";
const IN_BODY: &str = "stand-in-of-orders";
const CREDENTIAL: &str = "credential = \"cred:orders-api\"";

/// A destination that wants the secret in its path, below this one.
fn in_path(user: User) -> Safe {
    let secret = fresh();
    let shows = format!("/v1/bot{secret}/");
    let safe = Safe::before(user, secret, &shows);
    safe.add(&["--kind", "path", "--stand-in", STAND_IN]);
    safe
}

fn code(answer: &Value) -> String {
    let said = stdout(answer).to_ascii_lowercase();
    let found = said
        .lines()
        .find_map(|line| line.strip_prefix("casemate-denied: "));
    found.map_or(said.clone(), |code| code.trim().to_owned())
}

/// R72, R75, R78, R87, I2: the secret is put into the path where the rule and the client have its stand-in; what comes back is scrubbed, records have the
/// path without it, and a request without the stand-in, or with it twice, is not sent.
#[test]
fn a_secret_goes_into_a_path() {
    for user in users() {
        let safe = in_path(user);
        let profile = include_str!("../../../policy/profiles/serve.toml");
        let open = "paths = [\"/v1/**\"";
        let written = format!("{open}, \"/v1/bot{STAND_IN}/**\"");
        let profile = safe.world.with_rule(profile, CREDENTIAL);
        let profile = profile.replace(open, &written);
        safe.world.home.write("serve.toml", profile);
        let served = Served::under(&safe.world, &["serve.toml"]);
        let path = format!("/v1/bot{STAND_IN}/raw");
        let curl = |words: &[&str]| {
            let call = ["--thread", "t", "--", "curl", "-sSi"];
            served.ran(&[&call[..], words].concat())
        };
        let answer = curl(&[&safe.world.url(&path)]);
        assert!(
            stdout(&answer).ends_with("you sent [redacted] and it is good"),
            "{answer}"
        );
        let posted = curl(&["-X", "POST", "-d", "a=b", &safe.world.url(&path)]);
        assert!(
            stdout(&posted).ends_with("you sent [redacted] and it is good"),
            "{posted}"
        );
        let upstream = &safe.world.upstream;
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2));
        for wrong in [
            "/v1/bot/raw".to_owned(),
            format!("/v1/bot{STAND_IN}/{STAND_IN}/raw"),
            format!("/v1/bot/raw?token={STAND_IN}"),
            // Where the rule leaves it open what is there, the program does not choose.
            format!("/v1/notes/{STAND_IN}/raw"),
            "/v1/bot123:stand-in-of-order/raw".to_owned(),
        ] {
            let answer = curl(&[&safe.world.url(&wrong)]);
            assert_eq!(code(&answer), "cred_scope", "{wrong} {answer}");
        }
        // Another path than the rule's gets nothing.
        let answer = curl(&[&safe.world.url(&format!("/v2/bot{STAND_IN}/raw"))]);
        assert_eq!(code(&answer), "cred_scope", "{answer}");
        assert_eq!(upstream.requests(), 2);
        drop(served);
        safe.assert_absent("an answer", answer.to_string().as_bytes());
        safe.assert_not_kept();
    }
}

/// R72, R75, R78, R87, I2: the secret is put into the named field of a body, spelled as its form wants it; into another field, into a body with a digest of
/// what was there before, and into none it does not go.
#[test]
fn a_secret_goes_into_a_field_of_a_body() {
    for user in users() {
        let secret = fresh();
        let safe = Safe::before(user, secret.clone(), &secret);
        safe.add(&[
            "--kind",
            "body",
            "--field",
            "client_secret",
            "--stand-in",
            IN_BODY,
        ]);
        let served = Served::start(&safe.world, "thread", CREDENTIAL);
        let url = safe.world.url("/v1/raw");
        let post = |more: &[&str], media: &str, body: &str| {
            let media = format!("content-type: {media}");
            let call = [
                "--thread", "t", "--", "curl", "-sSi", "-H", &media, "-d", body, &url,
            ];
            served.ran(&[&call[..], more].concat())
        };
        let json = format!(r#"{{"n": 1.0, "client_secret": "{IN_BODY}"}}"#);
        let form = format!("a=b&client_secret={IN_BODY}");
        let urlencoded = "application/x-www-form-urlencoded";
        let mut answers = Vec::new();
        for (media, body) in [("application/json", &json), (urlencoded, &form)] {
            let answer = post(&[], media, body);
            assert!(
                stdout(&answer).ends_with("you sent [redacted] and it is good"),
                "{answer}"
            );
            answers.push(answer);
        }
        let upstream = &safe.world.upstream;
        assert_eq!((upstream.requests(), upstream.proven()), (2, 2));
        let elsewhere = json.replace("client_secret", "note");
        for (more, media, body) in [
            (&[][..], "application/json", elsewhere.as_str()),
            (&[], "application/json", &form),
            (&[], "text/plain", &json),
            (&[], urlencoded, "a=b"),
            (&["-H", "content-md5: AAAA"], "application/json", &json),
            (&["-H", "Digest: sha-256=AAAA"], "application/json", &json),
            (&["-H", "content-encoding: gzip"], "application/json", &json),
        ] {
            let answer = post(more, media, body);
            assert_eq!(code(&answer), "cred_scope", "{media} {body} {answer}");
        }
        let get = served.ran(&["--thread", "t", "--", "curl", "-sSi", &url]);
        assert_eq!(code(&get), "cred_scope", "{get}");
        assert_eq!(upstream.requests(), 2);
        drop(served);
        for answer in answers {
            safe.assert_absent("an answer", answer.to_string().as_bytes());
        }
        safe.assert_not_kept();
    }
}

/// What could be read in two ways is refused when it is added.
#[test]
fn settings_of_places_are_checked() {
    let safe = Safe::before(users()[0], fresh(), "nothing");
    let add = |kind: &[&str], secret: &str| {
        let words = [&["credential", "add", "cred:orders-api"][..], kind].concat();
        safe.world.home.feed(words, secret.as_bytes())
    };
    for kind in [
        &["--kind", "path"][..],
        &["--kind", "path", "--stand-in", "short"],
        &["--kind", "path", "--stand-in", "with/a/slash"],
        &["--kind", "body", "--stand-in", IN_BODY],
        &[
            "--kind",
            "body",
            "--field",
            "f",
            "--stand-in",
            "with:a:colon",
        ],
        &["--kind", "body", "--field", "", "--stand-in", IN_BODY],
    ] {
        assert_ne!(add(kind, &fresh()).0.status.code(), Some(0), "{kind:?}");
    }
    for secret in [
        "with/slash/es",
        "..%2F..%2Fup",
        "with a space",
        "a?b#c;d-secret",
    ] {
        let refused = add(&["--kind", "path", "--stand-in", STAND_IN], secret);
        assert_ne!(refused.0.status.code(), Some(0), "{secret}");
    }
}
