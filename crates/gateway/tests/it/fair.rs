//! Calls that wait, quotas, and output that is too much (R65, R159).

use std::{rc::Rc, time::Duration};

use casemate_gateway::{Ask, Bounds, Told};
use casemate_model::{Reason, Within};
use casemate_ports::Control;
use tokio::{
    sync::oneshot,
    task::{LocalSet, spawn_local, yield_now},
};

use crate::{
    house::{House, Rooms, cell, ends, in_thread, ran, refused},
    session_keeper::Step,
};

const WAIT: &[&str] = &["wait"];

type Call = tokio::task::JoinHandle<(Told, usize)>;

fn start(house: &Rc<House>, rooms: &std::sync::Arc<Rooms>, ask: Ask) -> Call {
    let (house, rooms) = (Rc::clone(house), std::sync::Arc::clone(rooms));
    spawn_local(async move { house.send(&rooms, house.new_call(ask)).await })
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        yield_now().await;
        tokio::time::sleep(Duration::from_micros(50)).await;
    }
    panic!("it does not come to pass");
}

/// R65: a session, an agent and the host run no more at once than they may, and lose nothing.
#[tokio::test]
async fn no_more_run_at_once_than_may() {
    for (more, host, most) in [
        ("\n[quotas.session]\ncalls = 2\n", 64, 4),
        ("\n[quotas.agent]\ncalls = 3\n", 64, 3),
        ("\n[quotas.tenant]\ncalls = 2\n", 64, 2),
        ("", 1, 1),
    ] {
        let mut house = House::with("thread", more);
        house.capacity.bounds.calls = host;
        let house = Rc::new(house);
        let rooms = house.rooms();
        LocalSet::new()
            .run_until(async {
                let calls: Vec<_> = (0..20)
                    .map(|n| start(&house, &rooms, in_thread(["a", "b"][n % 2], &["true"])))
                    .collect();
                for call in calls {
                    ran(&call.await.unwrap().0);
                }
            })
            .await;
        assert_eq!(house.keeper.runs(), 20);
        assert!(house.keeper.most_running() <= most, "{more}");
        assert_eq!(rooms.load(), (0, 0));
    }
}

/// R65: a session with many waiting calls does not delay another's first.
#[tokio::test]
async fn a_greedy_session_does_not_delay_a_modest_one() {
    let mut house = House::new("thread");
    house.capacity.bounds.calls = 1;
    let house = Rc::new(house);
    let rooms = house.rooms();
    LocalSet::new()
        .run_until(async {
            let running = start(&house, &rooms, in_thread("greedy", WAIT));
            until(|| house.keeper.running() == 1).await;
            let greedy: Vec<_> = (0..200)
                .map(|_| start(&house, &rooms, in_thread("greedy", &["greed"])))
                .collect();
            until(|| rooms.load() == (1, 200)).await;
            let modest = start(&house, &rooms, in_thread("modest", &["modesty"]));
            until(|| rooms.load() == (1, 201)).await;
            house.keeper.release(1);
            ran(&modest.await.unwrap().0);
            for call in greedy {
                ran(&call.await.unwrap().0);
            }
            ran(&running.await.unwrap().0);
        })
        .await;
    let steps = house.keeper.steps();
    let runs: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Run(_, line) => Some(line.as_str()),
            _ => None,
        })
        .collect();
    let place = runs.iter().position(|line| *line == "modesty").unwrap();
    assert!(place <= 2, "it ran as number {place}");
    assert_eq!(runs.len(), 202);
}

/// R65, R159: what is beyond the queue is refused at once, recorded, and told with the numbers; nothing of it
/// runs.
#[tokio::test]
async fn a_full_queue_refuses_with_numbers() {
    for (more, queued, reason, of) in [
        (
            "\n[quotas.session]\ncalls = 1\nqueued = 2\n",
            99,
            Reason::QuotaExceeded,
            "the thread t",
        ),
        (
            "\n[quotas.agent]\ncalls = 1\nqueued = 2\n",
            99,
            Reason::QuotaExceeded,
            "the agent local",
        ),
        (
            "\n[quotas.tenant]\ncalls = 1\nqueued = 2\n",
            99,
            Reason::QuotaExceeded,
            "the tenant local",
        ),
        (
            "\n[quotas.session]\ncalls = 1\n",
            2,
            Reason::Overloaded,
            "the host",
        ),
    ] {
        let mut house = House::with("thread", more);
        house.capacity.bounds = Bounds { calls: 50, queued };
        let house = Rc::new(house);
        let rooms = house.rooms();
        LocalSet::new()
            .run_until(async {
                let calls: Vec<_> = (0..3)
                    .map(|_| start(&house, &rooms, in_thread("t", WAIT)))
                    .collect();
                until(|| rooms.load() == (1, 2)).await;
                let told = house.call(&rooms, in_thread("t", WAIT)).await;
                let (found, detail) = refused(&told);
                assert_eq!(found, reason);
                assert!(detail.contains("2 of 2"), "{detail}");
                let Told::Refused(told) = told else { panic!() };
                let quota = told.facts().quota.as_ref().unwrap();
                assert_eq!((quota.quota.as_str(), quota.of.as_str()), ("queued", of));
                assert_eq!((quota.limit, quota.used), (2, 2));
                assert!(quota.retry_after_ms.is_some());
                house.keeper.release(3);
                for call in calls {
                    ran(&call.await.unwrap().0);
                }
            })
            .await;
        assert_eq!(house.keeper.runs(), 3);
    }
}

/// A caller that goes away, or takes its call back, leaves the line; its call never runs.
#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_line() {
    let house = Rc::new(House::with("thread", "\n[quotas.session]\ncalls = 1\n"));
    let rooms = house.rooms();
    LocalSet::new()
        .run_until(async {
            let running = start(&house, &rooms, in_thread("t", WAIT));
            until(|| house.keeper.running() == 1).await;
            for leave in [0, 1, 2] {
                let (mut ends, io) = ends();
                let (tell, told) = oneshot::channel();
                let call = house.new_call(in_thread("t", &["never"]));
                let rooms_of_call = std::sync::Arc::clone(&rooms);
                let life = spawn_local(async move { rooms_of_call.call(call, io, tell).await });
                until(|| rooms.load() == (1, 1)).await;
                match leave {
                    0 => ends.events.close(),
                    1 => ends.control.send(Control::Cancel).await.unwrap(),
                    _ => drop(ends),
                }
                life.await.unwrap();
                assert!(matches!(told.await.unwrap(), Told::Withdrawn(_)));
                assert_eq!(rooms.load(), (1, 0));
            }
            house.keeper.release(1);
            ran(&running.await.unwrap().0);
        })
        .await;
    assert_eq!(house.keeper.runs(), 1);
    assert_eq!(rooms.load(), (0, 0));
}

#[tokio::test]
async fn waiting_has_an_end() {
    let mut house = House::with("thread", "\n[quotas.session]\ncalls = 1\n");
    house.capacity.queue_timeout_ms = 20;
    let house = Rc::new(house);
    let rooms = house.rooms();
    LocalSet::new()
        .run_until(async {
            let running = start(&house, &rooms, in_thread("t", WAIT));
            until(|| house.keeper.running() == 1).await;
            let (reason, detail) = refused(&house.call(&rooms, in_thread("t", WAIT)).await);
            assert_eq!(reason, Reason::Overloaded);
            assert!(detail.contains("20 ms"), "{detail}");
            house.keeper.release(1);
            ran(&running.await.unwrap().0);
        })
        .await;
    assert_eq!(house.keeper.runs(), 1);
}

/// A context runs one cell at a time, in order; other calls of the session go past it.
#[tokio::test]
async fn a_busy_context_keeps_its_cells_in_order() {
    let house = Rc::new(House::new("context"));
    let rooms = house.rooms();
    let thread = || Within {
        thread: Some("t".into()),
        ..Within::default()
    };
    LocalSet::new()
        .run_until(async {
            let first = start(&house, &rooms, cell(thread(), WAIT));
            until(|| house.keeper.running() == 1).await;
            let cells: Vec<_> = ["one", "two", "three"]
                .map(|name| start(&house, &rooms, cell(thread(), &[name])))
                .into();
            until(|| rooms.load() == (1, 3)).await;
            ran(&house.call(&rooms, in_thread("t", &["past"])).await);
            house.keeper.release(1);
            for call in cells {
                ran(&call.await.unwrap().0);
            }
            ran(&first.await.unwrap().0);
        })
        .await;
    let steps = house.keeper.steps();
    let lines: Vec<_> = steps
        .iter()
        .filter_map(|step| match step {
            Step::Run(_, line) => Some(line.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(lines, ["wait", "past", "one", "two", "three"]);
}

/// R65, R159: output beyond a quota is cut, the answer and the record say by which; the next call is refused.
#[tokio::test]
async fn output_beyond_a_quota_is_cut_and_then_refused() {
    for (more, of) in [
        ("\n[quotas.session]\noutput_bytes = 100\n", "the session"),
        ("\n[quotas.agent]\noutput_bytes = 100\n", "the agent local"),
        (
            "\n[quotas.tenant]\noutput_bytes = 100\n",
            "the tenant local",
        ),
    ] {
        let house = House::with("thread", more);
        let rooms = house.rooms();
        let write = |bytes: &str| house.new_call(in_thread("t", &["write", bytes]));
        let (told, bytes) = house.send(&rooms, write("60")).await;
        ran(&told);
        assert_eq!(bytes, 60);
        let (told, bytes) = house.send(&rooms, write("60")).await;
        let Told::Released(released) = told else {
            panic!()
        };
        assert_eq!(bytes, 40);
        assert!(released.outcome().output_truncated);
        let quota = released.facts().quota.as_ref().unwrap();
        assert_eq!(quota.quota, "output_bytes");
        assert!(quota.of.starts_with(of), "{quota:?}");
        assert_eq!((quota.limit, quota.used), (100, 100));
        let record = house.world.records().pop().unwrap();
        assert_eq!(record.entry.summary["quota"]["limit"], 100);
        let (reason, _) = refused(&house.send(&rooms, write("1")).await.0);
        assert_eq!(reason, Reason::QuotaExceeded);
        assert_eq!(house.keeper.runs(), 2);
        // A day later an agent and a tenant may again; a session may not, and a new one may.
        house.world.clock.advance(24 * 3_600_000);
        let (told, _) = house.send(&rooms, write("1")).await;
        if of == "the session" {
            assert_eq!(refused(&told).0, Reason::QuotaExceeded);
            let other = house.new_call(in_thread("u", &["write", "1"]));
            ran(&house.send(&rooms, other).await.0);
        } else {
            ran(&told);
        }
    }
}
