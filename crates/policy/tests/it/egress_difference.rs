//! What a bundle newly lets out of sandboxes.

use casemate_policy::{BundleParts, Difference, Direction, Engine, Manifest, Syntax};

use crate::egress::profile;

fn engine(rules: &str) -> Engine {
    let manifest = |name: &str| {
        let text = format!(
            "name = \"{name}\"\nversion = \"1\"\ndescription = \"d\"\nside_effect = \"read\"\ntier = \"tool_limited\"\napproval = \"profile\"\n"
        );
        Manifest::parse(text.as_bytes(), Syntax::Toml).unwrap()
    };
    let parts = BundleParts {
        profiles: vec![profile(r#"["*.example.com"]"#, rules)],
        manifests: vec![manifest("fetch"), manifest("write")],
        ..BundleParts::default()
    };
    Engine::compile(parts).unwrap()
}

/// The changes that let more happen, and those that do not.
fn changes(then: &str, now: &str) -> (Vec<String>, Vec<String>) {
    let difference = Difference::between(Some(&engine(then)), &engine(now));
    let of = |direction| {
        let changes = difference
            .changes
            .iter()
            .filter(|change| change.direction == direction);
        changes.map(|change| change.what.clone()).collect()
    };
    (of(Direction::Wider), of(Direction::Narrower))
}

const RULE: &str = r#"
[[egress.rules]]
name = "api"
host = "api.example.com"
class = "partner"
methods = ["GET", "POST"]
paths = ["/v1/**"]
max_body_bytes = 100
headers = { x = "1" }
tools = ["fetch"]
body.rpc.methods = ["a"]
"#;

#[track_caller]
fn assert_wider(then: &str, now: &str, what: &str) {
    let (wider, _) = changes(then, now);
    assert!(
        wider.iter().any(|change| change.contains(what)),
        "{wider:?}"
    );
}

#[track_caller]
fn assert_narrower(then: &str, now: &str) {
    let (wider, narrower) = changes(then, now);
    assert!(
        wider.is_empty() && narrower.len() == 1,
        "{wider:?} {narrower:?}"
    );
}

/// Whatever lets a request through that was denied before has to be shown to whoever activates a bundle.
#[test]
fn a_rule_that_lets_more_through_is_shown() {
    assert_eq!(changes(RULE, RULE), (vec![], vec![]));
    for (from, to, what) in [
        ("\"POST\"]", "\"POST\", \"PUT\"]", "`PUT` is added"),
        (
            "methods = [\"GET\", \"POST\"]",
            "methods = [\"HEAD\"]",
            "`HEAD` is added",
        ),
        ("/v1/**\"]", "/v1/**\", \"/v2\"]", "`/v2` is added"),
        (
            "paths = [\"/v1/**\"]\n",
            "",
            "paths of the egress rule `api` is no list any more",
        ),
        (
            "= 100",
            "= 101",
            "max_body_bytes of the egress rule `api` changes from 100 to 101",
        ),
        ("headers = { x = \"1\" }\n", "", "`x: 1` is gone"),
        ("[\"fetch\"]", "[\"fetch\", \"write\"]", "`write` is added"),
        (
            "tools = [\"fetch\"]\n",
            "",
            "tools of the egress rule `api` is no list any more",
        ),
        (
            "\"partner\"",
            "\"public\"",
            "class of the egress rule `api`",
        ),
        (
            "api.example.com",
            "*.example.com",
            "host of the egress rule `api`",
        ),
        (
            "body.rpc.methods = [\"a\"]\n",
            "",
            "rpc.methods in body of the egress rule `api`",
        ),
        (
            "[\"a\"]",
            "[\"a\", \"b\"]",
            "rpc.methods in body of the egress rule `api`",
        ),
        ("tools =", "ports = [443, 8443]\ntools =", "`8443` is added"),
        (
            "tools =",
            "export = \"allowed\"\ntools =",
            "export of the egress rule `api`",
        ),
        (
            "tools =",
            "credential = \"key\"\ntools =",
            "credential of the egress rule `api`",
        ),
        (
            "tools =",
            "side_effect = \"read\"\ntools =",
            "side_effect of the egress rule `api`",
        ),
        (
            "tools =",
            "credential = \"key\"\ncredential_requests = 3\ntools =",
            "credential_requests of the egress rule `api`",
        ),
        (
            "tools =",
            "escaped_slash = \"allowed\"\ntools =",
            "escaped_slash of the egress rule `api`",
        ),
        (
            "tools =",
            "max_query_bytes = 4000\ntools =",
            "max_query_bytes of the egress rule `api`",
        ),
    ] {
        let now = RULE.replace(from, to);
        assert_ne!(now, RULE, "{from}");
        assert_wider(RULE, &now, what);
    }
    assert_wider(
        "",
        RULE,
        "the egress rule `api` is new, for `api.example.com`",
    );
    // Its host may then be looked at, for which it asked more before.
    assert_wider(RULE, "", "its host is one that may be looked at");
}

#[test]
fn a_rule_that_lets_less_through_is_no_surprise() {
    for (from, to) in [
        ("\"GET\", \"POST\"", "\"GET\""),
        ("tools =", "query = [\"a\"]\ntools ="),
        ("tools =", "query = [\"a=1\"]\ntools ="),
        ("= 100", "= 99"),
        ("tools =", "max_requests = 10\ntools ="),
    ] {
        let now = RULE.replace(from, to);
        assert_ne!(now, RULE, "{from}");
        assert_narrower(RULE, &now);
    }
}

/// A value of a query is less than any value, and another one is more.
#[test]
fn values_of_queries_are_compared() {
    let with = |query: &str| RULE.replace("tools =", &format!("query = {query}\ntools ="));
    let (any, one) = (with("[\"a\", \"b\"]"), with("[\"a=1\", \"b\"]"));
    assert_narrower(&any, &one);
    assert_wider(&one, &any, "`a` is added");
    assert_wider(&one, &with("[\"a=1\", \"a=2\", \"b\"]"), "`a=2` is added");
    assert_wider(&one, &with("[\"a=2\", \"b\"]"), "`a=2` is added");
    assert_narrower(&with("[\"a=1\", \"a=2\", \"b\"]"), &one);
}

/// Of a rule that keeps something back, every change may let more through, and so does its end.
#[test]
fn a_change_of_what_keeps_something_back_is_shown() {
    let denial = "[[egress.rules]]\nname = \"no\"\neffect = \"deny\"\nhost = \"*.example.com\"\npaths = [\"/a\", \"/b\"]\n";
    assert_narrower("", denial);
    assert_wider(
        denial,
        "",
        "the egress rule `no`, which keeps something back, is gone",
    );
    assert_wider(
        denial,
        &denial.replace(", \"/b\"", ""),
        "the egress rule `no`, which keeps something back, is another one",
    );
    let asks = RULE.replace("tools =", "approval = \"always\"\ntools =");
    assert_wider(
        &asks,
        RULE,
        "the egress rule `api`, which keeps something back, is another one",
    );
    assert_wider(
        &asks,
        &asks.replace(", \"POST\"", ""),
        "the egress rule `api`, which keeps something back, is another one",
    );
}

/// What a base URL stands for, what a body may be and how much comes back is compared like every other key.
#[test]
fn digests_answers_and_base_urls_are_compared() {
    let digest = |text: &[u8]| casemate_model::Digest::of(text);
    let rule = RULE.replace("body.rpc.methods = [\"a\"]", "");
    let one = format!("{rule}body.sha256 = [\"{}\"]\n", digest(b"a"));
    let two = format!(
        "{rule}body.sha256 = [\"{}\", \"{}\"]\n",
        digest(b"a"),
        digest(b"b")
    );
    assert_wider(&one, &two, "sha256");
    assert_wider(&one, &rule, "sha256");
    assert_narrower(&two, &one);
    let bounded = format!("{rule}max_answer_bytes = 10\n");
    assert_wider(&bounded, &rule, "max_answer_bytes");
    assert_narrower(&rule, &bounded);
    let url = |path: &str| {
        format!(
            "{rule}\n[[egress.base_urls]]\nname = \"a\"\nurl = \"https://api.example.com{path}\"\n"
        )
    };
    assert_wider(&url(""), &url("/v1"), "base_urls");
    assert_wider(&rule, &url(""), "base_urls");
}
