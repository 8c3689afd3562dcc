//! A process that dies at any step leaves a call that is never run again and a log that says so.

use std::{
    env, fs,
    process::{Command, abort},
    sync::Arc,
};

use casemate_gateway::{Recording, Stores};
use casemate_ledger::Kind;
use casemate_model::Reason;
use casemate_store::{SqliteStore, StoreError};

use crate::{
    fake::Nowhere,
    world::{World, ask, ask_under, io},
};

const STEP: &str = "CASEMATE_TEST_DIE_AT";
const DIR: &str = "CASEMATE_TEST_DIR";

/// Dies at the step that its environment names: the tests below start it as a process of its own.
#[tokio::test]
async fn dying_process() {
    let (Ok(step), Ok(dir)) = (env::var(STEP), env::var(DIR)) else {
        return;
    };
    let die_at = |here: &str| {
        if step == here {
            abort();
        }
    };
    let mut world = World::new();
    let state = world.dir.path().join("state");
    std::os::unix::fs::symlink(dir, state).unwrap();
    let marker = env::var(DIR).unwrap() + ".ran";
    let dies_running = step == "running";
    world.script.on_run = Arc::new(move || {
        fs::write(&marker, "").unwrap();
        if dies_running {
            abort();
        }
    });
    let allowed = world.allowed(ask_under("k")).await;
    die_at("decided");
    let journal = world.journal();
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    die_at("recorded");
    let lease = recorded.lease();
    die_at("leased");
    let ended = lease.run(io().0.call).await;
    die_at("ended");
    ended.release(&mut Nowhere).await.unwrap();
    die_at("released");
}

/// The world after a process died at `step`.
fn world_after(step: &str) -> World {
    let world = World::new();
    world.state();
    let died = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::dying_process"])
        .env(STEP, step)
        .env(DIR, world.dir.path().join("state"))
        .output()
        .unwrap();
    assert!(!died.status.success(), "{step}: {died:?}");
    world
}

/// What was recorded and not closed is unknown, and its key is never used again.
#[tokio::test]
async fn a_recorded_call_whose_process_died_is_unknown() {
    for step in ["recorded", "leased", "running", "ended"] {
        let world = world_after(step);
        assert_eq!(world.kinds(), [Kind::Allowed], "{step}");
        let ran = world.dir.path().join("state.ran").exists();
        assert_eq!(ran, matches!(step, "running" | "ended"), "{step}");

        let journal = world.journal();
        let closed = journal.recover(&world.stores()).await.unwrap();
        assert_eq!(closed, [world.records()[0].entry.decision], "{step}");
        assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome], "{step}");
        assert_eq!(world.records()[1].entry.summary["status"], "unknown");
        assert_eq!(journal.recover(&world.stores()).await.unwrap(), []);

        let refused = world.call_in(&journal, ask_under("k")).await.refused();
        assert_eq!(refused.facts().reason(), Reason::OutcomeUnknown, "{step}");
        assert_eq!(world.runs(), 0, "{step}");
    }
}

/// Stores in which somebody else recovers everything between our look and our close.
struct Overtaken<'w>(&'w World);

impl Stores for Overtaken<'_> {
    type Store = SqliteStore;

    async fn open(&self, agent: &str) -> Result<SqliteStore, StoreError> {
        self.0.stores().open(agent).await
    }

    async fn find(&self, _: &str) -> Result<Option<SqliteStore>, StoreError> {
        let closed = self.0.journal().recover(&self.0.stores()).await;
        assert_eq!(closed.unwrap().len(), 1);
        Ok(None)
    }
}

/// I12: two that look after the same dead process leave one outcome, whoever is faster.
#[tokio::test]
async fn a_dead_process_is_closed_once() {
    let world = world_after("running");
    let closed = world.journal().recover(&Overtaken(&world)).await.unwrap();
    assert_eq!(closed, []);
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
}

#[tokio::test]
async fn a_process_that_died_before_the_record_left_nothing() {
    let world = world_after("decided");
    assert_eq!(world.journal().recover(&world.stores()).await.unwrap(), []);
    assert_eq!(world.kinds(), []);
    world.call(ask_under("k")).await.released();
    assert_eq!(world.runs(), 1);
}

#[tokio::test]
async fn a_process_that_died_after_the_release_left_its_result() {
    let world = world_after("released");
    assert_eq!(world.journal().recover(&world.stores()).await.unwrap(), []);
    let repeat = world.call(ask_under("k")).await.released();
    assert!(repeat.replayed().is_some());
    assert_eq!(world.runs(), 0);
}

/// Also when nobody recovered at the start, as in a process that was there all the time.
#[tokio::test]
async fn a_repeat_finds_out_that_the_first_process_died() {
    let world = world_after("running");
    let refused = world.call(ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::OutcomeUnknown);
    assert_eq!(world.runs(), 0);
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome, Kind::Denied]);
}

/// A store that is damaged does not keep other calls from running, nor lets its own run again.
#[tokio::test]
async fn recovery_does_not_need_the_store() {
    let world = world_after("recorded");
    let agent = world.state().agent("local").unwrap();
    for file in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        fs::write(agent.join(file), "damaged").unwrap();
    }
    let journal = world.journal();
    assert_eq!(journal.recover(&world.stores()).await.unwrap().len(), 1);
    world.call_in(&journal, ask()).await.released();
    let refused = world.call_in(&journal, ask_under("k")).await.refused();
    assert_eq!(refused.facts().reason(), Reason::RecordUnavailable);
    assert_eq!(world.runs(), 1);
}

/// A call of a living process is not declared dead by another that starts.
#[tokio::test]
async fn recovery_leaves_the_calls_of_the_living_alone() {
    let world = World::new();
    let journal = world.journal();
    let allowed = world.allowed(ask_under("k")).await;
    let Recording::Recorded(recorded) = allowed.record(&journal, &world.stores()).await else {
        panic!("not recorded");
    };
    let other = world.journal();
    assert_eq!(other.recover(&world.stores()).await.unwrap(), []);
    let ended = recorded.lease().run(io().0.call).await;
    ended.release(&mut Nowhere).await.unwrap();
    assert_eq!(world.kinds(), [Kind::Allowed, Kind::Outcome]);
}

/// With nothing to recover, no agent's database is opened or made.
#[tokio::test]
async fn recovery_costs_one_look_when_all_is_closed() {
    let world = World::new();
    world.call(ask()).await.released();
    let journal = world.journal();
    journal.recover(&world.stores()).await.unwrap();
    assert!(!world.dir.path().join("state/agents/local").exists());
}
