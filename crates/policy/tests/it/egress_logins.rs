//! Rules for logins: what they let in, and that they are about nothing else.

use casemate_model::SideEffect;
use casemate_policy::{
    BundleParts, DestinationFacts, Difference, Direction, EgressCode, EgressPolicy, Engine,
    LoginFacts, RequestFacts, RequestVerdict, Scheme,
};

use crate::egress::{GET, policy, profile};

const RULE: &str = r#"
[[egress.rules]]
name = "db"
protocol = "postgres"
host = "db.example.com"
class = "partner"
user = "agent"
databases = ["orders", "stock"]
credential = "cred:db"
side_effect = "read"
tools = ["fetch"]
"#;

fn rules(more: &str) -> EgressPolicy {
    policy(r#"["*.example.com"]"#, &format!("{RULE}{more}"))
}

const LOGIN: LoginFacts<'static> = LoginFacts {
    destination: DestinationFacts {
        tool: "fetch",
        scheme: Scheme::Postgres,
        host: "db.example.com",
        port: 5432,
    },
    ceiling: SideEffect::Read,
    user: "agent",
    database: "orders",
};

#[track_caller]
fn assert_refused(policy: &EgressPolicy, facts: &LoginFacts<'_>, code: EgressCode) {
    let refused = policy.login(facts).map(|rule| &rule.name);
    assert_eq!(refused.map_err(|(code, _)| code), Err(code), "{facts:?}");
}

/// R87, R90: a login is let in as the user and to the databases of the rule, at its host and port, for its tools, and if it does no more than they.
#[test]
fn a_login_is_that_of_its_rule() {
    let policy = rules("");
    assert_eq!(policy.login(&LOGIN).unwrap().name, "db");
    let stock = LoginFacts {
        database: "stock",
        ..LOGIN
    };
    assert!(policy.login(&stock).is_ok());
    for user in ["", "Agent", "agent ", "postgres", "agent\0"] {
        assert_refused(
            &policy,
            &LoginFacts { user, ..LOGIN },
            EgressCode::LoginRefused,
        );
    }
    for database in ["", "postgres", "orders2", "Orders"] {
        assert_refused(
            &policy,
            &LoginFacts { database, ..LOGIN },
            EgressCode::LoginRefused,
        );
    }
    let there = LOGIN.destination;
    for (destination, code) in [
        (
            DestinationFacts { port: 443, ..there },
            EgressCode::PortRefused,
        ),
        (
            DestinationFacts {
                tool: "write",
                ..there
            },
            EgressCode::NotAllowed,
        ),
        (
            DestinationFacts {
                host: "other.example.com",
                ..there
            },
            EgressCode::NotAllowed,
        ),
        (
            DestinationFacts {
                scheme: Scheme::Https,
                ..there
            },
            EgressCode::NotAllowed,
        ),
        (
            DestinationFacts {
                host: "DB.example.com",
                ..there
            },
            EgressCode::HostSyntax,
        ),
    ] {
        assert_refused(
            &policy,
            &LoginFacts {
                destination,
                ..LOGIN
            },
            code,
        );
    }
    let writes = policy_of_writes();
    assert_refused(&writes, &LOGIN, EgressCode::SideEffect);
}

fn policy_of_writes() -> EgressPolicy {
    let rule = RULE.replace("\"read\"", "\"write\"");
    policy(r#"["*.example.com"]"#, &rule)
}

/// Nothing of HTTP passes by a rule for logins, and no login by one for HTTP; whatever denies something at a port denies logins there.
#[test]
fn a_rule_is_about_its_own_protocol() {
    let policy = rules("");
    for port in [443, 5432] {
        for scheme in [Scheme::Https, Scheme::Http, Scheme::Postgres] {
            let request = RequestFacts {
                host: "db.example.com",
                port,
                scheme,
                ..GET
            };
            assert_eq!(policy.judge(&request).verdict, RequestVerdict::Deny);
            assert!(!policy.lends(&request));
        }
    }
    assert_eq!(policy.ports().filter(|port| *port == 5432).count(), 1);
    let http = "[[egress.rules]]\nname = \"web\"\nhost = \"web.example.com\"\nclass = \"partner\"\nports = [5432]\n";
    let web = LoginFacts {
        destination: DestinationFacts {
            host: "web.example.com",
            ..LOGIN.destination
        },
        ..LOGIN
    };
    assert_refused(&rules(http), &web, EgressCode::NotAllowed);
    let denies = "[[egress.rules]]\nname = \"no\"\neffect = \"deny\"\nhost = \"*.example.com\"\npaths = [\"/admin\"]\n";
    assert_refused(&rules(denies), &LOGIN, EgressCode::RuleDenies);
    assert!(
        rules(&format!("{denies}ports = [443]\n"))
            .login(&LOGIN)
            .is_ok()
    );
}

/// I13: what a rule for logins newly lets in is shown to whoever activates a bundle.
#[test]
fn a_login_that_is_new_is_shown() {
    let engine = |rules: &str| {
        let manifest = |name: &str| {
            let text = format!(
                "name = \"{name}\"\nversion = \"1\"\ndescription = \"d\"\nside_effect = \"read\"\ntier = \"tool_limited\"\napproval = \"profile\"\n"
            );
            casemate_policy::Manifest::parse(text.as_bytes(), casemate_policy::Syntax::Toml)
                .unwrap()
        };
        Engine::compile(BundleParts {
            profiles: vec![profile(r#"["*.example.com"]"#, rules)],
            manifests: vec![manifest("fetch"), manifest("write")],
            ..BundleParts::default()
        })
        .unwrap()
    };
    let wider = |then: &str, now: &str| {
        let difference = Difference::between(Some(&engine(then)), &engine(now));
        let mut changes = difference.changes.iter();
        changes.any(|change| change.direction == Direction::Wider)
    };
    for (from, to) in [
        ("\"agent\"", "\"admin\""),
        ("\"stock\"]", "\"stock\", \"people\"]"),
        ("tools =", "ports = [5433]\ntools ="),
        ("tools =", "ports = [5432, 5433]\ntools ="),
        ("\"cred:db\"", "\"cred:other\""),
    ] {
        let now = RULE.replace(from, to);
        assert_ne!(now, RULE);
        assert!(wider(RULE, &now), "{to}");
    }
    let fewer = RULE.replace(", \"stock\"", "");
    assert!(!wider(RULE, &fewer) && wider(&fewer, RULE));
    // The port that it has anyway.
    assert!(!wider(
        RULE,
        &RULE.replace("tools =", "ports = [5432]\ntools =")
    ));
}
