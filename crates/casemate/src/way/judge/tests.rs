use casemate_policy::{Profile, Syntax};

use super::*;

/// The rules of a profile with one, which says this too.
fn policy(more: &str) -> EgressPolicy {
    let builtin = String::from_utf8(Profile::builtin().unwrap().source().to_vec()).unwrap();
    let allowed = builtin.replace(
        "allowed_domains = []",
        "allowed_domains = [\"a.example.com\"]",
    );
    let rule = format!(
        "\n[[egress.rules]]\nname = \"one\"\nhost = \"a.example.com\"\nmethods = [\"GET\"]\n{more}\n"
    );
    let profile = Profile::parse((allowed + &rule).as_bytes(), Syntax::Toml).unwrap();
    EgressPolicy::compile(&profile)
}

fn rule(policy: &EgressPolicy) -> &EgressRule {
    policy
        .admit(&DestinationFacts {
            tool: "process.run",
            scheme: Scheme::Https,
            host: "a.example.com",
            port: 443,
        })
        .unwrap()
}

/// What a body may not have, a message may not have.
#[test]
fn messages_are_bounded_like_bodies() {
    for (more, bytes) in [
        ("max_body_bytes = 100\nexport_above_bytes = 200", 100),
        ("max_body_bytes = 200\nexport_above_bytes = 100", 100),
        (
            "max_body_bytes = 200\nexport_above_bytes = 100\nexport = \"allowed\"",
            200,
        ),
        (
            "max_body_bytes = 1099511627776\nexport_above_bytes = 1099511627776",
            MAX_MESSAGE_BYTES,
        ),
    ] {
        let policy = policy(&format!(
            "class = \"partner\"\nwebsocket = \"text\"\n{more}"
        ));
        assert_eq!(messages(rule(&policy)).unwrap().bytes, bytes, "{more}");
    }
}
