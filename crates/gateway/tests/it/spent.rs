//! Budgets, loops and switches: what stops a call that nothing else would stop.

use casemate_authority::{Position, SwitchKind};
use casemate_gateway::Told;
use casemate_ledger::Kind;
use casemate_model::{Reason, Within};
use casemate_policy::{Profile, Syntax};

use crate::{
    house::{House, caller, cell, in_context, in_session, in_thread, ran, refused, shell},
    session_keeper::Step,
};

fn runs(house: &House) -> usize {
    let steps = house.keeper.steps();
    let runs = steps.iter().filter(|step| matches!(step, Step::Run(..)));
    runs.count()
}

/// R65, R159: a budget is set aside before a call and counted after it; when it is used up, nothing runs, and that is on record.
#[tokio::test]
async fn a_budget_is_not_exceeded() {
    let house = House::with("thread", "\n[budgets.thread]\ncalls = 2\n");
    let rooms = house.rooms();
    for _ in 0..2 {
        ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    }
    let (reason, detail) = refused(&house.call(&rooms, in_thread("t", &["true"])).await);
    assert_eq!(reason, Reason::BudgetExhausted, "{detail}");
    assert!(detail.contains("2 calls for each thread"), "{detail}");
    assert_eq!(runs(&house), 2);
    assert_eq!(house.world.kinds().last(), Some(&Kind::Denied));
    // Another thread has its own.
    ran(&house.call(&rooms, in_thread("u", &["true"])).await);
}

/// Whoever names a thread's session or its context is in the thread all the same: its budget is not passed, nor its loops.
#[tokio::test]
async fn naming_the_session_or_the_context_does_not_leave_the_thread() {
    let budget = House::with("thread", "\n[budgets.thread]\ncalls = 1\n");
    let loops = House::new("thread");
    for (house, words, times, expected) in [
        (&budget, "true", 1, Reason::BudgetExhausted),
        (&loops, "false", 3, Reason::LoopDetected),
    ] {
        let rooms = house.rooms();
        let mut session = None;
        for _ in 0..times {
            session = Some(ran(&house.call(&rooms, in_thread("t", &[words])).await).0);
        }
        let session = session.unwrap();
        let context = rooms.open_context(&caller(house, "local"), session).await;
        let context = context.unwrap().value;
        let before = runs(house);
        for ask in [
            in_session(session, &[words]),
            shell(Some(in_context(context)), &[words]),
        ] {
            let (reason, detail) = refused(&house.call(&rooms, ask).await);
            assert_eq!(reason, expected, "{detail}");
        }
        assert_eq!(runs(house), before);
    }
}

/// R65: asking for approval by the session counts against the thread, too.
#[tokio::test]
async fn approvals_asked_for_by_the_session_are_the_threads() {
    let mut house = House::with("thread", "\n[budgets.thread]\napprovals = 1\n");
    let source = String::from_utf8(house.profile.source().to_vec()).unwrap();
    let source = source
        .replace(
            "allowed = [\"python\", \"shell\"]",
            "allowed = [\"python\"]",
        )
        .replace("approval_required = []", "approval_required = [\"shell\"]");
    house.profile = Profile::parse(source.as_bytes(), Syntax::Toml).unwrap();
    let rooms = house.rooms();
    let in_t = Within {
        thread: Some("t".into()),
        ..Within::default()
    };
    let (session, _) = ran(&house.call(&rooms, cell(in_t, &["true"])).await);
    let first = house.call(&rooms, in_thread("t", &["true"])).await;
    assert!(matches!(first, Told::Held(_)), "{first:?}");
    let second = house.call(&rooms, in_session(session, &["true"])).await;
    let (reason, detail) = refused(&second);
    assert_eq!(reason, Reason::BudgetExhausted, "{detail}");
    assert_eq!(rooms.waiting_count(), 1);
}

/// What a call did not use is given back; what others have set aside is not there.
#[tokio::test]
async fn what_is_set_aside_is_given_back() {
    let house = House::with("thread", "\n[budgets.agent_day]\ntime_ms = 130_000\n");
    let rooms = house.rooms();
    // Each sets 60 s aside, and uses 12 ms.
    for _ in 0..5 {
        ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    }
    let waits = |thread: &'static str| house.call(&rooms, in_thread(thread, &["wait"]));
    let third = async {
        while house.keeper.running() < 2 {
            tokio::task::yield_now().await;
        }
        let told = house.call(&rooms, in_thread("c", &["true"])).await;
        house.keeper.release(2);
        refused(&told)
    };
    let (first, second, (reason, detail)) = tokio::join!(waits("a"), waits("b"), third);
    ran(&first);
    ran(&second);
    assert_eq!(reason, Reason::BudgetExhausted, "{detail}");
    ran(&house.call(&rooms, in_thread("c", &["true"])).await);
}

/// The same failure three times in a row stops the call in its thread; progress, another thread or another call does not.
#[tokio::test]
async fn a_loop_is_stopped() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let fails = |thread: &str| house.call(&rooms, in_thread(thread, &["false"]));
    for _ in 0..3 {
        ran(&fails("t").await);
    }
    let (reason, detail) = refused(&fails("t").await);
    assert_eq!(reason, Reason::LoopDetected, "{detail}");
    assert_eq!(runs(&house), 3);
    ran(&fails("u").await);
    ran(&house.call(&rooms, in_thread("t", &["false", "2"])).await);
    let (reason, _) = refused(&fails("t").await);
    assert_eq!(
        reason,
        Reason::LoopDetected,
        "another failure is no progress"
    );
    ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    ran(&fails("t").await);
}

/// A denial counts as a failure: whoever is told no three times is not asked about a fourth.
#[tokio::test]
async fn equal_denials_are_a_loop() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let ask = || {
        let mut ask = in_thread("t", &["true"]);
        ask.tool = "rocket".into();
        ask
    };
    for _ in 0..3 {
        let (reason, _) = refused(&house.call(&rooms, ask()).await);
        assert_ne!(reason, Reason::LoopDetected);
    }
    let (reason, _) = refused(&house.call(&rooms, ask()).await);
    assert_eq!(reason, Reason::LoopDetected);
}

/// R258: what runs when a switch is thrown is killed, and does not come back with the switch.
#[tokio::test]
async fn a_switch_stops_what_runs() {
    let house = House::new("thread");
    let rooms = house.rooms();
    let thrown = async {
        while house.keeper.running() < 1 {
            tokio::task::yield_now().await;
        }
        house.throw(SwitchKind::Tool, "shell", Position::Off);
        house.throw(SwitchKind::Tool, "shell", Position::On);
        rooms.switches_thrown();
    };
    let call = house.call(&rooms, in_thread("t", &["wait"]));
    let (told, ()) = tokio::join!(call, thrown);
    let Told::Released(released) = told else {
        panic!("{told:?}");
    };
    assert_eq!(released.outcome().cause.as_str(), "cancelled");
    let trouble = released.trouble().unwrap();
    assert!(trouble.contains("tool `shell`"), "{trouble}");
    ran(&house.call(&rooms, in_thread("t", &["true"])).await);
}

/// R258: what waits in line when a switch is thrown does not run when its turn comes, whether or not it is on again by then.
#[tokio::test]
async fn a_switch_stops_what_waits_in_line() {
    let house = House::with("thread", "\n[quotas.session]\ncalls = 1\n");
    let rooms = house.rooms();
    let thrown = async {
        while rooms.load() != (1, 1) || house.keeper.running() < 1 {
            tokio::task::yield_now().await;
        }
        house.throw(SwitchKind::Tool, "shell", Position::Off);
        house.throw(SwitchKind::Tool, "shell", Position::On);
        // The first is not told: only its end lets the second have its turn.
        house.keeper.release(1);
    };
    let first = house.call(&rooms, in_thread("t", &["wait"]));
    let second = house.call(&rooms, in_thread("t", &["true"]));
    let (_, second, ()) = tokio::join!(first, second, thrown);
    let (reason, detail) = refused(&second);
    assert_eq!(reason, Reason::KillSwitch, "{detail}");
    assert_eq!(runs(&house), 1, "only the first");
}

/// R159: a hundred calls at once for what thirty-seven may spend: thirty-seven run, and each of the others is refused on record.
#[tokio::test]
async fn a_hundred_calls_that_race_for_37_get_37() {
    let house = House::with("thread", "\n[budgets.agent_day]\ncalls = 37\n");
    let rooms = house.rooms();
    let threads: Vec<_> = (0..100).map(|number| format!("t{number}")).collect();
    let calls = threads
        .iter()
        .map(|thread| house.call(&rooms, in_thread(thread, &["true"])));
    let told = futures_util::future::join_all(calls).await;
    let (ran, others): (Vec<_>, Vec<_>) = told
        .iter()
        .partition(|told| matches!(told, Told::Released(_)));
    assert_eq!((ran.len(), runs(&house)), (37, 37));
    for told in others {
        assert_eq!(refused(told).0, Reason::BudgetExhausted);
    }
    let count = |kind| house.world.kinds().iter().filter(|of| **of == kind).count();
    assert_eq!(count(Kind::Denied), 63);
}

/// R159: tokens and money are set aside before a call and counted after it; a call that might cost more than one may does not begin.
#[tokio::test]
async fn tokens_and_money_are_spent() {
    let costs = |tokens: u64| {
        House::with(
            "thread",
            &format!(
                "\n[budgets.cost]\ntokens = {tokens}\nmoney_micros = 20\n\
                 [budgets.call]\ntokens = 100\n[budgets.thread]\nmoney_micros = 50\n"
            ),
        )
    };
    let dear = costs(101);
    let told = dear.call(&dear.rooms(), in_thread("t", &["true"])).await;
    let (reason, detail) = refused(&told);
    assert_eq!(reason, Reason::BudgetExhausted, "{detail}");
    assert!(detail.contains("100 tokens for each call"), "{detail}");
    assert_eq!(runs(&dear), 0);
    let house = costs(100);
    let rooms = house.rooms();
    for _ in 0..2 {
        ran(&house.call(&rooms, in_thread("t", &["true"])).await);
    }
    let (reason, detail) = refused(&house.call(&rooms, in_thread("t", &["true"])).await);
    assert_eq!(reason, Reason::BudgetExhausted, "{detail}");
    assert!(
        detail.contains("50 money_micros for each thread"),
        "{detail}"
    );
    assert_eq!(runs(&house), 2);
    assert_eq!(house.world.kinds().last(), Some(&Kind::Denied));
}
