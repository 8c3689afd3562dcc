//! Hole 9: the agent as a confused deputy.

use casemate_gateway::{AnswerError, NewCall, SessionError, Told};
use casemate_model::Reason;
use casemate_policy::{Authenticator, Claims, Verified};

use super::{with_tenants, with_tools};
use crate::{
    house::{House, Rooms, caller, in_session, in_thread, ran, refused},
    session_keeper::Step,
    waits,
};

/// A call of somebody else, with everything but who they are as the first caller's.
async fn call_as(house: &House, rooms: &Rooms, claims: Claims, thread: &str) -> Told {
    let call = NewCall {
        claims: Verified::vouch(claims, Authenticator::LocalUser),
        ..house.new_call(in_thread(thread, &["true"]))
    };
    house.send(rooms, call).await.0
}

/// R186: others: a connector acts with the credentials of whoever configured it, whoever chats. Here: a call has the rights of its caller and of
/// nobody else: not those of whoever set the route up, opened the session, or approved it, and nothing of another tenant's.
#[tokio::test]
async fn hole_9_a_call_has_the_rights_of_its_caller() {
    let house = with_tenants(&["local", "other"]);
    let rooms = house.rooms();
    // Whoever was first in the thread may run code. Who comes after them in it may not, and does not by their right.
    let (session, _) = ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    let runs = house.keeper.runs();
    let without = Claims {
        subject: "uid:2000".into(),
        scopes: ["mail:read".to_owned()].into(),
        ..house.world.claims()
    };
    let (reason, detail) = refused(&call_as(&house, &rooms, without, "t").await);
    assert_eq!(reason, Reason::MissingScope, "{detail}");
    assert_eq!(house.keeper.runs(), runs);

    // Another user of the same tenant acts, and is recorded, as themselves.
    let other = Claims {
        subject: "uid:2000".into(),
        ..house.world.claims()
    };
    let Told::Released(released) = call_as(&house, &rooms, other, "t").await else {
        panic!("it is allowed");
    };
    let facts = released.facts();
    assert_eq!(facts.claims.as_ref().unwrap().subject, "uid:2000");
    assert_eq!(facts.call.as_ref().unwrap().user, "uid:2000");
    let records = house.world.records().into_iter();
    let mut records = records.filter(|record| record.entry.decision == facts.decision);
    assert!(records.all(|record| record.entry.summary["actor"] != "uid:1000"));

    let placed = || {
        let steps = house.keeper.steps();
        let placed = |step: &&Step| matches!(step, Step::Place(of, _) if *of == session);
        steps.iter().filter(placed).count()
    };
    let before = placed();
    // Another tenant reaches neither the session nor the thread, by whichever name.
    let stranger = |ask| house.call_of("other", ask);
    let (told, _) = house
        .send(&rooms, stranger(in_session(session, &["true"])))
        .await;
    let (reason, _) = refused(&told);
    assert_eq!(reason, Reason::SessionUnknown);
    let (told, _) = house
        .send(&rooms, stranger(in_thread("t", &["true"])))
        .await;
    let (theirs, new) = ran(&told);
    assert!(new && theirs != session, "the same thread, of two tenants");
    assert_eq!(placed(), before, "nothing of the session was touched");
    let mut other = caller(&house, "local");
    let claims = Claims {
        tenant: "other".into(),
        ..house.world.claims()
    };
    other.claims = Verified::vouch(claims, Authenticator::LocalUser);
    let looked = rooms.read_file(&other, session, "f".into()).await;
    assert!(
        matches!(looked, Err(SessionError::Unknown(found)) if found == session),
        "{looked:?}"
    );
}

/// The same for calls that wait: consent adds none of the approver's rights, and nobody of another tenant can give it.
#[tokio::test]
async fn hole_9_consent_lends_no_rights() {
    let house = with_tools("approval_required = [\"shell\"]");
    waits::enlist(&house, "alice", &["administrator"]);
    let rooms = house.rooms();
    let call = waits::held(&house, &rooms, in_thread("t", &["true"])).await;
    let strangers = Claims {
        tenant: "other".into(),
        ..house.world.claims()
    };
    let strangers = Verified::vouch(strangers, Authenticator::LocalUser);
    let seen = rooms.approval(&strangers, call.0).await;
    assert!(matches!(seen, Err(AnswerError::Unknown(_))));
    waits::approve(&house, &rooms, "alice", call).await.unwrap();
    let Told::Released(released) = waits::resume(&rooms, call.0).await else {
        panic!("it was approved");
    };
    let claims = released.facts().claims.as_ref().unwrap();
    assert_eq!(claims.subject, "uid:1000");
    assert_eq!(claims.scopes, house.world.claims().scopes);
}
