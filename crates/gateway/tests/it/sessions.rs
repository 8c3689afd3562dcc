//! Which call gets which session.

use std::sync::Arc;

use casemate_gateway::{Ask, Caller, Ending, Key, SessionError, Stores as _, Told};
use casemate_ledger::Kind;
use casemate_model::{Cause, ContextId, OutcomeStatus, Reason, SessionId, Within};
use casemate_policy::{Authenticator, Claims, Verified};
use casemate_ports::{Gone, ImageRef, KeeperError};

use crate::{
    house::{House, caller, cell, in_context, in_session, in_thread, owner, ran, refused, shell},
    session_keeper::Step,
};

const TRUE: &[&str] = &["true"];

/// R21, R22: the calls of a thread share one session; it is said when that is new.
#[tokio::test]
async fn a_thread_keeps_its_session() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (first, new) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert!(new);
    for _ in 0..3 {
        let again = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
        assert_eq!(again, (first, false));
    }
    assert_eq!(house.keeper.opened(), 1);
    assert_eq!(
        ran(&house.call(&rooms, in_session(first, TRUE)).await),
        (first, false)
    );
}

/// R23, I8, I10: threads, agents and tenants have sessions of their own.
#[tokio::test]
async fn no_two_threads_agents_or_tenants_share_one() {
    let house = House::with("thread", "");
    let rooms = house.rooms();
    let other_agent = Ask {
        agent: "other".into(),
        ..in_thread("t", TRUE)
    };
    let mut sessions = vec![
        ran(&house.call(&rooms, in_thread("t", TRUE)).await).0,
        ran(&house.call(&rooms, in_thread("T", TRUE)).await).0,
        ran(&house.call(&rooms, other_agent).await).0,
    ];
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 3);
    assert_eq!(house.keeper.opened(), 3);
}

/// Calls that come at one time do not open two sessions for one thread.
#[tokio::test]
async fn calls_at_one_time_open_one_session() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let call = || house.call(&rooms, in_thread("t", TRUE));
    let (a, b, c, d) = tokio::join!(call(), call(), call(), call());
    let told = [&a, &b, &c, &d].map(ran);
    assert!(
        told.iter().all(|(session, _)| *session == told[0].0),
        "{told:?}"
    );
    assert_eq!(told.iter().filter(|(_, new)| *new).count(), 1);
    assert_eq!(house.keeper.opened(), 1);
}

/// R32: without a thread, and in the mode `call`, a sandbox is for one call and destroyed after it.
#[tokio::test]
async fn a_call_of_its_own_leaves_nothing() {
    for (mode, ask) in [
        ("call", in_thread("t", TRUE)),
        ("call", shell(None, TRUE)),
        ("thread", shell(None, TRUE)),
        ("context", shell(None, TRUE)),
    ] {
        let house = House::new(mode);
        let rooms = house.rooms();
        let first = ran(&house.call(&rooms, ask.clone()).await);
        let second = ran(&house.call(&rooms, ask).await);
        assert!(first.1 && second.1 && first.0 != second.0, "{mode}");
        assert!(house.keeper.alive().is_empty(), "{mode}");
        assert!(rooms.list(&owner("local")).await.unwrap().is_empty());
    }
}

/// R32, I1: a refused call's sandbox is destroyed too, and nothing ran in it.
#[tokio::test]
async fn a_refused_calls_sandbox_is_destroyed() {
    let house = House::new("call");
    let rooms = house.rooms();
    let ask = Ask {
        key: Key::Absent,
        ..shell(None, TRUE)
    };
    let (reason, _) = refused(&house.call(&rooms, ask).await);
    assert_eq!(reason, Reason::MissingIdempotencyKey);
    assert_eq!(house.keeper.runs(), 0);
    assert!(house.keeper.alive().is_empty());
    assert_eq!(house.world.kinds(), [Kind::Denied]);
}

/// A session that never was, and another agent's or tenant's: one answer, and nothing runs.
#[tokio::test]
async fn anothers_session_is_unknown() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (mine, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    let runs = house.keeper.runs();
    let never = SessionId::new(1, [1; 10]);
    let other = |session| Ask {
        agent: "other".into(),
        ..in_session(session, TRUE)
    };
    let (reason, detail) = refused(&house.call(&rooms, other(mine)).await);
    let (_, unknown) = refused(&house.call(&rooms, other(never)).await);
    assert_eq!(reason, Reason::SessionUnknown);
    assert_eq!(
        detail.replace(&mine.to_string(), "X"),
        unknown.replace(&never.to_string(), "X")
    );
    // Another tenant is not let in at all; were it, it would find no more.
    let stranger = casemate_ports::Owner {
        tenant: "strangers".into(),
        agent: "local".into(),
    };
    let strange = Caller {
        claims: Verified::vouch(
            Claims {
                tenant: "strangers".into(),
                ..house.world.claims()
            },
            Authenticator::LocalUser,
        ),
        agent: "local".into(),
    };
    for session in [mine, never] {
        for error in [
            rooms.show(&stranger, session).await.unwrap_err(),
            rooms.destroy(&strange, session).await.unwrap_err(),
            rooms
                .destroy(&caller(&house, "other"), session)
                .await
                .unwrap_err(),
            rooms
                .open_context(&caller(&house, "other"), session)
                .await
                .unwrap_err(),
            rooms
                .read_file(&caller(&house, "other"), session, "a".into())
                .await
                .unwrap_err(),
            rooms
                .connect(&caller(&house, "other"), session, 80)
                .await
                .unwrap_err(),
        ] {
            assert!(
                matches!(error, SessionError::Unknown(id) if id == session),
                "{error}"
            );
            assert_eq!(error.reason(), Reason::SessionUnknown);
        }
    }
    assert_eq!(house.keeper.runs(), runs);
    assert_eq!(house.keeper.alive(), [mine]);
}

#[tokio::test]
async fn a_destroyed_session_is_gone_and_its_thread_gets_a_new_one() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (session, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    rooms
        .destroy(&caller(&house, "local"), session)
        .await
        .unwrap();
    assert!(house.keeper.alive().is_empty());
    let runs = house.keeper.runs();
    let (reason, detail) = refused(&house.call(&rooms, in_session(session, TRUE)).await);
    assert_eq!(reason, Reason::SessionGone);
    assert!(
        detail.contains(&session.to_string()) && detail.contains("destroyed"),
        "{detail}"
    );
    assert_eq!(house.keeper.runs(), runs);
    let again = rooms
        .destroy(&caller(&house, "local"), session)
        .await
        .unwrap_err();
    assert_eq!(again.reason(), Reason::SessionGone);
    let listed = rooms.list(&owner("local")).await.unwrap();
    assert_eq!(listed[0].ending(), Some(Ending::Kept(Gone::Destroyed)));
    let (next, new) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert!(new && next != session);
}

/// A keeper that cannot open a session leaves no trace of one, and the next call opens it.
#[tokio::test]
async fn a_session_that_could_not_be_opened_never_was() {
    let house = House::new("thread");
    let rooms = house.rooms();
    house.keeper.refuse_open(Some(|| KeeperError::Quota {
        quota: "memory_bytes".into(),
        of: "local".into(),
        limit: 10,
        used: 11,
    }));
    let told = house.call(&rooms, in_thread("t", TRUE)).await;
    let (reason, detail) = refused(&told);
    assert_eq!(reason, Reason::QuotaExceeded);
    assert!(
        detail.contains("memory_bytes") && detail.contains("11 of 10"),
        "{detail}"
    );
    let Told::Refused(told) = told else { panic!() };
    let quota = told.facts().quota.as_ref().unwrap();
    assert_eq!((quota.limit, quota.used), (10, 11));
    house.keeper.refuse_open(None);
    let (_, new) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert!(new);
    assert_eq!(house.keeper.runs(), 1);
}

/// Nothing runs in a session that is not on disk: it is destroyed, and the record says why nothing ran.
#[tokio::test]
async fn nothing_runs_in_a_session_that_cannot_be_remembered() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let store = Arc::new(house.store().open("local").await.unwrap());
    house.keeper.take_names(Some(store));
    let told = house.call(&rooms, in_thread("t", TRUE)).await;
    // Whether it is gone before the decision or after it is chance.
    match told {
        Told::Released(released) => {
            let outcome = released.outcome();
            assert_eq!(outcome.status, OutcomeStatus::Failed);
            assert_eq!((outcome.cause, outcome.exit), (Cause::Cancelled, None));
            let why = released.trouble().unwrap();
            assert!(why.contains("session"), "{why}");
            assert_eq!(house.world.kinds(), [Kind::Allowed, Kind::Outcome]);
        }
        told => {
            assert_eq!(refused(&told).0, Reason::SessionGone);
            assert_eq!(house.world.kinds(), [Kind::Denied]);
        }
    }
    assert_eq!(house.keeper.runs(), 0);
    assert!(house.keeper.alive().is_empty());
    let opened = rooms
        .open_session(&caller(&house, "local"), Some("t"), &house.policy())
        .await;
    assert!(opened.is_err());
    assert!(house.keeper.alive().is_empty());
    house.keeper.take_names(None);
    let (session, new) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert!(new);
    assert_eq!(house.keeper.alive(), [session]);
}

/// The kind of a session is its profile's: image, limits, quotas; its pool is stocked once.
#[tokio::test]
async fn a_session_is_of_its_profiles_kind() {
    let mut house = House::with("thread", "\n[quotas.session]\ncalls = 3\n");
    let text = String::from_utf8(house.profile.source().to_vec()).unwrap();
    let text = text.replace(
        "workspace = \"/workspace\"",
        "workspace = \"/workspace\"\nimage = \"data\"",
    );
    house.profile =
        casemate_policy::Profile::parse(text.as_bytes(), casemate_policy::Syntax::Toml).unwrap();
    let rooms = house.rooms();
    for thread in ["a", "b"] {
        ran(&house.call(&rooms, in_thread(thread, TRUE)).await);
    }
    let kinds = house.keeper.kinds();
    assert_eq!(kinds[0], kinds[1]);
    assert_eq!(
        kinds[0].image,
        ImageRef::Stored(casemate_model::Digest::of(b"data"))
    );
    assert_eq!(kinds[0].profile, house.profile.digest());
    assert_eq!(kinds[0].limits, house.profile.sandbox.limits);
    assert_eq!(kinds[0].quotas.session.calls, 3);
    assert!(kinds[0].python);
    let steps = house.keeper.steps();
    let stocked = steps.iter().filter(|step| matches!(step, Step::Stock(_)));
    assert_eq!(stocked.count(), 1);
    house.profile = casemate_policy::Profile::parse(
        text.replace("\"data\"", "\"missing\"").as_bytes(),
        casemate_policy::Syntax::Toml,
    )
    .unwrap();
    let told = house.call(&house.rooms(), in_thread("c", TRUE)).await;
    let (reason, detail) = refused(&told);
    assert_eq!(reason, Reason::InvalidProfile);
    assert!(detail.contains("missing"), "{detail}");
}

/// A session that was opened under another version of the profile is not used under this one.
#[tokio::test]
async fn a_session_does_not_outlive_its_profile() {
    let mut house = House::new("thread");
    let (session, _) = ran(&house.call(&house.rooms(), in_thread("t", TRUE)).await);
    house.profile = House::with("thread", "\n# Another version.\n").profile;
    let rooms = house.rooms();
    rooms.reconcile().await.unwrap();
    let call = || house.call(&rooms, in_thread("t", TRUE));
    let (a, b, c) = tokio::join!(call(), call(), call());
    let (gone, ran): (Vec<_>, Vec<_>) = [a, b, c]
        .into_iter()
        .partition(|told| matches!(told, Told::Refused(_)));
    assert_eq!((gone.len(), ran.len()), (1, 2), "{gone:?} {ran:?}");
    let (reason, detail) = refused(&gone[0]);
    assert_eq!(reason, Reason::SessionGone);
    assert!(detail.contains("profile"), "{detail}");
    assert!(!house.keeper.alive().contains(&session), "it lives on");
}

fn thread(name: &str) -> Within {
    Within {
        thread: Some(name.into()),
        ..Within::default()
    }
}

fn context_of(told: &Told) -> (Option<ContextId>, bool) {
    match told {
        Told::Released(released) => {
            let lodging = released.facts().lodging.unwrap();
            (lodging.context, lodging.new_context)
        }
        other => panic!("{other:?}"),
    }
}

/// The mode `context`: a thread's cells share an interpreter, its other calls share the files.
#[tokio::test]
async fn a_threads_cells_share_an_interpreter() {
    let house = House::new("context");
    let rooms = house.rooms();
    let (first, new) = context_of(&house.call(&rooms, cell(thread("t"), TRUE)).await);
    assert!(first.is_some() && new);
    let again = context_of(&house.call(&rooms, cell(thread("t"), TRUE)).await);
    assert_eq!(again, (first, false));
    let shell = context_of(&house.call(&rooms, in_thread("t", TRUE)).await);
    assert_eq!(shell, (None, false));
    let other = context_of(&house.call(&rooms, cell(thread("u"), TRUE)).await);
    assert_ne!(other.0, first);
    assert_eq!(house.keeper.opened(), 2);
    // After a restart it is still the thread's.
    let rooms = house.rooms();
    assert_eq!(rooms.reconcile().await.unwrap().kept.len(), 2);
    let later = context_of(&house.call(&rooms, cell(thread("t"), TRUE)).await);
    assert_eq!(later, (first, false));
}

/// A call can name its thread's own interpreter in any mode in which a thread has a place: there is one, which another
/// process finds again, and another thread's calls have nothing to do with it.
#[tokio::test]
async fn a_thread_has_one_interpreter_of_its_own() {
    let own = |name: &str| Within {
        interpreter: true,
        ..thread(name)
    };
    let house = House::new("thread");
    let rooms = house.rooms();
    let call = |name: &str| house.call(&rooms, cell(own(name), TRUE));
    // At once: they do not start two.
    house.keeper.start_slowly();
    let (a, b, ()) = tokio::join!(call("t"), call("t"), async { house.keeper.release(8) });
    let (a, b) = (context_of(&a), context_of(&b));
    assert!(a.0.is_some() && a.0 == b.0 && a.1 != b.1, "{a:?} {b:?}");
    let without = context_of(&house.call(&rooms, cell(thread("t"), TRUE)).await);
    assert_eq!(without, (None, false));
    assert_ne!(context_of(&call("u").await).0, a.0);
    let rooms = house.rooms();
    rooms.reconcile().await.unwrap();
    let later = context_of(&house.call(&rooms, cell(own("t"), TRUE)).await);
    assert_eq!(later, (a.0, false));
    // Where nothing lasts there is none, and nothing that is no cell gets one.
    let shell = context_of(&house.call(&rooms, shell(Some(own("t")), TRUE)).await);
    assert_eq!(shell, (None, false));
    let house = House::new("call");
    let alone = context_of(&house.call(&house.rooms(), cell(own("t"), TRUE)).await);
    assert_eq!(alone, (None, false));
}

/// A context that died is reported once; the next cell gets a new one.
#[tokio::test]
async fn a_dead_context_is_reported_once() {
    let house = House::new("context");
    let rooms = house.rooms();
    let told = house.call(&rooms, cell(thread("t"), TRUE)).await;
    let (session, _) = ran(&told);
    let context = context_of(&told).0.unwrap();
    house.keeper.kill_context(session, context);
    let runs = house.keeper.runs();
    let (reason, detail) = refused(&house.call(&rooms, cell(thread("t"), TRUE)).await);
    assert_eq!(reason, Reason::ContextUnknown);
    assert!(detail.contains(&context.to_string()), "{detail}");
    assert_eq!(house.keeper.runs(), runs);
    let (next, new) = context_of(&house.call(&rooms, cell(thread("t"), TRUE)).await);
    assert!(new && next != Some(context));
    let (reason, _) = refused(&house.call(&rooms, cell(in_context(context), TRUE)).await);
    assert_eq!(reason, Reason::ContextUnknown);
}

#[tokio::test]
async fn a_named_context_is_its_owners_and_its_languages() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (session, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    let opened = rooms.open_context(&caller(&house, "local"), session).await;
    let context = opened.unwrap().value;
    let ran_in = context_of(&house.call(&rooms, cell(in_context(context), TRUE)).await);
    assert_eq!(ran_in, (Some(context), false));
    let runs = house.keeper.runs();
    let foreign = Ask {
        agent: "other".into(),
        ..cell(in_context(context), TRUE)
    };
    let both = Within {
        session: Some(session),
        ..thread("t")
    };
    let elsewhere = Within {
        context: Some(context),
        ..thread("u")
    };
    for (ask, expected) in [
        (foreign, Reason::ContextUnknown),
        (
            shell(Some(in_context(context)), TRUE),
            Reason::ContextMismatch,
        ),
        (
            cell(in_context(ContextId::new(1, [1; 10])), TRUE),
            Reason::ContextUnknown,
        ),
        (shell(Some(both), TRUE), Reason::InvalidCall),
        (cell(elsewhere, TRUE), Reason::ContextUnknown),
        (in_thread("a\nb", TRUE), Reason::InvalidCall),
        (in_thread("", TRUE), Reason::InvalidCall),
        (in_thread(&"x".repeat(256), TRUE), Reason::InvalidCall),
    ] {
        let shown = format!("{ask:?}");
        let (reason, _) = refused(&house.call(&rooms, ask).await);
        assert_eq!(reason, expected, "{shown}");
    }
    assert_eq!(house.keeper.runs(), runs);
    rooms
        .close_context(&caller(&house, "local"), context)
        .await
        .unwrap();
    let closed = rooms.close_context(&caller(&house, "local"), context).await;
    assert_eq!(closed.unwrap_err().reason(), Reason::ContextUnknown);
}

/// The bytes that are decided on are the bytes that run.
#[tokio::test]
async fn a_cell_that_is_not_its_source_does_not_run() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let base = cell(thread("t"), TRUE);
    let mut other = base.clone();
    other.code.as_mut().unwrap().source.push(b'0');
    let mut without = base.clone();
    without.code = None;
    let mut nothing_runs_it = base.clone();
    nothing_runs_it.command.cell = None;
    let mut file = base;
    file.code.as_mut().unwrap().input = Some("a.py".into());
    for ask in [other, without, nothing_runs_it, file] {
        assert_eq!(
            refused(&house.call(&rooms, ask).await).0,
            Reason::InvalidCall
        );
    }
    assert_eq!(house.keeper.runs(), 0);
}

/// A cell that no keeper would take is refused, and does not cost its session.
#[tokio::test]
async fn a_cell_that_is_too_large_is_refused() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let of = |bytes: usize| {
        let mut ask = cell(thread("t"), TRUE);
        let source = vec![b'#'; bytes];
        ask.command.cell.as_mut().unwrap().source = source.clone();
        ask.code.as_mut().unwrap().source = source;
        ask
    };
    let most = casemate_gateway::MAX_CELL_BYTES;
    let (reason, detail) = refused(&house.call(&rooms, of(most + 1)).await);
    assert_eq!(reason, Reason::InvalidCall);
    assert!(detail.contains(&most.to_string()), "{detail}");
    assert_eq!(house.keeper.runs(), 0);
    ran(&house.call(&rooms, of(most)).await);
}

/// Where a call runs is part of what is decided and recorded.
#[tokio::test]
async fn the_record_names_the_session_and_binds_what_was_asked() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (session, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    let record = &house.world.records()[0];
    assert_eq!(
        record.entry.summary["lodging"]["session"],
        session.to_string()
    );
    assert_eq!(record.entry.summary["lodging"]["new_session"], true);
    assert_eq!(house.world.content(record)["call"]["within"]["thread"], "t");
}

/// R131: a tool runs what it is for: a profile that lists only `python` lets no other program in.
#[tokio::test]
async fn python_is_not_a_name_for_any_program() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let python = |words: &[&str]| Ask {
        tool: "python".into(),
        ..in_thread("t", words)
    };
    let script = Ask {
        code: Some(casemate_gateway::Code {
            input: Some("a.py".into()),
            source: b"1".to_vec(),
        }),
        ..python(&["python3", "/bin/sh"])
    };
    let a_cell_of_shell = Ask {
        tool: "shell".into(),
        ..cell(thread("t"), TRUE)
    };
    for ask in [
        python(TRUE),
        python(&["python3", "-c", "1"]),
        python(&["/bin/sh", "/workspace/in/a.py"]),
        script,
        a_cell_of_shell,
    ] {
        let (reason, detail) = refused(&house.call(&rooms, ask).await);
        assert_eq!(reason, Reason::InvalidCall, "{detail}");
    }
    assert_eq!(house.keeper.runs(), 0);
}

/// The session of another route is named as such, and left alone.
#[tokio::test]
async fn a_session_of_another_route_is_left_alone() {
    let mut house = House::new("thread");
    let source = String::from_utf8(house.profile.source().to_vec()).unwrap();
    let source = source.replace("route = \"serve\"", "route = \"second\"");
    let second = casemate_policy::Profile::parse(source.as_bytes(), casemate_policy::Syntax::Toml);
    house.others.push(second.unwrap());
    let rooms = house.rooms();
    let by = |route: Option<&str>, ask| casemate_gateway::NewCall {
        route: route.map(str::to_owned),
        ..house.new_call(ask)
    };
    let first = house.send(&rooms, by(Some("serve"), in_thread("t", TRUE)));
    let (session, _) = ran(&first.await.0);
    for ask in [in_thread("t", TRUE), in_session(session, TRUE)] {
        let (reason, detail) = refused(&house.send(&rooms, by(Some("second"), ask)).await.0);
        assert_eq!(reason, Reason::InvalidCall);
        assert!(
            detail.contains(&session.to_string()) && detail.contains("`serve`"),
            "{detail}"
        );
    }
    assert_eq!(house.keeper.runs(), 1);
    // Whoever names the session or its thread has named the route.
    for ask in [in_thread("t", TRUE), in_session(session, TRUE)] {
        let again = ran(&house.send(&rooms, by(None, ask)).await.0);
        assert_eq!(again, (session, false));
    }
    let (reason, detail) = refused(&house.send(&rooms, by(None, in_thread("u", TRUE))).await.0);
    assert_eq!(reason, Reason::InvalidCall);
    assert!(detail.contains("second, serve"), "{detail}");
    assert_eq!(house.keeper.alive(), [session]);
}

/// Odd paths are refused before anybody has to resolve them.
#[tokio::test]
async fn odd_paths_are_refused() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let (session, _) = ran(&house.call(&rooms, in_thread("t", TRUE)).await);
    let long = "x".repeat(4_096);
    for path in [
        "",
        "/etc/passwd",
        "..",
        "a/../../b",
        "a//b",
        "./a",
        "a/",
        "a\0",
        &long,
    ] {
        let error = rooms
            .read_file(&caller(&house, "local"), session, path.into())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidCall, "{path:?}");
    }
}
