//! What records say, and what they never say.

use casemate_gateway::{Ask, Code, EraseError, MAX_CODE_RECORD_BYTES};
use casemate_model::{Artefact, Cause, DeniedAttempt, Digest, Exit};
use casemate_policy::{Authenticator, Verified};
use casemate_ports::Command;
use casemate_store::{Keys, StoreError};
use serde_json::json;

use crate::{
    fake::ended,
    world::{World, ask, profile},
};

/// R96, R222, R224, R228, R239: who called what, with which scopes, under which policy, and why that was allowed.
#[tokio::test]
async fn the_decision_answers_who_what_and_why_in_clear() {
    let world = World::new();
    let released = world.call(ask()).await.released();
    let record = &world.records()[0].entry;
    let summary = &record.summary;
    assert_eq!(record.agent, "local");
    assert_eq!(record.tenant, "local");
    for (field, value) in [
        ("actor", json!("uid:1000")),
        ("tool", json!("python")),
        ("route", json!("run")),
        ("side_effect", json!("draft")),
        ("policy", json!(world.profile.digest())),
        ("policy_decision", json!("allow")),
        ("reason", json!("allowed")),
        ("stop_reason", json!("not_ended")),
        ("issuer", json!("casemate:local")),
        ("audience", json!("casemate-run")),
        ("scopes", json!(["code:execute"])),
        ("mode", json!("autonomous")),
        ("idempotency_key_given", json!(false)),
        ("trace_id", json!(released.facts().trace_id)),
    ] {
        assert_eq!(summary[field], value, "{field}");
    }
    assert_eq!(summary["engine"]["name"], "casemate");
    assert_eq!(summary["limits"]["wall_ms"], 60_000);
    assert_eq!(summary["isolation"]["tier"], "namespace");
    let token = summary["token"].as_str().unwrap();
    assert!(token.parse::<Digest>().is_ok(), "{token}");
    for check in summary["checks"].as_array().unwrap() {
        assert_eq!(check["passed"], true);
    }
}

/// R215, R234, R236, R237, R238: what ran, what it made, what it was refused, and how long it took.
#[tokio::test]
async fn content_is_sealed_and_complete() {
    let mut world = World::new();
    let denied = |kind: &str, count| DeniedAttempt {
        kind: kind.into(),
        what: "192.0.2.1:443".into(),
        count,
    };
    let mut end = ended(Cause::Completed, Some(Exit::Code(0)));
    end.denied = vec![
        denied("network", 2),
        denied("syscall", u64::MAX),
        denied("syscall", 1),
    ];
    world.script.ended = Ok(end);
    world.script.artefact = Some(("report.txt", b"42"));
    world.call(ask()).await.released();
    let [decision, outcome] = &world.records()[..] else {
        panic!("not two records");
    };
    let content = world.content(decision);
    assert_eq!(content["code"]["text"], "print(1)");
    assert_eq!(
        content["call"]["program"]["code"],
        json!(Digest::of(b"print(1)"))
    );
    assert_eq!(content["call"]["program"]["inputs"][0]["name"], "a.py");
    let summary = &outcome.entry.summary;
    assert_eq!(
        summary["denied"],
        json!({"network": 2, "syscall": u64::MAX})
    );
    assert_eq!(summary["usage"]["wall_ms"], 12);
    assert_eq!(summary["artefacts"], 1);
    assert_eq!(summary["exit"], json!({"code": 0}));
    let content = world.content(outcome);
    assert_eq!(
        content["outcome"]["artefacts"][0]["sha256"],
        json!(Digest::of(b"42"))
    );
    assert_eq!(content["outcome"]["denied"][0]["what"], "192.0.2.1:443");
    assert_eq!(
        content["streams"]["stdout"],
        json!(Digest::of(b"made by nobody\n"))
    );
}

/// The action hash that was approved and claimed is that of the call that was recorded.
#[tokio::test]
async fn the_recorded_hash_is_that_of_the_call() {
    let world = World::new();
    let released = world.call(ask()).await.released();
    let facts = released.facts();
    let hash = facts.call.as_ref().unwrap().action_hash().unwrap();
    assert_eq!(facts.action_hash, Some(hash));
    let content = world.content(&world.records()[0]);
    assert_eq!(content["action_hash"], json!(hash));
}

/// I11, R178: no output, no values of variables, no values that the profile redacts; nowhere in the state
/// directory in clear, and not even in what is sealed.
#[tokio::test]
async fn what_must_not_be_recorded_is_nowhere() {
    let mut world = World::new();
    world.script.stdout = b"OUTPUT-CANARY".to_vec();
    world.script.artefact = Some(("a.bin", b"ARTEFACT-CANARY"));
    let command = Command {
        argv: vec![
            "python3".into(),
            "--access-token=ARGUMENT-CANARY".into(),
            "--refresh-token".into(),
            "NEXT-CANARY".into(),
            r#"{"customer_email": {"a": "JSON-CANARY"}}"#.into(),
        ],
        env: [
            ("PLAIN".to_owned(), "VALUE-CANARY".into()),
            ("CUSTOMER_EMAIL".to_owned(), "NAMED-CANARY".into()),
        ]
        .into(),
        ..Command::default()
    };
    let code = Code {
        input: Some("a.py".into()),
        source: b"payment_token = 'CODE-CANARY'".to_vec(),
    };
    world
        .call(Ask {
            command,
            code: Some(code),
            ..ask()
        })
        .await
        .released();
    let records = world.records();
    let contents: String = records
        .iter()
        .map(|record| world.content(record).to_string())
        .collect();
    assert!(contents.contains("PLAIN") && contents.contains("payment_token"));
    assert!(!contents.contains("CANARY"), "{contents}");
    let log = std::fs::read(world.dir.path().join("state/ledger/log")).unwrap();
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("policy_decision"));
    for hidden in ["CANARY", "PLAIN", "payment_token", "a.py", "a.bin"] {
        assert!(!log.contains(hidden), "{hidden}");
    }
}

/// Content belongs to its record: moved to another, it does not open.
#[tokio::test]
async fn content_cannot_be_moved() {
    let world = World::new();
    world.call(ask()).await.released();
    let [decision, outcome] = &world.records()[..] else {
        panic!("not two records");
    };
    let aad = casemate_gateway::content_aad(decision.entry.decision, decision.entry.kind);
    let keys = Keys::open(&world.state()).unwrap();
    let moved = outcome.entry.payload.as_ref().unwrap();
    assert!(keys.unseal("local", &aad, moved).is_err());
}

/// I12: an erasure says so before and after; the records stay, their content does not, and the next call has
/// a new key.
#[tokio::test]
async fn erasing_an_agent_leaves_the_log_and_takes_the_content() {
    let world = World::new();
    world.call(ask()).await.released();
    let before = world.records();
    let claims = Verified::vouch(world.claims(), Authenticator::LocalUser);
    let journal = world.journal();
    let erased = journal.erase("local", &claims).unwrap();
    assert_eq!(erased.keys.len(), 1);
    let after = world.records();
    assert_eq!(after[..2], before);
    for (record, status) in after[2..].iter().zip(["begun", "done"]) {
        assert_eq!(record.entry.kind, casemate_ledger::Kind::Erased);
        assert_eq!(record.entry.summary["status"], status);
        assert_eq!(record.entry.summary["actor"], "uid:1000");
    }
    assert_eq!(after[3].entry.summary["keys"], json!(erased.keys));
    let keys = Keys::open(&world.state()).unwrap();
    for record in &before {
        let aad = casemate_gateway::content_aad(record.entry.decision, record.entry.kind);
        let sealed = record.entry.payload.as_ref().unwrap();
        let gone = keys.unseal("local", &aad, sealed).unwrap_err();
        assert!(matches!(gone, StoreError::KeyErased { .. }), "{gone}");
    }
    world.call_in(&journal, ask()).await.released();
    world.content(&world.records()[4]);
}

/// An erasure that cannot be recorded destroys nothing.
#[tokio::test]
async fn without_a_record_nothing_is_erased() {
    let world = World::new();
    world.call(ask()).await.released();
    let record = world.records().remove(0);
    let journal = world.journal();
    std::fs::remove_dir_all(world.state().ledger()).unwrap();
    let claims = Verified::vouch(world.claims(), Authenticator::LocalUser);
    assert!(matches!(
        journal.erase("local", &claims),
        Err(EraseError::Begin(_))
    ));
    world.content(&record);
}

/// I15: whatever a call or its program does, its records fit the ledger.
#[tokio::test]
async fn records_are_bounded_whatever_is_asked_or_made() {
    let mut world = World::new();
    let mut end = ended(Cause::Completed, Some(Exit::Code(0)));
    end.denied = vec![
        DeniedAttempt {
            kind: "syscall".into(),
            what: "\u{1}".repeat(1_000),
            count: 1,
        };
        1_000
    ];
    world.script.ended = Ok(end);
    let code = Code {
        input: Some("a.py".into()),
        source: vec![b'#'; MAX_CODE_RECORD_BYTES + 1],
    };
    let mut huge = ask();
    huge.command.argv = vec!["\u{1}".repeat(100_000).into(); 10];
    huge.code = Some(code.clone());
    world.call(huge).await.released();
    let content = world.content(&world.records()[0]);
    assert_eq!(content["call"], serde_json::Value::Null);
    assert!(content["action_hash"].is_string());
    assert_eq!(
        content["code"]["digest"]["sha256"],
        json!(Digest::of(&code.source))
    );
    let outcome = world.content(&world.records()[1]);
    assert!(outcome["outcome"]["denied"].as_array().unwrap().len() < 1_000);
    assert_eq!(
        outcome["artefacts_sha256"],
        json!(Digest::of(
            &serde_json::to_vec(&Vec::<Artefact>::new()).unwrap()
        ))
    );
}

/// R232: every field that a profile can require is in both records of a call.
#[tokio::test]
async fn required_trace_fields_are_in_every_record() {
    let mut world = World::new();
    world.profile = profile(r#", "route", "policy", "side_effect""#);
    let asked = Ask {
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".into()),
        ..ask()
    };
    world.call(asked).await.released();
    for record in world.records() {
        for field in &world.profile.observability.required_trace_fields {
            assert!(!record.entry.summary[field].is_null(), "{field}");
        }
        assert_eq!(
            record.entry.summary["trace_id"],
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
    }
}

/// A trace id that nobody gave is made from the decision, and is a W3C trace id.
#[tokio::test]
async fn a_trace_id_is_made() {
    let released = World::new().call(ask()).await.released();
    let trace = &released.facts().trace_id;
    assert_eq!(trace.len(), 32);
    assert!(released.facts().decision.to_string().ends_with(trace));
}
