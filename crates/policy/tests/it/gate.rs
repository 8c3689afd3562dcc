//! The gate before code execution: nothing opens it but facts.

use std::collections::BTreeSet;

use casemate_model::{ControlName, IsolationTier, Strength, Text};
use casemate_policy::{
    GateCode, GateDemands, GateFacts, GateFailure, Manifest, Outbound, Profile, gate,
};

use crate::build::{isolation, seed_profile};

fn demands() -> GateDemands {
    GateDemands::of(&Profile::builtin().unwrap(), &Manifest::builtin().unwrap())
}

/// Facts with which the gate opens for the built-in profile.
fn facts() -> GateFacts {
    GateFacts {
        environment: Some(vec![
            ("PATH".into(), "/usr/bin".into()),
            ("LANG".into(), "C.UTF-8".into()),
        ]),
        outbound: Outbound::None,
        scopes: Some(["code:execute".to_owned()].into()),
        isolation: Some(isolation(IsolationTier::Namespace, Strength::Enforced)),
        manifests: ["python".to_owned(), "shell".to_owned()].into(),
        log_writable: true,
    }
}

fn codes(failures: &[GateFailure]) -> Vec<GateCode> {
    failures.iter().map(|failure| failure.code).collect()
}

/// The one line of the one check that fails.
fn only(facts: &GateFacts, code: GateCode) -> String {
    let failures = gate(&demands(), facts);
    assert_eq!(codes(&failures), [code], "{failures:?}");
    let line = failures[0].to_string();
    assert!(line.starts_with(&format!("{}: ", code.as_str())), "{line}");
    assert!(line.chars().all(|char| !char.is_control()), "{line:?}");
    line
}

/// R151: with every fact there and good, the gate opens; with none, every check says so.
#[test]
fn the_gate_opens_on_facts_alone() {
    assert_eq!(gate(&demands(), &facts()), []);
    let failures = gate(&demands(), &GateFacts::default());
    assert_eq!(codes(&failures), GateCode::ALL);
}

/// R98: the seeds' names and every other secret's, by name or by value, and no value is repeated.
#[test]
fn secrets_in_the_environment_close_the_gate() {
    for name in [
        "OPENAI_API_KEY",
        "AZURE_CLIENT_SECRET",
        "GITHUB_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "db_password",
        "SSH_AUTH_SOCK",
    ] {
        for value in ["", "hunter2"] {
            let mut facts = facts();
            facts
                .environment
                .as_mut()
                .unwrap()
                .push((name.into(), value.into()));
            let line = only(&facts, GateCode::SecretInEnvironment);
            assert!(
                line.contains(&format!("`{name}`")) && !line.contains("hunter2"),
                "{line}"
            );
        }
    }
    let secret = "ghp_a1B2c3D4e5F6g7H8i9J0k1L2";
    let mut value = b"\xff x ".to_vec();
    value.extend(secret.bytes());
    for (name, value) in [
        (Text::from("INNOCENT"), Text::from(secret)),
        (Text::from(b"A\x1b[2J\xff".to_vec()), Text::from(value)),
    ] {
        let mut facts = facts();
        facts.environment.as_mut().unwrap().push((name, value));
        let line = only(&facts, GateCode::SecretInEnvironment);
        assert!(
            line.contains("(a GitHub token)") && !line.contains("ghp_"),
            "{line}"
        );
    }
    let mut facts = facts();
    let many = (0..50).map(|at| (format!("A{at}_TOKEN").into(), Text::default()));
    facts.environment = Some(many.collect());
    let line = only(&facts, GateCode::SecretInEnvironment);
    assert!(line.ends_with(" and 40 more"), "{line}");
}

/// R118: the gate is closed while programs reach the network, and while nobody knows.
#[test]
fn an_open_network_closes_the_gate() {
    for outbound in [Outbound::Open, Outbound::Unknown] {
        let facts = GateFacts {
            outbound,
            ..facts()
        };
        only(&facts, GateCode::OutboundOpen);
    }
}

/// R99: the identity has no scope that its tools do not need; the seeds' script allows one, we those.
#[test]
fn a_scope_too_many_closes_the_gate() {
    let with = |scopes: &[&str]| GateFacts {
        scopes: Some(scopes.iter().map(|scope| (*scope).to_owned()).collect()),
        ..facts()
    };
    for more in [
        "https://storage.azure.com/.default",
        "*",
        "code:*",
        "Code:execute",
        "code:execute ",
    ] {
        let line = only(&with(&["code:execute", more]), GateCode::ScopeTooBroad);
        assert!(line.ends_with(&format!("`{more}`")), "{line}");
    }
    assert_eq!(gate(&demands(), &with(&[])), []);
    only(
        &GateFacts {
            scopes: None,
            ..facts()
        },
        GateCode::ScopeTooBroad,
    );
}

/// R99, R139: what is needed is what the route's own tools need, and not those of any other tool.
#[test]
fn demands_are_those_of_the_route() {
    let manifest =
        |text: &str| Manifest::parse(text.as_bytes(), casemate_policy::Syntax::Toml).unwrap();
    let manifests = [
        manifest("name = \"orders.lookup\"\nscopes = [\"orders:read\", \"orders:list\"]"),
        manifest("name = \"email.send_customer\""),
        manifest("name = \"prod.deploy\"\nscopes = [\"prod:deploy\"]"),
    ];
    let demands = GateDemands::of(&seed_profile(), &manifests);
    let expected = [
        "email.send_customer",
        "orders:list",
        "orders:read",
        "refunds:draft",
    ];
    assert_eq!(demands.scopes, expected.map(str::to_owned).into());
    assert_eq!(demands.tools.len(), 5);
    let facts = GateFacts {
        scopes: Some(["prod:deploy".to_owned()].into()),
        manifests: manifests
            .iter()
            .map(|manifest| manifest.name.clone())
            .collect(),
        ..facts()
    };
    let failures = gate(&demands, &facts);
    assert_eq!(
        codes(&failures),
        [GateCode::ScopeTooBroad, GateCode::ToolWithoutManifest]
    );
    assert_eq!(
        failures[1].line,
        "there is no manifest of the tools `policies.current_refund_policy`, `refunds.draft_refund`, \
         `refunds.issue_refund`"
    );
}

/// I7: what the host does not enforce is named, and nothing weaker is offered.
#[test]
fn a_host_that_cannot_hold_closes_the_gate() {
    let line = only(
        &GateFacts {
            isolation: None,
            ..facts()
        },
        GateCode::IsolationUnavailable,
    );
    assert!(line.contains("cannot make"), "{line}");
    for strength in [Strength::Partial, Strength::Absent] {
        let mut weak = isolation(IsolationTier::Vm, Strength::Enforced);
        for control in &mut weak.controls {
            if control.name == ControlName::Seccomp {
                control.strength = strength;
            }
        }
        let facts = GateFacts {
            isolation: Some(weak),
            ..facts()
        };
        assert!(only(&facts, GateCode::IsolationUnavailable).contains("`seccomp`"));
    }
    let demands = GateDemands {
        tier: IsolationTier::Vm,
        ..demands()
    };
    assert_eq!(
        codes(&gate(&demands, &facts())),
        [GateCode::IsolationUnavailable]
    );
}

/// R151: a tool that nobody has described, and a log that cannot be written, close the gate.
#[test]
fn an_unknown_tool_and_a_log_that_fails_close_the_gate() {
    let facts = GateFacts {
        manifests: BTreeSet::from(["python".to_owned()]),
        ..facts()
    };
    assert!(only(&facts, GateCode::ToolWithoutManifest).contains("`shell`"));
    let facts = GateFacts {
        log_writable: false,
        ..self::facts()
    };
    only(&facts, GateCode::LogNotWritable);
}
