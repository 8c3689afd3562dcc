//! Calls that end by a violation.

use casemate_gateway::{Ending, Stores as _, Told};
use casemate_ledger::Kind;
use casemate_model::{Cause, OutcomeStatus, Reason};
use casemate_ports::Gone;
use casemate_store::SessionStore as _;
use serde_json::json;

use crate::house::{House, in_session, in_thread, ran, refused};

/// R210, R211: the session of a call that violated its sandbox is over for everybody; the evidence is sealed in the record, names
/// and counts are in clear, with an alert; the next call of the thread is told, once.
#[tokio::test]
async fn a_violation_ends_the_session_and_alerts() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (session, _) = ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    let Told::Released(released) = house.call(&rooms, in_thread("t", &["violate"])).await else {
        panic!("it ran");
    };
    let outcome = released.outcome();
    assert_eq!(
        (outcome.status, outcome.cause),
        (OutcomeStatus::Failed, Cause::Violation)
    );
    let records = house.world.records();
    let last = records.last().unwrap();
    assert_eq!(last.entry.kind, Kind::Outcome);
    let summary = &last.entry.summary;
    assert_eq!(summary["alert"], true);
    assert_eq!(summary["stop_reason"], "violation");
    assert_eq!(
        summary["violations"],
        json!([{ "kind": "system_call", "what": "mount", "count": 1 }])
    );
    assert!(!summary.to_string().contains("secret-name"), "{summary}");
    let content = house.world.content(last);
    let evidence = &content["outcome"]["violations"][0];
    assert_eq!(
        (&evidence["process"], &evidence["pid"]),
        (&json!("secret-name"), &json!(7))
    );
    let store = house.store().open("local").await.unwrap();
    let end = store.session(session).await.unwrap().unwrap().end.unwrap();
    assert_eq!(Ending::from_word(&end.why), Ending::Kept(Gone::Violation));
    // Nobody asks the keeper to find that out.
    assert!(rooms.list(&crate::house::owner("local")).await.is_ok());
    assert_eq!(
        refused(&house.call(&rooms, in_session(session, &["true"])).await).0,
        Reason::SessionGone
    );
    let (reason, detail) = refused(&house.call(&rooms, in_thread("t", &["true"])).await);
    assert_eq!(reason, Reason::SessionGone);
    assert!(detail.contains("destroyed"), "{detail}");
    let (next, new) = ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    assert!(new && next != session);
    let alerts = house.world.records().into_iter();
    let alerts = alerts.filter(|record| record.entry.summary["alert"] == true);
    assert_eq!(alerts.count(), 1, "one alert for one violation");
}

/// A violation that no call told of is an alert when the end of the session is found.
#[tokio::test]
async fn an_end_that_no_call_told_of_is_an_alert() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (session, _) = ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    house.keeper.end(session, Gone::Violation);
    refused(&house.call(&rooms, in_thread("t", &["true"])).await);
    let records = house.world.records();
    let ends: Vec<_> = records
        .iter()
        .filter(|record| record.entry.summary["tool"] == "session.end")
        .map(|record| {
            (
                &record.entry.summary["reason"],
                &record.entry.summary["alert"],
            )
        })
        .collect();
    assert_eq!(ends, [(&json!("violation"), &json!(true))]);
}
