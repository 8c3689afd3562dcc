//! What is refused does not run, is recorded, and only then told.

use std::{fs, os::unix::fs::PermissionsExt as _};

use casemate_gateway::{Ask, Code, Key, MAX_INPUTS, Proposed, Refusal, Ruling};
use casemate_ledger::Kind;
use casemate_model::{Limits, Reason, RunMode, Strength};
use casemate_policy::{Authenticator, Claims, Verified};
use casemate_ports::{Command, InputFile, KeeperError};

use crate::{
    fake::FakeKeeper,
    world::{End, TOOLS, World, ask, ask_under, profile},
};

/// A change to claims, and the reason that it should give.
type ClaimsCase = (fn(&mut Claims), Reason);
/// What a keeper answers, and how that should be refused.
type KeeperCase = (fn() -> KeeperError, Reason, Refusal);

/// A call that was refused ran nothing, its sandbox is gone, and its refusal is the only record.
fn assert_refused(world: &World, end: End, reason: Reason) -> String {
    let refused = end.refused();
    assert_eq!(refused.facts().reason(), reason);
    assert_eq!(world.runs(), 0);
    let created = world.steps().contains(&"create");
    assert_eq!(
        world.steps().contains(&"drop"),
        created,
        "the sandbox lives on"
    );
    assert_eq!(world.kinds(), [Kind::Denied]);
    let record = &world.records()[0];
    assert_eq!(record.entry.decision, refused.facts().decision);
    assert_eq!(record.entry.summary["reason"], reason.as_str());
    assert_eq!(record.entry.summary["stop_reason"], reason.as_str());
    assert_eq!(record.entry.summary["policy_decision"], "deny");
    assert_eq!(refused.receipt().unwrap().index, 0);
    refused.facts().ruling.as_ref().unwrap().detail.clone()
}

/// R135: every denial has a machine-readable reason, and the checks that were made.
#[tokio::test]
async fn a_call_that_the_policy_denies_never_runs() {
    let too_long = Limits {
        wall_ms: profile("").sandbox.limits.wall_ms + 1,
        ..Limits::default()
    };
    let no_command = Command {
        argv: Vec::new(),
        ..ask().command
    };
    for (asked, reason) in [
        (
            Ask {
                limits: too_long,
                ..ask()
            },
            Reason::LimitExceeded,
        ),
        (
            Ask {
                command: no_command,
                ..ask()
            },
            Reason::InvalidCall,
        ),
        (
            Ask {
                key: Key::Absent,
                ..ask()
            },
            Reason::MissingIdempotencyKey,
        ),
        (
            Ask {
                destination: Some("example.com".into()),
                ..ask()
            },
            Reason::EgressDenied,
        ),
        (
            Ask {
                tool: "refunds".into(),
                ..ask()
            },
            Reason::InvalidCall,
        ),
        (
            Ask {
                tool: String::new(),
                ..ask()
            },
            Reason::InvalidCall,
        ),
        (
            Ask {
                agent: "a\nb".into(),
                ..ask()
            },
            Reason::InvalidCall,
        ),
        (
            Ask {
                trace_id: Some("x".repeat(256)),
                ..ask()
            },
            Reason::InvalidCall,
        ),
        (ask_under(""), Reason::InvalidCall),
        (
            ask_under("dec_0198c7e4000070008000000000000000"),
            Reason::InvalidCall,
        ),
    ] {
        let world = World::new();
        let shown = format!("{asked:?}");
        let end = world.call(asked).await;
        assert!(!assert_refused(&world, end, reason).is_empty(), "{shown}");
    }
}

/// I15: a name that is too long is not recorded whole, but its refusal is.
#[tokio::test]
async fn an_endless_name_does_not_keep_its_refusal_out_of_the_record() {
    let world = World::new();
    let endless = "ä".repeat(2 << 20);
    let end = world
        .call(Ask {
            agent: endless.clone(),
            tool: endless.clone(),
            trace_id: Some(endless.clone()),
            key: Key::Given(endless),
            ..ask()
        })
        .await;
    assert_refused(&world, end, Reason::InvalidCall);
    assert_eq!(world.records()[0].entry.agent.len(), 254);
}

/// R3, R4, R123, I14: who asks comes from claims; what is asked cannot change them.
#[tokio::test]
async fn claims_decide_and_not_the_call() {
    let cases: [ClaimsCase; 5] = [
        (|claims| claims.issuer.push('x'), Reason::UntrustedIssuer),
        (|claims| claims.audience.push('x'), Reason::WrongAudience),
        (|claims| claims.tenant.push('x'), Reason::TenantBoundary),
        (|claims| claims.scopes.clear(), Reason::MissingScope),
        (|claims| claims.expires_at_ms = 1, Reason::ExpiredToken),
    ];
    for (change, reason) in cases {
        let world = World::new();
        let mut claims = world.claims();
        change(&mut claims);
        let identified = world.identified_as(ask(), claims).unwrap();
        let keeper = FakeKeeper(world.script.clone());
        let enclosed = identified
            .enclose(&world.policy(), TOOLS, &keeper)
            .await
            .unwrap();
        let checked = enclosed.check().await.unwrap();
        let Ruling::Denied(denied) =
            checked.decide(&world.policy(), RunMode::Autonomous, &world.clock)
        else {
            panic!("not denied");
        };
        let end = End::Refused(denied.record(&world.journal()));
        assert_refused(&world, end, reason);
    }
}

/// I7: a sandbox that enforces less than the profile demands is not used.
#[tokio::test]
async fn measured_isolation_is_decided_on() {
    let mut world = World::new();
    world.script.isolation.controls[10].strength = Strength::Partial;
    let source = std::str::from_utf8(world.profile.source())
        .unwrap()
        .to_owned();
    let demanding = source.replace(
        "workspace = \"/workspace\"",
        "workspace = \"/workspace\"\nrequire = [\"seccomp\"]",
    );
    let syntax = casemate_policy::Syntax::Toml;
    world.profile = casemate_policy::Profile::parse(demanding.as_bytes(), syntax).unwrap();
    let end = world.call(ask()).await;
    let detail = assert_refused(&world, end, Reason::IsolationUnavailable);
    assert!(detail.contains("seccomp"), "{detail}");
    assert_eq!(
        world.records()[0].entry.summary["isolation"]["controls"][10]["strength"],
        "partial"
    );
}

/// More than the profile gives is not even given to a sandbox that never runs anything.
#[tokio::test]
async fn an_excessive_sandbox_is_not_made() {
    let world = World::new();
    let keeper = FakeKeeper(world.script.clone());
    let greedy = Limits {
        memory_bytes: 1 << 40,
        ..Limits::default()
    };
    let identified = world
        .identified(Ask {
            limits: greedy,
            ..ask()
        })
        .unwrap();
    let enclosed = identified
        .enclose(&world.policy(), TOOLS, &keeper)
        .await
        .unwrap();
    assert_eq!(
        world.script.limits.lock().unwrap().unwrap().memory_bytes,
        world.profile.sandbox.limits.memory_bytes
    );
    drop(enclosed);
}

/// I1: a keeper that cannot make the sandbox is a refusal, and so is one that will not.
#[tokio::test]
async fn without_a_sandbox_nothing_runs() {
    let build = || KeeperError::Build {
        step: "mount /proc".into(),
        source: std::io::Error::from_raw_os_error(1),
    };
    let spec = || KeeperError::Spec("`a/b` is not a file name".into());
    let cases: [KeeperCase; 2] = [
        (build, Reason::IsolationUnavailable, Refusal::Sandbox),
        (spec, Reason::InvalidCall, Refusal::Policy),
    ];
    for (refuses, reason, cause) in cases {
        let mut world = World::new();
        world.script.refuses = Some(refuses);
        let end = world.call(ask()).await;
        if let End::Refused(refused) = &end {
            assert_eq!(refused.cause(), cause);
        }
        assert_refused(&world, end, reason);
    }
}

/// What was hashed for the decision is what the sandbox holds.
#[tokio::test]
async fn a_source_that_changes_while_it_is_read_is_refused() {
    let world = World::new();
    let path = world.dir.path().join("swapped.py");
    fs::write(&path, "print('other')").unwrap();
    let input = InputFile {
        name: "a.py".into(),
        file: fs::File::open(&path).unwrap(),
    };
    let claims = Verified::vouch(world.claims(), Authenticator::LocalUser);
    let proposed = Proposed::new(ask(), vec![input], &world.clock, &world.entropy).unwrap();
    let keeper = FakeKeeper(world.script.clone());
    let identified = proposed.authenticate(claims).unwrap();
    let enclosed = identified
        .enclose(&world.policy(), TOOLS, &keeper)
        .await
        .unwrap();
    let denied = enclosed.check().await.unwrap_err();
    let end = End::Refused(denied.record(&world.journal()));
    let detail = assert_refused(&world, end, Reason::InvalidCall);
    assert!(detail.contains("changed"), "{detail}");
}

#[tokio::test]
async fn more_inputs_than_the_limit_make_no_sandbox() {
    let world = World::new();
    let inputs = (0..=MAX_INPUTS).map(|index| InputFile {
        name: index.to_string().into(),
        file: fs::File::open("/dev/null").unwrap(),
    });
    let asked = Ask {
        code: None,
        ..ask()
    };
    let claims = Verified::vouch(world.claims(), Authenticator::LocalUser);
    let proposed = Proposed::new(asked, inputs.collect(), &world.clock, &world.entropy).unwrap();
    let keeper = FakeKeeper(world.script.clone());
    let identified = proposed.authenticate(claims).unwrap();
    let denied = identified
        .enclose(&world.policy(), TOOLS, &keeper)
        .await
        .err()
        .unwrap();
    let end = End::Refused(denied.record(&world.journal()));
    assert_refused(&world, end, Reason::InvalidCall);
    assert_eq!(world.steps(), Vec::<&str>::new());
}

/// R232: a record that could not have a required field is a profile that cannot be used.
#[tokio::test]
async fn a_required_trace_field_that_no_record_has_denies() {
    let mut world = World::new();
    world.profile = profile(r#", "moon_phase""#);
    let end = world.call(ask()).await;
    let detail = assert_refused(&world, end, Reason::InvalidProfile);
    assert!(
        detail.contains("`moon_phase`") && detail.contains("trace_id"),
        "{detail}"
    );
    assert_eq!(world.steps(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_profile_that_cannot_be_used_denies_and_is_recorded() {
    let world = World::new();
    let denied = world
        .identified(ask())
        .unwrap()
        .without_policy(Reason::InvalidProfile, "line 3: unknown key");
    let end = End::Refused(denied.record(&world.journal()));
    assert_refused(&world, end, Reason::InvalidProfile);
    let record = &world.records()[0].entry;
    assert_eq!(record.summary["policy"], serde_json::Value::Null);
    assert_eq!(record.payload, None, "nobody said what to redact");
}

/// I1: no durable record, no action. The disk is full, the directory is gone, or may not be written.
#[tokio::test]
async fn without_a_record_nothing_runs() {
    for asked in [
        ask(),
        Ask {
            destination: Some("example.com".into()),
            ..ask()
        },
    ] {
        let world = World::new();
        let journal = world.journal();
        let ledger = world.dir.path().join("state/ledger");
        fs::remove_dir_all(&ledger).unwrap();
        let refused = world.call_in(&journal, asked).await.refused();
        assert_eq!(refused.facts().reason(), Reason::RecordUnavailable);
        assert_eq!(refused.cause(), Refusal::Record);
        assert_eq!(refused.receipt(), None);
        assert_eq!(world.runs(), 0);
        assert_eq!(world.steps().last(), Some(&"drop"));
    }
}

/// I1: the content of the record cannot be sealed without its key.
#[tokio::test]
async fn without_a_key_for_the_record_nothing_runs() {
    let world = World::new();
    let journal = world.journal();
    let keys = world.state().keys().join("agents");
    fs::create_dir_all(&keys).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = world.call_in(&journal, ask()).await.refused();
    assert_eq!(refused.facts().reason(), Reason::RecordUnavailable);
    assert_eq!(world.runs(), 0);
    assert_eq!(world.kinds(), []);
}

/// A call of this source.
fn of_source(source: Vec<u8>) -> Ask {
    Ask {
        code: Some(Code {
            input: Some("a.py".into()),
            source,
        }),
        ..ask()
    }
}

/// I2: a secret that the policy found in a call is in no part of its record.
#[tokio::test]
async fn the_record_of_a_refused_secret_does_not_have_it() {
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let world = World::new();
    let source = format!("KEY = '{secret}'").into_bytes();
    let end = world.call(of_source(source)).await;
    assert_refused(&world, end, Reason::SecretInEnvironment);
    let record = &world.records()[0];
    let content = world.content(record).to_string();
    for text in [content, record.entry.summary.to_string()] {
        assert!(!text.contains(&secret), "{text}");
    }
    let world = World::new();
    let command = Command {
        argv: vec!["curl".into(), secret.clone().into()],
        env: [("GREETING".to_owned(), secret.clone().into())].into(),
        ..Command::default()
    };
    let end = world
        .call(Ask {
            command,
            code: None,
            ..ask()
        })
        .await;
    assert_refused(&world, end, Reason::SecretInEnvironment);
    let record = &world.records()[0];
    let content = world.content(record).to_string();
    for text in [content, record.entry.summary.to_string()] {
        assert!(!text.contains(&secret), "{text}");
    }
}

#[tokio::test]
async fn a_source_is_not_an_input_by_name_alone() {
    let world = World::new();
    let code = Code {
        input: Some("b.py".into()),
        source: b"print(2)".to_vec(),
    };
    let proposed = Proposed::new(
        Ask {
            code: Some(code),
            ..ask()
        },
        Vec::new(),
        &world.clock,
        &world.entropy,
    );
    let claims = Verified::vouch(world.claims(), Authenticator::LocalUser);
    let keeper = FakeKeeper(world.script.clone());
    let identified = proposed.unwrap().authenticate(claims).unwrap();
    let enclosed = identified
        .enclose(&world.policy(), TOOLS, &keeper)
        .await
        .unwrap();
    assert!(enclosed.check().await.is_err());
}
