//! Every hostile program of the catalogue.

use std::env;

use casemate_model::{Cause, ContextId, Responses, SessionId};
use casemate_ports::{
    Command, Ended, Gone, KeeperError, Kind, PlaceSpec, SessionKeeper as _, SessionSpec,
};

use casemate_sandbox::{GvisorKeeper, NamespaceKeeper, Runsc};

use crate::{
    desk::{self, Desk, owner, program},
    once,
    programs::{End, GOES_ON, Hostile, SUCCEEDED, hostile},
};

/// What is wrong with the end of a hostile program, if anything.
fn judge(hostile: &Hostile, ended: &Ended, output: &str) -> Option<String> {
    let what = &hostile.what;
    let wrong = |why: &str| Some(format!("{}: {why}: {ended:?}\n{output}", hostile.name));
    let went_on = output.contains(GOES_ON);
    match hostile.end {
        End::Violation => {
            let seen = ended.violations.iter().find(|seen| seen.what == *what);
            match seen {
                _ if ended.cause != Cause::Violation => wrong("it was not the end"),
                _ if went_on => wrong("it went on"),
                None => wrong("there is no evidence"),
                Some(seen) if seen.count == 0 => wrong("it never happened"),
                // inotify does not say who it was.
                Some(seen) if seen.arguments.len() == 6 && seen.pid.is_none() => {
                    wrong("nobody knows who it was")
                }
                Some(_) => None,
            }
        }
        End::Refused => match () {
            () if ended.cause != Cause::Completed || !went_on => wrong("it was stopped"),
            () if !ended.violations.is_empty() => wrong("it was a violation"),
            () if !ended.denied.iter().any(|seen| seen.what == *what) => {
                wrong("it is not among what was refused")
            }
            () => None,
        },
    }
}

/// R209, R210: in sandboxes that are used once.
pub(crate) async fn once() {
    let mut wrong = Vec::new();
    for (number, hostile) in (0..).zip(hostile()) {
        let command = program(&["python3", "-c", &hostile.source()]);
        let (ended, output) = once::run(number, Responses::STRICT, command).await;
        wrong.extend(judge(&hostile, &ended, &output));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// R209, R210: with gVisor in the sandbox, whose kernel reports no system call: each is refused, and nothing comes of it.
/// Honey files are watched on the host, and are violations as everywhere when they are read.
pub(crate) async fn in_gvisor() {
    let runsc = match Runsc::find(env::var_os("PATH")) {
        Ok(runsc) => runsc,
        Err(error) => {
            assert!(env::var_os("CI").is_none(), "{error}");
            println!("nothing is tried under gVisor: {error}");
            return;
        }
    };
    let keeper = GvisorKeeper::new(NamespaceKeeper::new().unwrap(), runsc);
    let (files, calls): (Vec<_>, Vec<_>) = hostile()
        .into_iter()
        .partition(|hostile| hostile.what.starts_with('/'));
    let source = Hostile::all_in_one(&calls);
    let command = program(&["python3", "-c", &source]);
    let (ended, output) = once::run_by(&keeper, 0, Responses::STRICT, command).await;
    assert_eq!(ended.cause, Cause::Completed, "{ended:?}\n{output}");
    assert_eq!(output.matches("name:").count(), calls.len(), "{output}");
    assert!(!output.contains(SUCCEEDED), "{output}");
    assert_eq!(ended.violations, [], "nobody can have seen one");
    let looks = "ls -laR /root /etc /run/secrets/ > /dev/null; find /root /etc -name '*credentials*' -newer /etc/passwd";
    let looks = program(&["sh", "-c", looks]);
    let (ended, output) = once::run_by(&keeper, 1, Responses::STRICT, looks).await;
    assert_eq!(ended.violations, [], "looking is none: {output}");
    let mut wrong = Vec::new();
    for (number, hostile) in (2..).zip(&files) {
        let command = program(&["python3", "-c", &hostile.source()]);
        let run = once::run_by(&keeper, number, Responses::STRICT, command);
        let (ended, output) = run.await;
        let seen = ended
            .violations
            .iter()
            .any(|seen| seen.what == hostile.what);
        let held = match hostile.unseen_in_gvisor {
            None => ended.cause == Cause::Violation && seen,
            // It is said that nobody sees it: so it must be true.
            Some(_) => ended.violations.is_empty() && output.contains(GOES_ON),
        };
        if !held {
            wrong.push(format!("{}: {ended:?}\n{output}", hostile.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A session in which every violation is the end.
pub(crate) fn spec(number: u8) -> SessionSpec {
    SessionSpec {
        kind: Kind {
            violations: Some(Responses::STRICT),
            ..desk::kind()
        },
        ..desk::spec(number)
    }
}

/// R209, R210: as calls of sessions, which are gone afterwards.
pub(crate) async fn in_sessions() {
    let run = |hostile: &Hostile| program(&["python3", "-c", &hostile.source()]);
    in_desk(run, false).await;
}

/// R209, R210: as cells of contexts, whose sessions are gone afterwards.
pub(crate) async fn in_contexts() {
    in_desk(|hostile| desk::cell(&hostile.source()), true).await;
}

async fn in_desk(command: impl Fn(&Hostile) -> Command, in_context: bool) {
    let desk = Desk::open();
    let mut wrong = Vec::new();
    for (number, hostile) in (0..).zip(hostile()) {
        let session = desk.keeper.open(spec(number)).await.expect("a session").id;
        let context = in_context.then(|| desk::context_id(number));
        if let Some(context) = context {
            let opened = desk.keeper.open_context(session, owner("agent"), context);
            opened.await.expect("a context");
        }
        let place = PlaceSpec {
            context,
            ..desk.place(number)
        };
        let done = desk
            .call_in(place, command(&hostile))
            .await
            .expect("a call");
        wrong.extend(judge(&hostile, &done.ended, &done.stdout));
        let ended = hostile.end == End::Violation;
        wrong.extend(left(&desk, session, context, ended).await);
        if !ended {
            let closed = desk.keeper.close(session, owner("agent"));
            closed.await.expect("it was alive");
        }
    }
    desk.keeper.end().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with what became of a session.
async fn left(
    desk: &Desk,
    session: SessionId,
    context: Option<ContextId>,
    ended: bool,
) -> Option<String> {
    let spec = PlaceSpec {
        session,
        context,
        ..desk.place(1)
    };
    match (desk.keeper.place(spec).await, ended) {
        (Ok(_), false) => None,
        (
            Err(KeeperError::SessionGone {
                why: Gone::Violation,
                ..
            }),
            true,
        ) => None,
        (Ok(_), true) => Some(format!("{session} goes on")),
        (Err(error), _) => Some(format!("{session}: {error}")),
    }
}
