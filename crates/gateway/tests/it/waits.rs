//! Calls that wait for people, from the call to the run: who may answer, what counts, what a crash leaves.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use casemate_gateway::Stores as _;
use casemate_gateway::{
    AnswerError, Answered, Approver, Ask, Key, Member, SignedAnswer, Statement, Told, Vote,
    VoteError,
};
use casemate_ledger::Kind;
use casemate_model::{ApprovalState, DecisionId, Digest, Reason};
use casemate_policy::{Authenticator, Claims, Profile, Syntax, Verified};
use casemate_ports::Gone;
use casemate_store::ApprovalStore as _;
use proptest::prelude::*;
use tokio::sync::oneshot;

use crate::{
    house::{Ends, House, Rooms, ends, in_session, in_thread, ran, refused},
    session_keeper::Step,
};

const TRUE: &[&str] = &["true"];

/// A house in which `shell` needs approval, and in which these people may approve.
pub(crate) fn house(rules: &str, people: &[(&str, &[&str])]) -> House {
    let builtin = Profile::builtin_serve().unwrap();
    let source = std::str::from_utf8(builtin.source()).unwrap();
    let source = source.replace("approval_required = []", "approval_required = [\"shell\"]");
    assert!(
        source.contains("approval_required = [\"shell\"]"),
        "{source}"
    );
    let mut house = House::new("thread");
    let source = format!("{source}\n{rules}\n");
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    for (user, roles) in people {
        enlist(&house, user, roles);
    }
    house
}

pub(crate) fn enlist(house: &House, user: &str, roles: &[&str]) {
    let mut all = house.approvers.0.lock().unwrap();
    all.retain(|approver: &Approver| approver.user != user);
    all.push(Approver {
        user: user.into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        key: format!("key of {user}"),
    });
}

pub(crate) fn now(house: &House) -> u64 {
    *house.world.clock.0.lock().unwrap()
}

/// A call that waits, and the hash of what would run.
pub(crate) async fn held(house: &House, rooms: &Rooms, ask: Ask) -> (DecisionId, Digest) {
    match house.call(rooms, ask).await {
        Told::Held(waiting) => (waiting.facts.decision, waiting.facts.action_hash.unwrap()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn statement(
    house: &House,
    decision: DecisionId,
    action: Digest,
    vote: Vote,
) -> Statement {
    let reason = match vote {
        Vote::Approve => "",
        Vote::Deny | Vote::RequestChanges => "not today",
    };
    Statement {
        members: vec![Member { decision, action }],
        vote,
        reason: reason.into(),
        at_ms: now(house),
        grant_ms: None,
        break_glass: false,
    }
}

pub(crate) fn claims(house: &House) -> Verified<Claims> {
    Verified::vouch(house.world.claims(), Authenticator::LocalUser)
}

async fn answer(
    house: &House,
    rooms: &Rooms,
    user: &str,
    decision: DecisionId,
    statement: &Statement,
) -> Result<Answered, AnswerError> {
    let note = format!("{user}\n{}", statement.text().unwrap());
    Box::pin(rooms.answer(&claims(house), decision, &SignedAnswer::note(note))).await
}

pub(crate) async fn approve(
    house: &House,
    rooms: &Rooms,
    user: &str,
    (decision, action): (DecisionId, Digest),
) -> Result<ApprovalState, AnswerError> {
    let said = statement(house, decision, action, Vote::Approve);
    let answered = answer(house, rooms, user, decision, &said).await?;
    Ok(answered.state)
}

pub(crate) async fn resume(rooms: &Rooms, decision: DecisionId) -> Told {
    let (ends, io) = ends();
    let Ends {
        control: _control,
        mut events,
        ..
    } = ends;
    let (tell, told) = oneshot::channel();
    let drained = async { while events.recv().await.is_some() {} };
    let life = Box::pin(rooms.resume(decision, Arc::default(), io, tell));
    tokio::join!(life, drained);
    told.await.unwrap()
}

pub(crate) fn runs(house: &House) -> usize {
    let steps = house.keeper.steps();
    steps
        .iter()
        .filter(|step| matches!(step, Step::Run(..)))
        .count()
}

pub(crate) async fn state(house: &House, rooms: &Rooms, decision: DecisionId) -> ApprovalState {
    let found = rooms.approval(&claims(house), decision).await.unwrap();
    found.view.state
}

pub(crate) fn kinds_of(house: &House, decision: DecisionId) -> Vec<Kind> {
    let records = house.world.records().into_iter();
    let records = records.filter(|record| record.entry.decision == decision);
    records.map(|record| record.entry.kind).collect()
}

/// R163, R174, R175, R227: the call waits, is shown, is approved, and runs once, under one name, with its approver on record.
#[tokio::test]
async fn an_approved_call_runs_once() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let (decision, action) = held(&house, &rooms, in_thread("t", TRUE)).await;
    assert_eq!(runs(&house), 0);
    let case = rooms.approval(&claims(&house), decision).await.unwrap();
    assert_eq!(
        Digest::of(case.canonical.as_bytes()),
        action,
        "what is shown is what is hashed"
    );
    assert!(
        matches!(resume(&rooms, decision).await, Told::Later(_)),
        "nobody approved it"
    );
    let state = approve(&house, &rooms, "alice", (decision, action)).await;
    assert_eq!(state.unwrap(), ApprovalState::Approved);
    let told = resume(&rooms, decision).await;
    let Told::Released(released) = told else {
        panic!("{told:?}");
    };
    assert_eq!(released.facts().decision, decision);
    assert_eq!(released.facts().action_hash, Some(action));
    assert_eq!(runs(&house), 1);
    let kinds = kinds_of(&house, decision);
    assert_eq!(kinds, [Kind::Held, Kind::Allowed, Kind::Outcome]);
    let records = house.world.records();
    let allowed = records
        .iter()
        .find(|record| record.entry.decision == decision && record.entry.kind == Kind::Allowed);
    assert_eq!(
        allowed.unwrap().entry.summary["approval"]["approver"],
        "alice"
    );
    // Used up: it never runs again, however often it is tried.
    assert!(matches!(resume(&rooms, decision).await, Told::Later(_)));
    let again = approve(&house, &rooms, "alice", (decision, action)).await;
    let over = VoteError::Over(ApprovalState::Consumed);
    assert!(matches!(again, Err(AnswerError::Vote(error)) if error == over));
    assert_eq!(runs(&house), 1);
}

/// A refusal reaches the agent with its reason; it is no timeout, and a timeout is no refusal.
#[tokio::test]
async fn a_denial_a_wish_for_changes_and_a_timeout_have_their_own_reasons() {
    for (vote, reason, to) in [
        (Vote::Deny, Reason::ApprovalDenied, ApprovalState::Denied),
        (
            Vote::RequestChanges,
            Reason::ChangesRequested,
            ApprovalState::ChangesRequested,
        ),
    ] {
        let house = house("", &[("alice", &[])]);
        let rooms = house.rooms();
        let mut refusals = rooms.take_refusals().unwrap();
        let (decision, action) = held(&house, &rooms, in_thread("t", TRUE)).await;
        let said = statement(&house, decision, action, vote);
        let answered = answer(&house, &rooms, "alice", decision, &said)
            .await
            .unwrap();
        assert_eq!(answered.state, to);
        let (name, refusal) = refusals.try_recv().unwrap();
        assert_eq!(name, decision);
        let (found, detail) = refused(&Told::Refused(refusal));
        assert_eq!(found, reason);
        assert_eq!(detail, "by alice: not today");
        let last = house.world.records().pop().unwrap().entry;
        assert_eq!((last.kind, last.decision), (Kind::Denied, decision));
        // Why is told, and not in clear in the log: it may be about somebody.
        assert!(!last.summary.to_string().contains("not today"));
        assert!(matches!(resume(&rooms, decision).await, Told::Later(_)));
        assert_eq!(runs(&house), 0);
    }
    let house = house("[approvals]\nwait_ms = 1_000", &[("alice", &[])]);
    let rooms = house.rooms();
    let mut refusals = rooms.take_refusals().unwrap();
    let (decision, action) = held(&house, &rooms, in_thread("t", TRUE)).await;
    rooms.expire(decision).await;
    assert!(refusals.try_recv().is_err(), "its time is not over");
    house.world.clock.advance(1_000);
    let late = approve(&house, &rooms, "alice", (decision, action)).await;
    let over = VoteError::Over(ApprovalState::Expired);
    assert!(matches!(late, Err(AnswerError::Vote(error)) if error == over));
    let (found, _) = refused(&Told::Refused(refusals.try_recv().unwrap().1));
    assert_eq!(found, Reason::ApprovalExpired);
    assert_eq!(runs(&house), 0);
}

/// What does not count: a note of nobody, another call's, another hash, whoever asked, a wrong role, a second time, a wrong time.
/// Each is on record, and nothing has run.
#[tokio::test]
async fn an_answer_that_does_not_fit_changes_nothing() {
    let rules = "[approvals]\nneeded = 2\nroles = [\"security\"]";
    let people: &[(&str, &[&str])] = &[
        ("alice", &["security"]),
        ("bob", &["sales"]),
        ("uid:1000", &["security", "break-glass"]),
        ("carol", &["security"]),
    ];
    let house = house(rules, people);
    let rooms = house.rooms();
    let (decision, action) = held(&house, &rooms, in_thread("t", TRUE)).await;
    let (other, _) = held(&house, &rooms, in_thread("t", TRUE)).await;
    let good = || statement(&house, decision, action, Vote::Approve);
    let bad: Vec<(&str, &str, Statement)> = vec![
        ("mallory", "does not count", good()),
        (
            "alice",
            "not about this call",
            statement(&house, other, action, Vote::Approve),
        ),
        (
            "alice",
            "another form",
            statement(&house, decision, Digest::of(b"edited"), Vote::Approve),
        ),
        ("uid:1000", "asked for the call", good()),
        (
            "uid:1000",
            "asked for the call",
            Statement {
                break_glass: true,
                reason: "now".into(),
                ..good()
            },
        ),
        ("bob", "none of the roles", good()),
        (
            "alice",
            "none of the roles",
            Statement {
                break_glass: true,
                reason: "now".into(),
                ..good()
            },
        ),
        (
            "alice",
            "before the call was held",
            Statement {
                at_ms: now(&house) - 3_600_000,
                ..good()
            },
        ),
        (
            "alice",
            "later than now",
            Statement {
                at_ms: now(&house) + 3_600_000,
                ..good()
            },
        ),
    ];
    for (user, says, said) in &bad {
        let records = house.world.records().len();
        let error = answer(&house, &rooms, user, decision, said)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(says), "{user}: {error}");
        assert_eq!(
            state(&house, &rooms, decision).await,
            ApprovalState::Pending
        );
        let all = house.world.records();
        assert_eq!(all.len(), records + 1, "{user}: no record");
        assert_eq!(all.last().unwrap().entry.kind, Kind::Denied);
    }
    assert_eq!(
        approve(&house, &rooms, "alice", (decision, action))
            .await
            .unwrap(),
        ApprovalState::Pending
    );
    let again = approve(&house, &rooms, "alice", (decision, action))
        .await
        .unwrap_err();
    assert!(again.to_string().contains("answered already"), "{again}");
    assert!(
        matches!(resume(&rooms, decision).await, Told::Later(_)),
        "one of two"
    );
    assert_eq!(
        approve(&house, &rooms, "carol", (decision, action))
            .await
            .unwrap(),
        ApprovalState::Approved
    );
    assert_eq!(runs(&house), 0);
    assert!(matches!(resume(&rooms, decision).await, Told::Released(_)));
    assert_eq!(runs(&house), 1);
}

/// Another tenant knows nothing of it, and answers nothing.
#[tokio::test]
async fn an_approval_is_of_its_tenant() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let (decision, action) = held(&house, &rooms, in_thread("t", TRUE)).await;
    let strangers = Claims {
        tenant: "other".into(),
        ..house.world.claims()
    };
    let strangers = Verified::vouch(strangers, Authenticator::LocalUser);
    let note = format!(
        "alice\n{}",
        statement(&house, decision, action, Vote::Approve)
            .text()
            .unwrap()
    );
    let answered = Box::pin(rooms.answer(&strangers, decision, &SignedAnswer::note(note))).await;
    assert!(matches!(answered, Err(AnswerError::Unknown(_))));
    assert!(matches!(
        rooms.approval(&strangers, decision).await,
        Err(AnswerError::Unknown(_))
    ));
    assert!(rooms.approvals(&strangers, None).await.unwrap().is_empty());
    assert!(matches!(
        rooms.cancel_waiting(&strangers, decision).await,
        Err(AnswerError::Unknown(_))
    ));
    assert_eq!(
        rooms.approvals(&claims(&house), None).await.unwrap().len(),
        1
    );
}

/// Consent is looked at again when the call is to run: of whom, how old, under which policy, for whom.
#[tokio::test]
async fn consent_does_not_outlive_its_approver_its_time_its_policy_or_its_caller() {
    // Whoever consented lost the role: others have to.
    let of_two = house(
        "[approvals]\nroles = [\"security\"]",
        &[("alice", &["security"])],
    );
    let rooms = of_two.rooms();
    let call = held(&of_two, &rooms, in_thread("t", TRUE)).await;
    approve(&of_two, &rooms, "alice", call).await.unwrap();
    enlist(&of_two, "alice", &["sales"]);
    let records = of_two.world.records().len();
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    assert_eq!(state(&of_two, &rooms, call.0).await, ApprovalState::Pending);
    let all = of_two.world.records();
    assert_eq!(all.len(), records + 1, "it is on record, once");
    let last = &all.last().unwrap().entry;
    assert_eq!(last.kind, Kind::Denied);
    assert_eq!(last.summary["reason"], "approval_invalid");
    enlist(&of_two, "bob", &["security"]);
    assert_eq!(
        approve(&of_two, &rooms, "bob", call).await.unwrap(),
        ApprovalState::Approved
    );
    assert!(matches!(resume(&rooms, call.0).await, Told::Released(_)));
    assert_eq!(runs(&of_two), 1);

    // It was not used in time.
    let slow = house("[approvals]\ngrant_ms = 1_000", &[("alice", &[])]);
    let rooms = slow.rooms();
    let mut refusals = rooms.take_refusals().unwrap();
    let call = held(&slow, &rooms, in_thread("t", TRUE)).await;
    approve(&slow, &rooms, "alice", call).await.unwrap();
    slow.world.clock.advance(1_000);
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    let (reason, _) = refused(&Told::Refused(refusals.try_recv().unwrap().1));
    assert_eq!(reason, Reason::ApprovalExpired);
    // Nor does it come back when the clock is set back.
    slow.world.clock.back(10_000);
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    assert_eq!(state(&slow, &rooms, call.0).await, ApprovalState::Expired);
    assert_eq!(runs(&slow), 0);

    // The caller may not call any more.
    let barred = house("", &[("alice", &[])]);
    let rooms = barred.rooms();
    let mut refusals = rooms.take_refusals().unwrap();
    let call = held(&barred, &rooms, in_thread("t", TRUE)).await;
    approve(&barred, &rooms, "alice", call).await.unwrap();
    barred.barred.lock().unwrap().push("uid:1000".into());
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    let (reason, _) = refused(&Told::Refused(refusals.try_recv().unwrap().1));
    assert_eq!(reason, Reason::ExpiredToken);
    assert_eq!(runs(&barred), 0);

    // The policy is another one, since before the consent or after it.
    for consent_before in [true, false] {
        another_policy(consent_before).await;
    }
}

/// Who may call cannot be told for a while: the approved call does not run meanwhile, and does after it.
#[tokio::test]
async fn a_passing_failure_does_not_end_an_approved_call() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let mut refusals = rooms.take_refusals().unwrap();
    let call = held(&house, &rooms, in_thread("t", TRUE)).await;
    approve(&house, &rooms, "alice", call).await.unwrap();
    house.unsure.store(true, Ordering::Relaxed);
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    assert_eq!((runs(&house), refusals.try_recv().is_err()), (0, true));
    assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Approved);
    house.unsure.store(false, Ordering::Relaxed);
    let told = resume(&rooms, call.0).await;
    assert!(matches!(told, Told::Released(_)), "{told:?}");
    assert_eq!(runs(&house), 1);
}

/// A thread's session that ended while a call waited does not end the call: it runs once, in the next session. One that
/// is named by its id stays gone.
#[tokio::test]
async fn an_approved_call_outlives_the_session_of_its_thread() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let call = held(&house, &rooms, in_thread("t", TRUE)).await;
    let session = house.keeper.alive()[0];
    let named = held(&house, &rooms, in_session(session, TRUE)).await;
    approve(&house, &rooms, "alice", call).await.unwrap();
    approve(&house, &rooms, "alice", named).await.unwrap();
    house.keeper.end(session, Gone::Idle);
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Approved);
    let told = resume(&rooms, call.0).await;
    let (next, new) = ran(&told);
    assert!(new && next != session);
    assert_eq!(runs(&house), 1);
    assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Consumed);
    let (reason, _) = refused(&resume(&rooms, named.0).await);
    assert_eq!(reason, Reason::SessionGone);
    assert_eq!(runs(&house), 1);
}

async fn another_policy(consent_before: bool) {
    let mut changed = house("", &[("alice", &[])]);
    let rooms = changed.rooms();
    let call = held(&changed, &rooms, in_thread("t", TRUE)).await;
    if consent_before {
        approve(&changed, &rooms, "alice", call).await.unwrap();
    }
    drop(rooms);
    changed.profile = {
        let source = std::str::from_utf8(changed.profile.source()).unwrap();
        let source = format!("{source}\n# Another one.\n");
        Profile::parse(source.as_bytes(), Syntax::Toml).unwrap()
    };
    let rooms = changed.rooms();
    rooms.reconcile().await.unwrap();
    rooms.take_up_waiting().await.unwrap();
    if !consent_before {
        approve(&changed, &rooms, "alice", call).await.unwrap();
    }
    let told = resume(&rooms, call.0).await;
    let (reason, detail) = refused(&told);
    // The session of the old profile is over with it; without one, the approval itself does not count any more.
    assert_eq!(reason, Reason::SessionGone, "{detail}");
    assert!(detail.ends_with("its profile was changed"), "{detail}");
    assert_eq!(
        state(&changed, &rooms, call.0).await,
        ApprovalState::Superseded
    );
    assert_eq!(runs(&changed), 0);
}

/// One person with the role can do without the others, says why, and raises an alert.
#[tokio::test]
async fn broken_glass_is_an_alert() {
    let house = house("[approvals]\nneeded = 3", &[("alice", &["break-glass"])]);
    let rooms = house.rooms();
    let (decision, action) = held(&house, &rooms, in_thread("t", TRUE)).await;
    let said = Statement {
        break_glass: true,
        reason: "the site is down".into(),
        ..statement(&house, decision, action, Vote::Approve)
    };
    let answered = answer(&house, &rooms, "alice", decision, &said)
        .await
        .unwrap();
    assert_eq!(answered.state, ApprovalState::Approved);
    let alerts = house.world.records().into_iter();
    let alerts = alerts.filter(|record| record.entry.summary["alert"] == true);
    assert_eq!(alerts.count(), 2, "the answer, before and after");
    assert!(matches!(resume(&rooms, decision).await, Told::Released(_)));
}

/// A list of calls is approved by one signature, and nothing but those in the list.
#[tokio::test]
async fn a_batch_is_its_list() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let mut calls = Vec::new();
    for number in 0..3 {
        let ask = in_thread(&format!("t{number}"), TRUE);
        calls.push(held(&house, &rooms, ask).await);
    }
    let members = calls.iter().take(2).map(|(decision, action)| Member {
        decision: *decision,
        action: *action,
    });
    let said = Statement {
        members: members.collect(),
        ..statement(&house, calls[0].0, calls[0].1, Vote::Approve)
    };
    for (number, (decision, _)) in calls.iter().enumerate() {
        let answered = answer(&house, &rooms, "alice", *decision, &said).await;
        assert_eq!(answered.is_ok(), number < 2);
    }
    for (number, (decision, _)) in calls.iter().enumerate() {
        let told = resume(&rooms, *decision).await;
        assert_eq!(matches!(told, Told::Released(_)), number < 2);
    }
    assert_eq!(runs(&house), 2);
}

/// Whoever is bounded to threads is listed the calls of those, and told when it cannot be told which they are.
#[tokio::test]
async fn what_cannot_be_read_is_not_taken_for_out_of_bounds() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let (decision, _) = held(&house, &rooms, in_thread("t", TRUE)).await;
    let bounded = |thread: &str| {
        let mut claims = claims(&house).get().clone();
        claims.bounds.threads = Some([thread.to_owned()].into());
        Verified::vouch(claims, Authenticator::LocalUser)
    };
    let listed = rooms.approvals(&bounded("t"), None).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].decision, decision);
    assert!(
        rooms
            .approvals(&bounded("u"), None)
            .await
            .unwrap()
            .is_empty()
    );
    rooms.journal().erase("local", &claims(&house)).unwrap();
    let listed = rooms.approvals(&bounded("t"), None).await;
    assert!(matches!(listed, Err(AnswerError::Content(_))), "{listed:?}");
}

/// What is taken back is over; so is what another call of the same key replaces. The same call again waits once.
#[tokio::test]
async fn a_call_is_taken_back_or_replaced() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let first = held(&house, &rooms, in_thread("t", TRUE)).await;
    // Somebody else of its tenant may, and the record says who did.
    let mut other = claims(&house).get().clone();
    "olga".clone_into(&mut other.subject);
    let other = Verified::vouch(other, Authenticator::LocalUser);
    rooms.cancel_waiting(&other, first.0).await.unwrap();
    let mut records = house.world.records();
    records.retain(|record| record.entry.summary["tool"] == "approval.cancel");
    let summary = &records.last().unwrap().entry.summary;
    assert_eq!(summary["actor"], "olga");
    assert_eq!(summary["subject"]["decision"], first.0.to_string());
    assert!(
        rooms
            .cancel_waiting(&claims(&house), first.0)
            .await
            .is_err()
    );
    assert!(approve(&house, &rooms, "alice", first).await.is_err());

    let keyed = |words: &[&str]| Ask {
        key: Key::Given("order 7".into()),
        ..in_thread("t", words)
    };
    let second = held(&house, &rooms, keyed(TRUE)).await;
    let (reason, detail) = refused(&house.call(&rooms, keyed(TRUE)).await);
    assert_eq!(reason, Reason::CallInFlight);
    assert!(detail.contains(&second.0.to_string()), "{detail}");
    let third = held(&house, &rooms, keyed(&["write", "1"])).await;
    assert_eq!(
        state(&house, &rooms, second.0).await,
        ApprovalState::Superseded
    );
    assert!(approve(&house, &rooms, "alice", second).await.is_err());
    approve(&house, &rooms, "alice", third).await.unwrap();
    assert!(matches!(resume(&rooms, third.0).await, Told::Released(_)));
    assert_eq!(runs(&house), 1);
    // It ran: a repeat gets its result, and nobody is asked again.
    let told = house.call(&rooms, keyed(&["write", "1"])).await;
    let Told::Released(released) = told else {
        panic!("{told:?}");
    };
    assert!(released.replayed().is_some());
    let (reason, _) = refused(&house.call(&rooms, keyed(TRUE)).await);
    assert_eq!(reason, Reason::IdempotencyConflict);
    assert_eq!(runs(&house), 1);
}

/// Every mode of a run is a ceiling: with review, a write waits; a call cannot raise its own, and a clock's is lower.
#[tokio::test]
async fn a_mode_is_a_ceiling() {
    use casemate_gateway::{Demand, NewCall};
    use casemate_model::{RunMode, Trigger};
    let open = House::new("thread");
    let rooms = open.rooms();
    let by = |trigger, mode| NewCall {
        demand: Demand {
            trigger,
            mode,
            has_stdin: false,
        },
        ..open.new_call(in_thread("t", TRUE))
    };
    let told = |trigger, mode| open.send(&rooms, by(trigger, mode));
    // `shell` only drafts in the built-in profile: what it does stays in the sandbox.
    let (ran, _) = told(Trigger::Interactive, None).await;
    assert!(matches!(ran, Told::Released(_)), "{ran:?}");
    let (lowered, _) = told(Trigger::Interactive, Some(RunMode::ReadOnly)).await;
    let (reason, _) = refused(&lowered);
    assert_ne!(reason, Reason::Allowed);
    let (raised, _) = told(Trigger::Schedule, Some(RunMode::Autonomous)).await;
    let Told::Released(raised) = raised else {
        panic!("{raised:?}");
    };
    assert_eq!(raised.facts().mode, Some(RunMode::Review));
}

/// A call with a standard input is not held: what it would read could not be approved.
#[tokio::test]
async fn what_nobody_could_approve_does_not_wait() {
    use casemate_gateway::{Demand, NewCall};
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let call = NewCall {
        demand: Demand {
            has_stdin: true,
            ..Demand::default()
        },
        ..house.new_call(in_thread("t", TRUE))
    };
    let (reason, detail) = refused(&house.send(&rooms, call).await.0);
    assert_eq!(reason, Reason::InvalidCall);
    assert!(detail.contains("send it as a file"), "{detail}");
}

/// A gateway that dies leaves every waiting call as it was; one that was about to run runs, and one that ran does not run again.
#[tokio::test]
async fn a_restart_loses_nothing_and_runs_nothing_twice() {
    let house = house("", &[("alice", &[])]);
    let rooms = house.rooms();
    let waits = held(&house, &rooms, in_thread("a", TRUE)).await;
    let approved = held(&house, &rooms, in_thread("b", TRUE)).await;
    let ran = held(&house, &rooms, in_thread("c", TRUE)).await;
    let used = held(&house, &rooms, in_thread("d", TRUE)).await;
    for call in [approved, ran, used] {
        approve(&house, &rooms, "alice", call).await.unwrap();
    }
    assert!(matches!(resume(&rooms, ran.0).await, Told::Released(_)));
    // Used up, and dead before the record that it may run.
    let store = house.world.stores().open("local").await.unwrap();
    let mut record = store.approval(used.0).await.unwrap().unwrap();
    record.state = ApprovalState::Consumed;
    record.version += 1;
    assert!(store.change_approval(&record).await.unwrap());
    drop(store);
    drop(rooms);

    let rooms = house.rooms();
    rooms.reconcile().await.unwrap();
    let left = rooms.take_up_waiting().await.unwrap();
    let left: BTreeSet<_> = left
        .iter()
        .map(|left| (left.decision, left.approved))
        .collect();
    let expected: BTreeSet<_> = [(waits.0, false), (approved.0, true), (used.0, true)].into();
    assert_eq!(left, expected);
    for (decision, approved) in left {
        let told = resume(&rooms, decision).await;
        assert_eq!(matches!(told, Told::Released(_)), approved, "{told:?}");
    }
    assert_eq!(runs(&house), 3);
    assert_eq!(state(&house, &rooms, waits.0).await, ApprovalState::Pending);
    approve(&house, &rooms, "alice", waits).await.unwrap();
    assert!(matches!(resume(&rooms, waits.0).await, Told::Released(_)));
    assert_eq!(runs(&house), 4);
}

/// Two approvers in the same moment, or twenty: each counts once, and the call runs once.
#[tokio::test]
async fn approvers_at_once_count_once_each() {
    let names: Vec<_> = (0..20).map(|number| format!("p{number}")).collect();
    let people: Vec<(&str, &[&str])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let house = house("[approvals]\nneeded = 10", &people);
    let rooms = house.rooms();
    let call = held(&house, &rooms, in_thread("t", TRUE)).await;
    let answers = names.iter().map(|name| approve(&house, &rooms, name, call));
    let answers = futures_util::future::join_all(answers).await;
    let counted = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(counted, 10, "{answers:?}");
    let resumed = (0..4).map(|_| resume(&rooms, call.0));
    let resumed = futures_util::future::join_all(resumed).await;
    let released = resumed
        .iter()
        .filter(|told| matches!(told, Told::Released(_)));
    assert_eq!(released.count(), 1);
    assert_eq!(runs(&house), 1);
}

proptest! {
    /// Any text that is not exactly one of ours is no statement, and each statement has one text.
    #[test]
    fn a_statement_has_one_text(at in 0_usize..400, byte in any::<u8>()) {
        let decision: DecisionId = "dec_01a21d5c38117644a6ac5fe4422bd0a5".parse().unwrap();
        let said = Statement {
            members: vec![Member { decision, action: Digest::of(b"x") }],
            vote: Vote::Approve,
            reason: String::new(),
            at_ms: 1,
            grant_ms: None,
            break_glass: false,
        };
        let text = said.text().unwrap();
        prop_assert_eq!(Statement::parse(&text).unwrap(), said.clone());
        let mut edited = text.clone().into_bytes();
        let at = at % edited.len();
        edited[at] = byte;
        if let Ok(edited) = String::from_utf8(edited) && edited != text {
            prop_assert!(Statement::parse(&edited).is_err() || Statement::parse(&edited).unwrap() != said);
        }
    }
}
