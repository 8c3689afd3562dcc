//! A switch that is thrown while a call is between any two steps.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use casemate_authority::{Position, SwitchKind, Switchboard};
use casemate_gateway::Told;
use casemate_ledger::Kind;
use casemate_model::{DecisionId, Reason};

use crate::{
    holes::with_tools,
    house::{House, Rooms, in_thread, ran, refused, throw},
    waits,
};

/// As many steps at least have to be seen from outside: fewer, and the test does not look.
const LEAST_STEPS: usize = 8;

/// Throws the switch at a call's step of this number, or while it runs, if it comes so far before.
struct Incident {
    switches: Switchboard,
    rooms: Arc<Rooms>,
    thrown: Arc<AtomicBool>,
}

impl Incident {
    fn at(house: &House, rooms: &Arc<Rooms>, step: usize) -> Self {
        let open = || Switchboard::open(&house.world.dir.path().join("switches")).unwrap();
        let thrown = Arc::new(AtomicBool::new(false));
        let steps = AtomicUsize::new(0);
        let (switches, told, rooms_told) = (open(), Arc::clone(&thrown), Arc::clone(rooms));
        *house.when_asked.lock().unwrap() = Some(Box::new(move || {
            if steps.fetch_add(1, Ordering::Relaxed) + 1 == step {
                throw(&switches, SwitchKind::Tool, "shell", Position::Off);
                told.store(true, Ordering::Relaxed);
                rooms_told.switches_thrown();
            }
        }));
        Self {
            switches: open(),
            rooms: Arc::clone(rooms),
            thrown,
        }
    }

    /// What becomes of a call that would never end by itself. Says whether it came to run before the switch was thrown.
    async fn during(&self, house: &House, call: impl Future<Output = Told>) -> (Told, bool) {
        let mut call = std::pin::pin!(call);
        let mut late = false;
        let told = loop {
            tokio::select! {
                biased;
                told = &mut call => break told,
                () = tokio::task::yield_now() => {
                    if house.keeper.running() > 0 && !self.thrown.swap(true, Ordering::Relaxed) {
                        late = true;
                        throw(&self.switches, SwitchKind::Tool, "shell", Position::Off);
                        self.rooms.switches_thrown();
                    }
                }
            }
        };
        *house.when_asked.lock().unwrap() = None;
        (told, late)
    }
}

fn kinds_of(house: &House, decision: DecisionId) -> Vec<Kind> {
    let records = house.world.records().into_iter();
    let records = records.filter(|record| record.entry.decision == decision);
    records.map(|record| record.entry.kind).collect()
}

/// Stopped, on record, and nothing half done.
fn assert_stopped(house: &House, told: &Told, before: &[Kind], step: usize) {
    let then = |kinds: &[Kind]| [before, kinds].concat();
    match told {
        Told::Refused(_) => {
            let (reason, detail) = refused(told);
            assert_eq!(reason, Reason::KillSwitch, "step {step}: {detail}");
            assert_eq!(house.keeper.runs(), 0, "step {step}");
            let Told::Refused(refused) = told else { return };
            let kinds = kinds_of(house, refused.facts().decision);
            assert_eq!(kinds, then(&[Kind::Denied]), "step {step}");
        }
        Told::Released(released) => {
            let cause = released.outcome().cause.as_str();
            assert_eq!(cause, "cancelled", "step {step}");
            let trouble = released.trouble().unwrap_or_default();
            assert!(trouble.contains("tool `shell`"), "step {step}: {trouble}");
            let kinds = kinds_of(house, released.facts().decision);
            assert_eq!(kinds, then(&[Kind::Allowed, Kind::Outcome]), "step {step}");
        }
        other => panic!("step {step}: {other:?}"),
    }
    assert_eq!(house.keeper.running(), 0, "step {step}");
}

/// R258: a switch that is thrown while a call is between any two steps stops it: at whichever it is, nothing of it runs on, and its end is on record.
#[tokio::test]
async fn a_switch_stops_a_call_between_any_two_steps() {
    for step in 1.. {
        let house = House::with("thread", "\n[budgets.agent_day]\ncalls = 1\n");
        let rooms = house.rooms();
        let call = house.new_call(in_thread("t", &["wait"]));
        let incident = Incident::at(&house, &rooms, step);
        let life = async { house.send(&rooms, call).await.0 };
        let (told, late) = incident.during(&house, life).await;
        assert_stopped(&house, &told, &[], step);
        // What it had set aside is there again, if it has not run.
        if house.keeper.runs() == 0 && matches!(told, Told::Refused(_)) {
            house.throw(SwitchKind::Tool, "shell", Position::On);
            ran(&house.call(&rooms, in_thread("t", &["true"])).await);
        }
        if late {
            assert!(step > LEAST_STEPS, "only {step} steps");
            return;
        }
    }
}

/// The same for one that was approved: it is used up or refused, and does not come back with the switch.
#[tokio::test]
async fn a_switch_stops_an_approved_call_between_any_two_steps() {
    for step in 1.. {
        let house = with_tools("approval_required = [\"shell\"]");
        waits::enlist(&house, "alice", &[]);
        let rooms = house.rooms();
        let call = waits::held(&house, &rooms, in_thread("t", &["wait"])).await;
        waits::approve(&house, &rooms, "alice", call).await.unwrap();
        let incident = Incident::at(&house, &rooms, step);
        let resumed = waits::resume(&rooms, call.0);
        let (told, late) = incident.during(&house, resumed).await;
        assert_stopped(&house, &told, &[Kind::Held], step);
        let runs = house.keeper.runs();
        house.throw(SwitchKind::Tool, "shell", Position::On);
        rooms.switches_thrown();
        let again = waits::resume(&rooms, call.0).await;
        assert!(matches!(again, Told::Later(_)), "step {step}: {again:?}");
        assert!(!rooms.is_approved(call.0).await, "step {step}");
        assert_eq!(house.keeper.runs(), runs, "step {step}");
        if late {
            assert!(step > LEAST_STEPS, "only {step} steps");
            return;
        }
    }
}
