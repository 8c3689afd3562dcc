//! What becomes of a session in which a violation happens, and of others.

use casemate_model::{Cause, Response, Responses};
use casemate_ports::{CallIo, Gone, KeeperError, Sandbox as _, SessionKeeper as _};
use tokio::{sync::mpsc, time::timeout};

use crate::{
    desk::{self, Desk, program, shell},
    hostile, once,
};

pub(crate) async fn all() {
    what_is_only_recorded_goes_on().await;
    others_go_on().await;
    every_call_of_the_session_dies().await;
    honey_files_cannot_be_changed().await;
    a_caller_who_does_not_read_hides_nothing().await;
}

/// R209: a storm of violations that are only recorded is one entry with a count, and the evidence of the first.
async fn what_is_only_recorded_goes_on() {
    let recorded = Responses {
        system_calls: Response::Record,
        honey_files: Response::Record,
    };
    let code = "import ctypes\nlibc = ctypes.CDLL(None)\nfor _ in range(1000):\n    assert libc.unshare(0x10000000) == -1\n\
                for _ in range(3):\n    open('/etc/shadow').read()\n    open('/root/.kube/config').read()\nprint('on')";
    let (ended, output) = once::run(1, recorded, program(&["python3", "-c", code])).await;
    assert_eq!(ended.cause, Cause::Completed, "{ended:?} {output}");
    assert_eq!(output, "on\n");
    let seen = |what: &str| {
        let mut of = ended.violations.iter().filter(|seen| seen.what == what);
        (of.next().map(|seen| seen.count), of.count())
    };
    assert_eq!(seen("unshare"), (Some(1000), 0));
    // The kernel makes one of several openings of a file that nobody has taken note of yet.
    assert!(
        seen("/etc/shadow")
            .0
            .is_some_and(|count| (1..=3).contains(&count)),
        "{ended:?}"
    );
    assert!(seen("/root/.kube/config").0.is_some(), "{ended:?}");
    let first = &ended.violations[0];
    assert_eq!(first.arguments[0], "0x10000000");
    assert_eq!(first.process.as_deref(), Some("python3"));
}

/// A violation ends its own session, and no other.
async fn others_go_on() {
    let desk = Desk::open();
    for number in [1, 2] {
        desk.keeper
            .open(hostile::spec(number))
            .await
            .expect("a session");
    }
    desk.call(2, shell("echo kept > file")).await.ok();
    let done = desk
        .call(1, shell("cat /etc/shadow; sleep 5; echo on"))
        .await;
    assert_eq!(done.ended.cause, Cause::Violation, "{done:?}");
    assert_eq!(desk.call(2, shell("cat file")).await.ok(), "kept\n");
    desk.keeper.end().await;
}

/// R210: what else runs in the session dies with it.
async fn every_call_of_the_session_dies() {
    let desk = Desk::open();
    desk.keeper.open(hostile::spec(1)).await.expect("a session");
    let waits = desk.call(1, shell("echo up; sleep 5; echo on"));
    let attacks = desk.call(
        1,
        shell("sleep 0.3; cat /root/.aws/credentials; sleep 5; echo on"),
    );
    let (waits, attacks) = tokio::join!(waits, attacks);
    // Either may have been the one of whom it was heard.
    let causes = [waits.ended.cause, attacks.ended.cause];
    assert!(causes.contains(&Cause::Violation), "{causes:?}");
    for done in [waits, attacks] {
        assert!(done.stdout.lines().all(|line| line != "on"), "{done:?}");
    }
    let gone = desk.keeper.place(desk.place(1)).await;
    let Err(KeeperError::SessionGone {
        why: Gone::Violation,
        ..
    }) = gone
    else {
        panic!("{gone:?}");
    };
    desk.keeper.end().await;
}

/// Nobody can take a honey file away, or write what others would take for a secret.
async fn honey_files_cannot_be_changed() {
    let recorded = Responses {
        system_calls: Response::Record,
        honey_files: Response::Record,
    };
    let script = "for file in /etc/shadow /root/.aws/credentials /root/.ssh/id_ed25519; do \
                  rm -f $file; mv $file /tmp; echo mine > $file; chmod 777 $file; test -e $file || echo gone $file; done 2>/dev/null; \
                  touch /root/new 2>/dev/null && echo new; cat /root/.aws/credentials";
    let (ended, output) = once::run(2, recorded, shell(script)).await;
    assert!(output.starts_with("# A decoy."), "{ended:?} {output}");
    assert_eq!(output.lines().count(), 1, "{output}");
}

/// R209: a program whose output nobody takes is watched as any other.
async fn a_caller_who_does_not_read_hides_nothing() {
    for (number, act) in [(1, MOUNT), (2, "open('/etc/shadow')")] {
        let desk = Desk::open();
        let spec = hostile::spec(number);
        desk.keeper.open(spec).await.expect("a session");
        // It acts when nobody has taken anything for a while.
        let flood = format!(
            "import os, select\nos.set_blocking(1, False)\nwhile select.select([], [1], [], 0.3)[1]:\n    os.write(1, b'x' * 65536)\n\
             {act}\nselect.select([], [], [])"
        );
        let (control_sender, control) = mpsc::channel(1);
        let (events, output) = mpsc::channel(1);
        let io = CallIo {
            stdin: mpsc::channel(1).1,
            control,
            events,
        };
        let mut place = desk
            .keeper
            .place(desk.place(number))
            .await
            .expect("a place");
        place.ready().await.expect("a place");
        let run = place.run(program(&["python3", "-c", &flood]), io);
        let ended = timeout(desk::PATIENCE, run).await.expect("it ends");
        let ended = ended.expect("it ends");
        assert_eq!(ended.cause, Cause::Violation, "{ended:?}");
        assert_eq!(ended.violations.len(), 1, "{ended:?}");
        drop((control_sender, output, place));
        assert!(is_gone(&desk, number).await);
        desk.keeper.end().await;
    }
}

const MOUNT: &str = "import ctypes; ctypes.CDLL(None).mount(b'a', b'/tmp', b'tmpfs', 0, None)";

async fn is_gone(desk: &Desk, number: u8) -> bool {
    let gone = desk.keeper.place(desk.place(number)).await;
    matches!(
        gone,
        Err(KeeperError::SessionGone {
            why: Gone::Violation,
            ..
        })
    )
}
