//! Contexts: interpreters that stay.

use std::time::Duration;

use casemate_model::{Cause, Exit, Limits};
use casemate_ports::{Control, KeeperError, PlaceSpec, SessionKeeper as _, Signal};

use crate::desk::{Desk, cell, context_id, owner, program, session_id};

async fn open(desk: &Desk, number: u8) {
    let opened = desk
        .keeper
        .open_context(session_id(1), owner("agent"), context_id(number));
    opened.await.expect("a context");
}

fn inside(desk: &Desk, number: u8) -> PlaceSpec {
    PlaceSpec {
        context: Some(context_id(number)),
        ..desk.place(1)
    }
}

/// Variables stay from cell to cell, in their context alone, also after an error.
pub(crate) async fn variables_stay_in_their_context(desk: Desk) {
    desk.session(1).await;
    open(&desk, 1).await;
    open(&desk, 2).await;
    let run = async |number, source: &str| {
        desk.call_in(inside(&desk, number), cell(source))
            .await
            .expect("a call")
    };
    run(1, "x = 20; import math").await.ok();
    let done = run(1, "x += 1\n1 / 0").await;
    assert_eq!(
        (done.ended.cause, done.ended.exit),
        (Cause::Completed, Some(Exit::Code(1)))
    );
    let done = run(1, "x * 2").await;
    assert!(
        done.results.contains(r#""text/plain":"42""#)
            && done.results.contains(r#""execution_count":3"#),
        "{done:?}"
    );
    let done = run(2, "x").await;
    assert!(done.stderr.contains("NameError"), "{done:?}");
    let done = run(1, "exit()\n").await;
    assert_eq!(done.ended.cause, Cause::Completed);
    assert_eq!(run(1, "print(x)").await.ok(), "21\n", "as a notebook does");
}

/// A cell that is interrupted, or takes too long, leaves the variables; one that must be killed does not.
pub(crate) async fn an_interrupt_leaves_the_variables(desk: Desk) {
    desk.session(1).await;
    open(&desk, 1).await;
    let limits = Limits {
        wall_ms: 400,
        ..Limits::default()
    };
    desk.call_in(inside(&desk, 1), cell("x = 1"))
        .await
        .expect("a call")
        .ok();
    let long = PlaceSpec {
        limits,
        ..inside(&desk, 1)
    };
    let done = desk
        .call_in(long, cell("x = 2\nwhile True: pass"))
        .await
        .expect("a call");
    assert_eq!(
        (done.ended.cause, done.ended.exit),
        (Cause::TimedOut, Some(Exit::Code(130)))
    );
    let place = desk.keeper.place(inside(&desk, 1)).await.expect("a place");
    let interrupt = |control: &tokio::sync::mpsc::Sender<Control>| {
        let _ = control.try_send(Control::Interrupt(Signal::Interrupt));
    };
    let source = "x = 3\nimport time\nprint('ready', flush=True)\ntime.sleep(60)";
    let done = desk
        .run(place, cell(source), Vec::new(), interrupt)
        .await
        .expect("a call");
    assert_eq!(done.ended.cause, Cause::Cancelled);
    assert_eq!(
        desk.call_in(inside(&desk, 1), cell("print(x)"))
            .await
            .expect("a call")
            .ok(),
        "3\n"
    );
    let deaf = PlaceSpec {
        limits,
        ..inside(&desk, 1)
    };
    let source = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass";
    let done = desk.call_in(deaf, cell(source)).await.expect("a call");
    assert_eq!((done.ended.cause, done.ended.exit), (Cause::TimedOut, None));
    let gone = desk.call_in(inside(&desk, 1), cell("x")).await;
    assert!(
        matches!(gone, Err(KeeperError::NoContext { .. })),
        "{gone:?}"
    );
    assert_eq!(
        desk.call(1, cell("print('on')")).await.ok(),
        "on\n",
        "the session lives on"
    );
}

/// Cells of one context wait for each other; those of others do not.
pub(crate) async fn cells_wait_their_turn(desk: Desk) {
    desk.session(1).await;
    open(&desk, 1).await;
    let run = async |source: &str| {
        desk.call_in(inside(&desk, 1), cell(source))
            .await
            .expect("a call")
            .ok()
    };
    run("seen = []").await;
    let slow = "import time\nseen.append('a'); time.sleep(0.2); seen.append('b')";
    tokio::join!(run(slow), run("seen.append('c')"), run("seen.append('d')"));
    assert_eq!(run("print(''.join(seen))").await, "abcd\n");
}

/// A context is closed, dies, is unknown, or is asked for what it does not do: each is said.
pub(crate) async fn what_a_context_is_not(desk: Desk) {
    desk.session(1).await;
    open(&desk, 1).await;
    let keeper = &desk.keeper;
    let refused = desk.call_in(inside(&desk, 1), program(&["true"])).await;
    assert!(matches!(refused, Err(KeeperError::Spec(_))), "{refused:?}");
    let unknown = desk.call_in(inside(&desk, 9), cell("1")).await;
    assert!(
        matches!(unknown, Err(KeeperError::NoContext { .. })),
        "{unknown:?}"
    );
    let died = desk
        .call_in(inside(&desk, 1), cell("import os; os._exit(3)"))
        .await;
    assert_eq!(died.expect("a call").ended.exit, Some(Exit::Code(3)));
    let gone = desk.call_in(inside(&desk, 1), cell("1")).await;
    assert!(
        matches!(gone, Err(KeeperError::NoContext { .. })),
        "{gone:?}"
    );
    open(&desk, 3).await;
    let running = desk.call_in(inside(&desk, 3), cell("import time; time.sleep(60)"));
    let close = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let closed = keeper.close_context(session_id(1), owner("agent"), context_id(3));
        closed.await.expect("closed");
    };
    let (ended, ()) = tokio::join!(running, close);
    assert_eq!(
        ended.expect("a call").ended.cause,
        Cause::SandboxLost,
        "it ends with its context"
    );
    open(&desk, 2).await;
    keeper
        .close_context(session_id(1), owner("agent"), context_id(2))
        .await
        .expect("closed");
    let closed = keeper
        .close_context(session_id(1), owner("agent"), context_id(2))
        .await;
    assert!(
        matches!(closed, Err(KeeperError::NoContext { .. })),
        "{closed:?}"
    );
}

/// R26, I9: between two cells nothing runs; threads go on with the next one, and children are dead.
pub(crate) async fn nothing_of_a_cell_runs_when_it_has_ended(desk: Desk) {
    desk.session(1).await;
    open(&desk, 1).await;
    let run = async |source: &str| {
        desk.call_in(inside(&desk, 1), cell(source))
            .await
            .expect("a call")
    };
    let start = "import subprocess, threading, time\ncount = 0\n\
        def work():\n    global count\n    while True:\n        count += 1\n        time.sleep(0.001)\n\
        threading.Thread(target=work, daemon=True).start()\n\
        child = subprocess.Popen(['sleep', '600'])\ntime.sleep(0.05)\nlast = time.monotonic()";
    run(start).await.ok();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let counted = run("print(count)").await.ok();
    let counted: u32 = counted.trim().parse().expect("a number");
    assert!((1..400).contains(&counted), "{counted} in 50 ms");
    let later = run("time.sleep(0.05); print(count, child.wait())").await;
    let later = later.ok();
    let (count, status) = later.trim().split_once(' ').expect("two numbers");
    assert!(count.parse::<u32>().expect("a number") > counted, "{later}");
    assert_eq!(status, "-9");
}
