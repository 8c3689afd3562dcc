//! Answers in their three forms, with keys and signatures that are real: whoever signs how, one person is one voice.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use casemate_answers::{Message, SigningKey};
use casemate_bundle::{Approver, PolicyKey, PolicyStore};
use casemate_gateway::{
    AnswerError, Answered, Member, SignedAnswer, Statement, Told, Vote, VoteError,
};
use casemate_ledger::Kind;
use casemate_model::{ApprovalState, DecisionId, Digest, Reason};

use crate::{
    authenticator::{Authenticator, Ceremony},
    house::{House, Rooms, in_thread},
    waits::{self, held, resume, runs, state},
};

type Call = (DecisionId, Digest);

/// A house whose approvers are in a policy store.
fn house(rules: &str) -> (House, PolicyStore) {
    let mut house = waits::house(rules, &[]);
    let store = PolicyStore::open(&house.world.dir.path().join("policy")).unwrap();
    house.approvers.1 = Some(store.clone());
    (house, store)
}

fn enlist(store: &PolicyStore, user: &str, key: &str) {
    let approver = Approver::new(user, [], key.parse().unwrap()).unwrap();
    store.enlist(approver).unwrap();
}

fn note_key(store: &PolicyStore, user: &str) -> PolicyKey {
    let key = PolicyKey::generate(user).unwrap();
    enlist(store, user, &key.public().to_string());
    key
}

fn passkey(store: &PolicyStore, user: &str) -> Authenticator {
    let authenticator = Authenticator::es256();
    enlist(store, user, &authenticator.enlisted());
    authenticator
}

fn service(store: &PolicyStore, user: &str) -> SigningKey {
    let key = SigningKey::generate().unwrap();
    enlist(store, user, &key.public().unwrap().to_string());
    key
}

fn text(house: &House, calls: &[Call], vote: Vote) -> String {
    let members = calls.iter();
    let members = members.map(|&(decision, action)| Member { decision, action });
    let statement = Statement {
        members: members.collect(),
        vote,
        reason: if vote == Vote::Approve { "" } else { "no" }.into(),
        at_ms: waits::now(house),
        grant_ms: None,
        break_glass: false,
    };
    statement.text().unwrap()
}

fn consent(house: &House, call: Call) -> String {
    text(house, &[call], Vote::Approve)
}

fn by_note(key: &PolicyKey, text: &str) -> SignedAnswer {
    SignedAnswer::note(key.sign_note(text))
}

fn by_passkey(authenticator: &Authenticator, text: &str) -> SignedAnswer {
    SignedAnswer::Passkey {
        statement: text.to_owned(),
        assertion: serde_json::from_value(authenticator.answer(text)).unwrap(),
    }
}

fn by_service(house: &House, key: &SigningKey, text: &str) -> SignedAnswer {
    let at_s = waits::now(house) / 1_000;
    SignedAnswer::Webhook {
        webhook: Message {
            id: "msg_1".into(),
            timestamp: at_s.to_string(),
            signature: key.sign("msg_1", at_s, text.as_bytes()),
            body: text.to_owned(),
        },
    }
}

async fn answer(
    house: &House,
    rooms: &Rooms,
    call: Call,
    signed: &SignedAnswer,
) -> Result<ApprovalState, AnswerError> {
    let answered = Box::pin(rooms.answer(&waits::claims(house), call.0, signed)).await;
    answered.map(|Answered { state, .. }| state)
}

async fn call(house: &House, rooms: &Rooms, thread: &str) -> Call {
    held(house, rooms, in_thread(thread, &["true"])).await
}

/// The records of answers that did not count.
fn refusals(house: &House) -> Vec<serde_json::Value> {
    let records = house.world.records().into_iter();
    let records = records.filter(|record| {
        record.entry.kind == Kind::Denied && record.entry.summary["tool"] == "approval.answer"
    });
    records.map(|record| record.entry.summary).collect()
}

/// R163: three people, each in another form, let a call run once; each answer is kept as it came.
#[tokio::test]
async fn consent_in_three_forms_is_consent() {
    let (house, store) = house("[approvals]\nneeded = 3");
    let rooms = house.rooms();
    let (alice, bob) = (note_key(&store, "alice"), passkey(&store, "bob"));
    let deployer = service(&store, "deployer");
    let call = call(&house, &rooms, "t").await;
    let text = consent(&house, call);
    let signed = [
        by_note(&alice, &text),
        by_passkey(&bob, &text),
        by_service(&house, &deployer, &text),
    ];
    let mut states = Vec::new();
    for signed in &signed {
        states.push(answer(&house, &rooms, call, signed).await.unwrap());
    }
    let pending = ApprovalState::Pending;
    assert_eq!(states, [pending, pending, ApprovalState::Approved]);
    let case = rooms
        .approval(&waits::claims(&house), call.0)
        .await
        .unwrap();
    let kept: Vec<_> = case
        .view
        .votes
        .iter()
        .map(|vote| vote.signed.clone())
        .collect();
    assert_eq!(kept, signed);
    for signed in &kept {
        store.open_answer(signed, waits::now(&house)).unwrap();
    }
    assert!(matches!(resume(&rooms, call.0).await, Told::Released(_)));
    assert_eq!(runs(&house), 1);
}

/// Who answers by two keys is one person.
#[tokio::test]
async fn one_person_in_two_forms_is_one_voice() {
    let (house, store) = house("[approvals]\nneeded = 2");
    let rooms = house.rooms();
    let (note, passkey) = (note_key(&store, "alice"), passkey(&store, "alice"));
    let service = service(&store, "alice");
    let call = call(&house, &rooms, "t").await;
    let text = consent(&house, call);
    let first = answer(&house, &rooms, call, &by_passkey(&passkey, &text)).await;
    assert_eq!(first.unwrap(), ApprovalState::Pending);
    for again in [by_note(&note, &text), by_service(&house, &service, &text)] {
        let refused = answer(&house, &rooms, call, &again).await;
        let expected = VoteError::Again("alice".into());
        assert!(matches!(refused, Err(AnswerError::Vote(error)) if error == expected));
    }
    assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Pending);
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    assert_eq!((runs(&house), refusals(&house).len()), (0, 2));
}

/// Two people at the same time, in two forms: both count, and the call runs once.
#[tokio::test(flavor = "multi_thread")]
async fn two_forms_in_the_same_millisecond_both_count() {
    let (house, store) = house("[approvals]\nneeded = 2");
    let rooms = house.rooms();
    let (bob, deployer) = (passkey(&store, "bob"), service(&store, "deployer"));
    let call = call(&house, &rooms, "t").await;
    let text = consent(&house, call);
    let (one, other) = (
        by_passkey(&bob, &text),
        by_service(&house, &deployer, &text),
    );
    let (one, other) = tokio::join!(
        answer(&house, &rooms, call, &one),
        answer(&house, &rooms, call, &other)
    );
    let mut states = [one.unwrap(), other.unwrap()];
    states.sort_by_key(|state| state.as_str());
    assert_eq!(states, [ApprovalState::Approved, ApprovalState::Pending]);
    assert!(matches!(resume(&rooms, call.0).await, Told::Released(_)));
    assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
    assert_eq!(runs(&house), 1);
}

/// Who was dismissed between consent and run does not count, whatever form the consent had.
#[tokio::test]
async fn consent_by_a_dismissed_passkey_does_not_count() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let (bob, deployer) = (passkey(&store, "bob"), service(&store, "deployer"));
    for (thread, user) in [("t", "bob"), ("u", "deployer")] {
        let call = call(&house, &rooms, thread).await;
        let text = consent(&house, call);
        let signed = match user {
            "bob" => by_passkey(&bob, &text),
            _ => by_service(&house, &deployer, &text),
        };
        let approved = answer(&house, &rooms, call, &signed).await;
        assert_eq!(approved.unwrap(), ApprovalState::Approved);
        assert!(store.dismiss(user).unwrap());
        assert!(matches!(resume(&rooms, call.0).await, Told::Later(_)));
        assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Pending);
    }
    assert_eq!(runs(&house), 0);
}

/// Whoever asked does not answer, with whichever key.
#[tokio::test]
async fn the_requester_cannot_answer_by_a_passkey() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let user = house.world.claims().subject;
    let (passkey, service) = (passkey(&store, &user), service(&store, &user));
    let call = call(&house, &rooms, "t").await;
    let text = consent(&house, call);
    for signed in [
        by_passkey(&passkey, &text),
        by_service(&house, &service, &text),
    ] {
        let refused = answer(&house, &rooms, call, &signed).await;
        let expected = VoteError::Requester(user.clone());
        assert!(matches!(refused, Err(AnswerError::Vote(error)) if error == expected));
    }
    assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Pending);
    assert_eq!((runs(&house), refusals(&house).len()), (0, 2));
}

/// A signature of the same form, one bit of which is another.
fn with_a_flipped_bit(signature: &str, byte: usize) -> String {
    let mut bytes = BASE64_STANDARD
        .decode(signature.strip_prefix("v1a,").unwrap())
        .unwrap();
    bytes[byte] ^= 1;
    format!("v1a,{}", BASE64_STANDARD.encode(bytes))
}

/// None of these answers changes anything, each is refused for its reason, and each refusal is on record.
async fn changes_nothing(
    house: &House,
    rooms: &Rooms,
    call: Call,
    form: &str,
    bad: &[(SignedAnswer, &str)],
) {
    for (signed, why) in bad {
        let refused = answer(house, rooms, call, signed).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::ApprovalInvalid, "{signed:?}");
        assert!(refused.to_string().contains(why), "{why}: {refused}");
        let recorded = refusals(house).pop().unwrap();
        let subject = &recorded["subject"];
        assert!(subject["why"].to_string().contains(why), "{recorded}");
        assert_eq!(subject["form"], form, "{recorded}");
    }
    let case = rooms.approval(&waits::claims(house), call.0).await.unwrap();
    assert_eq!(case.view.state, ApprovalState::Pending);
    assert!(case.view.votes.is_empty() && runs(house) == 0);
    assert_eq!(refusals(house).len(), bad.len());
}

/// Forged, edited, of a stranger, of another time, with two signatures, about another call: no message of a service counts.
#[tokio::test]
async fn a_message_that_is_not_genuine_changes_nothing_and_is_recorded() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let deployer = service(&store, "deployer");
    let one = call(&house, &rooms, "t").await;
    let other = call(&house, &rooms, "u").await;
    let text = consent(&house, one);
    let message = |change: fn(&mut Message)| {
        let SignedAnswer::Webhook { mut webhook } = by_service(&house, &deployer, &text) else {
            panic!("not a message");
        };
        change(&mut webhook);
        SignedAnswer::Webhook { webhook }
    };
    let stale_s = waits::now(&house) / 1_000 - 301;
    let stale = SignedAnswer::Webhook {
        webhook: Message {
            id: "msg_2".into(),
            timestamp: stale_s.to_string(),
            signature: deployer.sign("msg_2", stale_s, text.as_bytes()),
            body: text.clone(),
        },
    };
    let strange = "not signed by the key of an enlisted service, or was changed";
    let bad = [
        (
            message(|m| m.signature = with_a_flipped_bit(&m.signature, 0)),
            strange,
        ),
        (
            message(|m| m.signature = with_a_flipped_bit(&m.signature, 31)),
            strange,
        ),
        (
            message(|m| m.signature = with_a_flipped_bit(&m.signature, 40)),
            strange,
        ),
        (
            message(|m| m.signature = m.signature.replace("v1a,", "v1,")),
            "`v1a`",
        ),
        (
            message(|m| m.body = m.body.replace("approve", "deny")),
            strange,
        ),
        (message(|m| m.id = "msg_9".into()), strange),
        (
            message(|m| m.signature = format!("{} {}", m.signature, m.signature)),
            "several signatures",
        ),
        (message(|m| m.timestamp.clear()), "`webhook-timestamp`"),
        (stale, "seconds off"),
        (
            by_service(&house, &SigningKey::generate().unwrap(), &text),
            strange,
        ),
        (
            by_service(&house, &deployer, &consent(&house, other)),
            "not about this call",
        ),
        (
            by_service(&house, &deployer, &consent(&house, (one.0, other.1))),
            "another form of this call",
        ),
    ];
    changes_nothing(&house, &rooms, one, "webhook", &bad).await;
}

/// Edited, of a stranger, of somebody unverified, about another call: no assertion of a passkey counts.
#[tokio::test]
async fn an_assertion_that_is_not_genuine_changes_nothing_and_is_recorded() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let bob = passkey(&store, "bob");
    let one = call(&house, &rooms, "t").await;
    let other = call(&house, &rooms, "u").await;
    let text = consent(&house, one);
    let edited = |statement: &str| match by_passkey(&bob, &text) {
        SignedAnswer::Passkey { assertion, .. } => SignedAnswer::Passkey {
            statement: statement.to_owned(),
            assertion,
        },
        _ => panic!("not an assertion"),
    };
    let mut unverified = Ceremony::honest(&text);
    unverified.flags = 0x01;
    let unverified = SignedAnswer::Passkey {
        statement: text.clone(),
        assertion: serde_json::from_value(bob.sign(&unverified)).unwrap(),
    };
    let another = "the passkey signed something else";
    let bad = [
        (
            by_passkey(&Authenticator::es256(), &text),
            "not one of an approver",
        ),
        (edited(&text.replace("approve", "deny")), another),
        (edited(&consent(&house, other)), another),
        (unverified, "did not verify its user"),
        (by_passkey(&bob, "approve it all\n"), "not a statement"),
        (
            by_passkey(&bob, &consent(&house, other)),
            "not about this call",
        ),
    ];
    changes_nothing(&house, &rooms, one, "passkey", &bad).await;
}

/// What was answered once does not count again: not for this call, not for the next one, not after it ran.
#[tokio::test]
async fn an_answer_that_comes_again_does_not_count_again() {
    let (house, store) = house("[approvals]\nneeded = 2");
    let rooms = house.rooms();
    let (bob, deployer) = (passkey(&store, "bob"), service(&store, "deployer"));
    let call = call(&house, &rooms, "t").await;
    let text = consent(&house, call);
    let signed = [
        by_passkey(&bob, &text),
        by_service(&house, &deployer, &text),
    ];
    answer(&house, &rooms, call, &signed[0]).await.unwrap();
    let again = answer(&house, &rooms, call, &signed[0]).await;
    let expected = VoteError::Again("bob".into());
    assert!(matches!(again, Err(AnswerError::Vote(error)) if error == expected));
    answer(&house, &rooms, call, &signed[1]).await.unwrap();
    assert!(matches!(resume(&rooms, call.0).await, Told::Released(_)));
    let next = self::call(&house, &rooms, "t").await;
    for signed in &signed {
        let over = answer(&house, &rooms, call, signed).await;
        let expected = VoteError::Over(ApprovalState::Consumed);
        assert!(matches!(over, Err(AnswerError::Vote(error)) if error == expected));
        let other = answer(&house, &rooms, next, signed).await;
        assert!(matches!(
            other,
            Err(AnswerError::Vote(VoteError::OtherCall))
        ));
    }
    assert_eq!(runs(&house), 1);
}

/// A copy of a passkey is found out by its counter; one answer about two calls comes twice all the same.
#[tokio::test]
async fn a_passkey_whose_counter_went_back_does_not_count() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let mut bob = passkey(&store, "bob");
    let calls = [
        call(&house, &rooms, "t").await,
        call(&house, &rooms, "u").await,
    ];
    bob.count = 7;
    let both = by_passkey(&bob, &text(&house, &calls, Vote::Approve));
    for call in calls {
        let state = answer(&house, &rooms, call, &both).await.unwrap();
        assert_eq!(state, ApprovalState::Approved);
    }
    let next = call(&house, &rooms, "v").await;
    for count in [7, 6, 0] {
        bob.count = count;
        let signed = by_passkey(&bob, &consent(&house, next));
        let refused = answer(&house, &rooms, next, &signed).await;
        let Err(AnswerError::Signature(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("counter"), "{why}");
    }
    assert_eq!(state(&house, &rooms, next.0).await, ApprovalState::Pending);
    bob.count = 8;
    let signed = by_passkey(&bob, &consent(&house, next));
    let state = answer(&house, &rooms, next, &signed).await.unwrap();
    assert_eq!(state, ApprovalState::Approved);
}

/// What is wrong with our files is not said to be wrong with the signature, neither to whoever answers nor on record; and the
/// same answer counts when they are mended.
#[tokio::test]
async fn a_fault_of_ours_is_not_a_bad_signature() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let mut bob = passkey(&store, "bob");
    bob.count = 1;
    let call = call(&house, &rooms, "t").await;
    let signed = by_passkey(&bob, &consent(&house, call));
    for name in ["counters", "approvers"] {
        let path = store.path().join(name);
        let good = std::fs::read(&path).ok();
        std::fs::write(&path, "damaged\n").unwrap();
        let refused = answer(&house, &rooms, call, &signed).await.unwrap_err();
        assert!(matches!(refused, AnswerError::Approvers(_)), "{refused:?}");
        assert_eq!(refused.reason(), Reason::RecordUnavailable, "{name}");
        match good {
            Some(good) => std::fs::write(&path, good).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert_eq!(state(&house, &rooms, call.0).await, ApprovalState::Pending);
    }
    let refusals = refusals(&house);
    assert_eq!(refusals.len(), 2);
    for summary in &refusals {
        assert_eq!(summary["reason"], "record_unavailable", "{summary}");
        assert!(!summary.to_string().contains("does not count"), "{summary}");
    }
    let taken = answer(&house, &rooms, call, &signed).await.unwrap();
    assert_eq!(taken, ApprovalState::Approved);
}

/// Whoever holds the lock of the store keeps the answer waiting, and nothing else of its thread: here, what would let go of it.
#[tokio::test]
async fn an_answer_that_waits_for_the_store_blocks_nobody() {
    let (house, store) = house("");
    let rooms = house.rooms();
    let mut bob = passkey(&store, "bob");
    bob.count = 1;
    let call = call(&house, &rooms, "t").await;
    let signed = by_passkey(&bob, &consent(&house, call));
    let lock = std::fs::File::open(store.path()).unwrap();
    lock.lock().unwrap();
    let (state, ()) = tokio::join!(answer(&house, &rooms, call, &signed), async {
        tokio::task::yield_now().await;
        drop(lock);
    });
    assert_eq!(state.unwrap(), ApprovalState::Approved);
}
