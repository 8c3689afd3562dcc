#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const WIDE: Bounds = Bounds {
    calls: 1_000,
    queued: 100_000,
};

fn line(tenant: &str, agent: &str, session: &str, calls: u64) -> Line {
    let bounds = Bounds { calls, ..WIDE };
    Line {
        tenant: (tenant.into(), WIDE),
        agent: (agent.into(), WIDE),
        session: (session.into(), bounds),
        lane: ("calls".into(), WIDE),
    }
}

/// Whether a turn has come.
fn came(turn: &mut Turn) -> bool {
    match &mut turn.called {
        None => true,
        Some(called) => match called.try_recv() {
            Ok(()) => {
                turn.called = None;
                true
            }
            Err(_) => false,
        },
    }
}

/// R65: one session with 10 000 waiting calls does not delay the first call of another by more than one
/// call of each.
#[test]
fn ten_thousand_waiting_calls_delay_another_session_by_one() {
    let admission = Admission::new(Bounds { calls: 2, ..WIDE });
    let mut crowd: Vec<_> = (0..10_000)
        .map(|_| admission.enter(line("t", "a", "greedy", 1_000)).unwrap())
        .collect();
    let mut other = admission.enter(line("t", "a", "modest", 1_000)).unwrap();
    let mut stranger = admission.enter(line("u", "a", "modest", 1_000)).unwrap();
    assert!(!came(&mut other) && !came(&mut stranger));
    let ended: Vec<_> = crowd.drain(..3).collect();
    drop(ended);
    assert!(came(&mut other), "another session of the agent");
    assert!(came(&mut stranger), "another tenant");
    assert_eq!(admission.load().0, 2);
}

/// R65: beyond the bound a call is refused at once, with the numbers.
#[test]
fn a_full_queue_refuses_and_says_which() {
    let bounds = |calls, queued| Bounds { calls, queued };
    for (host, tenant, agent, session, whose, limit) in [
        (bounds(1, 2), WIDE, WIDE, WIDE, Whose::Host, 2),
        (WIDE, bounds(1, 3), WIDE, WIDE, Whose::Tenant, 3),
        (WIDE, WIDE, bounds(1, 0), WIDE, Whose::Agent, 0),
        (WIDE, WIDE, WIDE, bounds(1, 1), Whose::Session, 1),
    ] {
        let admission = Admission::new(host);
        let line = Line {
            tenant: ("t".into(), tenant),
            agent: ("a".into(), agent),
            session: ("s".into(), session),
            lane: ("calls".into(), WIDE),
        };
        let mut turns = vec![admission.enter(line.clone()).unwrap()];
        for _ in 0..limit {
            turns.push(admission.enter(line.clone()).unwrap());
        }
        let used = limit;
        let full = admission.enter(line.clone()).unwrap_err();
        assert_eq!(full, Full { whose, limit, used });
        assert_eq!(
            admission.load(),
            (1, limit),
            "the refused call left a trace"
        );
        drop(turns);
        assert_eq!(admission.load(), (0, 0));
        assert_eq!(lock(&admission.state).tree.nodes(), 1, "counters are left");
    }
}

/// A lane of its own does not stand in the way of its session.
#[test]
fn a_busy_context_delays_only_its_own_calls() {
    let admission = Admission::new(WIDE);
    let context = Line {
        lane: ("ctx".into(), Bounds { calls: 1, ..WIDE }),
        ..line("t", "a", "s", 8)
    };
    let running = admission.enter(context.clone()).unwrap();
    let mut second = admission.enter(context.clone()).unwrap();
    let mut third = admission.enter(context).unwrap();
    let mut plain = admission.enter(line("t", "a", "s", 8)).unwrap();
    assert!(came(&mut plain) && !came(&mut second) && !came(&mut third));
    drop(running);
    assert!(came(&mut second) && !came(&mut third));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_line() {
    let admission = Admission::new(Bounds { calls: 1, ..WIDE });
    let running = admission.enter(line("t", "a", "s", 9)).unwrap();
    let mut gone = admission.enter(line("t", "a", "s", 9)).unwrap();
    let mut stays = admission.enter(line("t", "a", "s", 9)).unwrap();
    {
        let wait = std::pin::pin!(gone.come());
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(5), wait)
                .await
                .is_err()
        );
    }
    drop(gone);
    assert_eq!(admission.load(), (1, 1));
    drop(running);
    stays.come().await;
    assert_eq!(admission.load(), (1, 0));
    // Called, but never looked: its turn goes on to the next.
    let called = admission.enter(line("t", "a", "s", 9)).unwrap();
    let mut last = admission.enter(line("t", "a", "s", 9)).unwrap();
    drop(stays);
    drop(called);
    last.come().await;
}

#[derive(Clone, Debug)]
enum Step {
    Enter {
        tenant: u8,
        agent: u8,
        session: u8,
        lane: u8,
    },
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let enter = (0..3_u8, 0..2_u8, 0..3_u8, 0..2_u8).prop_map(|(tenant, agent, session, lane)| {
        Step::Enter {
            tenant,
            agent,
            session,
            lane,
        }
    });
    let leave = any::<usize>().prop_map(Step::Leave);
    proptest::collection::vec(prop_oneof![3 => enter, 2 => leave], 1..300)
}

/// What is checked after every step, and the calls as they stand.
struct Model {
    admission: Admission,
    host: Bounds,
    turns: Vec<(usize, Turn)>,
    entered: usize,
}

impl Model {
    fn step(&mut self, step: &Step, limits: [Bounds; 4]) {
        match *step {
            Step::Enter {
                tenant,
                agent,
                session,
                lane,
            } => {
                let name =
                    |kind: &str, number: u8| -> Arc<str> { format!("{kind}{number}").into() };
                let line = Line {
                    tenant: (name("t", tenant), limits[0]),
                    agent: (name("a", agent), limits[1]),
                    session: (name("s", session), limits[2]),
                    lane: (name("l", lane), limits[3]),
                };
                if let Ok(turn) = self.admission.enter(line) {
                    self.turns.push((self.entered, turn));
                }
                self.entered += 1;
            }
            Step::Leave(which) if !self.turns.is_empty() => {
                drop(self.turns.remove(which % self.turns.len()));
            }
            Step::Leave(_) => {}
        }
    }

    fn check(&mut self) {
        let mut counts: BTreeMap<Vec<String>, (u64, u64, Bounds)> = BTreeMap::new();
        let mut fronts: BTreeMap<Vec<String>, Vec<(usize, bool)>> = BTreeMap::new();
        let mut paths = Vec::new();
        for (number, turn) in &mut self.turns {
            let running = came(turn);
            let line = &turn.line;
            let mut path = Vec::new();
            let mut prefixes = vec![(path.clone(), self.host)];
            for (name, bounds) in [&line.tenant, &line.agent, &line.session, &line.lane] {
                path.push(name.to_string());
                prefixes.push((path.clone(), *bounds));
            }
            for (prefix, bounds) in &prefixes {
                let count = counts.entry(prefix.clone()).or_insert((0, 0, *bounds));
                if running {
                    count.0 += 1;
                } else {
                    count.1 += 1;
                }
            }
            fronts
                .entry(path.clone())
                .or_default()
                .push((*number, running));
            paths.push((prefixes, running));
        }
        for (path, (running, waiting, bounds)) in &counts {
            assert!(*running <= bounds.calls, "{path:?} runs {running}");
            assert!(*waiting <= bounds.queued, "{path:?} holds {waiting}");
        }
        let host = counts.get(&Vec::new()).copied();
        let (running, waiting, _) = host.unwrap_or((0, 0, self.host));
        assert_eq!(self.admission.load(), (running, waiting), "a call was lost");
        // Whoever waits is held up by a bound, not by an oversight.
        for (prefixes, running) in &paths {
            let held = prefixes
                .iter()
                .any(|(prefix, bounds)| counts[prefix].0 >= bounds.calls);
            assert!(*running || held, "a call waits for nothing");
        }
        // In a lane, nobody overtakes.
        for lane in fronts.values() {
            let first_waiting = lane.iter().position(|(_, running)| !running);
            let rest = &lane[first_waiting.unwrap_or(lane.len())..];
            assert!(rest.iter().all(|(_, running)| !running), "{lane:?}");
        }
    }
}

proptest! {
    /// R65, I15: never over a bound, nothing lost, nobody forgotten, order kept in a lane.
    #[test]
    fn any_steps_keep_every_bound(
        steps in steps(),
        calls in (1..6_u64, 1..4_u64, 1..4_u64, 1..3_u64, 1..3_u64),
        queued in (0..40_u64, 0..20_u64, 0..10_u64, 0..6_u64, 0..6_u64),
    ) {
        let bounds = |calls, queued| Bounds { calls, queued };
        let host = bounds(calls.0, queued.0);
        let limits = [
            bounds(calls.1, queued.1),
            bounds(calls.2, queued.2),
            bounds(calls.3, queued.3),
            bounds(calls.4, queued.4),
        ];
        let admission = Admission::new(host);
        let mut model = Model { admission, host, turns: Vec::new(), entered: 0 };
        for step in steps {
            model.step(&step, limits);
            model.check();
        }
        // Once those that run have ended, and again, everybody has had a turn.
        while !model.turns.is_empty() {
            let before = model.turns.len();
            model.turns.retain_mut(|(_, turn)| !came(turn));
            prop_assert!(model.turns.len() < before, "nobody runs, and somebody waits");
            model.check();
        }
        prop_assert_eq!(lock(&model.admission.state).tree.nodes(), 1);
    }

    /// R65: with any number of sessions that always have more, each gets its turn in every round.
    #[test]
    fn every_session_gets_its_turn_in_every_round(
        sessions in 2..20_usize,
        crowd in 1..50_usize,
        places in 1..4_u64,
    ) {
        let admission = Admission::new(Bounds { calls: places, ..WIDE });
        let mut turns: Vec<(usize, Turn)> = Vec::new();
        for session in 0..sessions {
            for _ in 0..(if session == 0 { crowd + 20 } else { 3 }) {
                let name = session.to_string();
                turns.push((session, admission.enter(line("t", "a", &name, 1_000)).unwrap()));
            }
        }
        let mut started = Vec::new();
        let mut running: Vec<Turn> = Vec::new();
        while !turns.is_empty() {
            let mut waiting = Vec::new();
            for (session, mut turn) in turns {
                if came(&mut turn) {
                    started.push(session);
                    running.push(turn);
                } else {
                    waiting.push((session, turn));
                }
            }
            turns = waiting;
            running.remove(0);
        }
        for session in 1..sessions {
            let first = started.iter().position(|began| *began == session).unwrap();
            let most = sessions + usize::try_from(places).unwrap();
            prop_assert!(first <= most, "session {} waited for {}: {:?}", session, first, started);
        }
    }
}
