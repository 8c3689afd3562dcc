//! Solvers that are missing, old, slow, dead or liars.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use casemate_prove::{Places, Proof, ProveError, Solver, SolverError, Unknown, Verdict, prove};
use tempfile::TempDir;

use crate::fixture::{TENANT, good, schema, theorem};

const VERSION: &str = r#"[ "$1" = --version ] && { echo "This is cvc5 version 1.3.1"; exit; }"#;

/// A program that says that it is cvc5 and then does as `body` says.
struct Fake(TempDir);

impl Fake {
    fn new(body: &str) -> Self {
        Self::with_start(VERSION, body)
    }

    fn with_start(start: &str, body: &str) -> Self {
        let fake = Self(tempfile::tempdir().unwrap());
        let dir = fake.0.path().display();
        fs::write(
            fake.path(),
            format!("#!/bin/sh\n{start}\ncd {dir}\n{body}\n"),
        )
        .unwrap();
        fs::set_permissions(fake.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fake
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("cvc5")
    }

    async fn prove(&self) -> Result<Vec<Proof>, ProveError> {
        let mut solver = Solver::find(Some(&self.path())).await.unwrap();
        prove(&schema(), &good(), &[theorem(TENANT)], &mut solver).await
    }

    /// The process that wrote its id to `file`.
    fn pid(&self, file: &str) -> String {
        let text = fs::read_to_string(self.0.path().join(file)).unwrap();
        text.trim().to_owned()
    }
}

/// Waits until a process is gone, or dead and not yet buried.
fn assert_dies(pid: &str) {
    let stat = Path::new("/proc").join(pid).join("stat");
    for _ in 0..500 {
        match fs::read_to_string(&stat) {
            Err(_) => return,
            Ok(text) if text.contains(") Z ") => return,
            Ok(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
    panic!("{pid} still runs");
}

fn failure(result: Result<Vec<Proof>, ProveError>) -> SolverError {
    match result {
        Err(ProveError::Solver { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// I1: without a solver nothing is proved, and the error says what to do.
#[tokio::test]
async fn a_missing_solver_is_an_error_with_a_hint() {
    let no_places = Places::default();
    let error = Solver::find_in(&no_places, None).await.unwrap_err();
    assert!(matches!(&error, SolverError::Missing { tried } if tried.is_empty()));
    assert!(error.to_string().contains("pip install cvc5"), "{error}");
}

/// What is named is used or refused, whatever else there is.
#[tokio::test]
async fn a_named_program_is_never_passed_over() {
    let places = Places {
        named: Some("/nowhere/cvc5".into()),
        ..Places::of_this_process()
    };
    let error = Solver::find_in(&places, None).await.unwrap_err();
    assert!(matches!(error, SolverError::Start { .. }), "{error:?}");
    let error = Solver::find(Some(Path::new("/bin/true")))
        .await
        .unwrap_err();
    assert!(matches!(error, SolverError::NotCvc5 { .. }), "{error:?}");

    let old = Fake::with_start("echo This is cvc5 version 1.1.2; exit", "");
    let error = Solver::find_in(&places, Some(&old.path()))
        .await
        .unwrap_err();
    assert!(matches!(&error, SolverError::TooOld { version, .. } if version == "1.1.2"));
}

/// A Python without the package, and a solver that is too old, are passed over where several places are searched.
#[tokio::test]
async fn a_search_goes_on_after_what_does_not_fit() {
    let old = Fake::with_start("echo This is cvc5 version 1.1.2; exit", "");
    let python = Fake::with_start(
        r#"[ "$1" = --version ] && echo Python 3.13.0 || echo '(error "ModuleNotFoundError")'; exit"#,
        "",
    );
    let new = Fake::new("");
    let places = Places {
        named: None,
        path: vec!["relative".into(), old.0.path().into(), new.0.path().into()],
        pythons: vec![],
    };
    let found = Solver::find_in(&places, None).await.unwrap();
    assert_eq!(
        (found.path(), found.version()),
        (new.path().as_path(), "1.3.1")
    );

    let places = Places {
        named: None,
        path: vec![old.0.path().into()],
        pythons: vec![python.path()],
    };
    let error = Solver::find_in(&places, None).await.unwrap_err();
    let SolverError::Missing { tried } = error else {
        panic!("{error:?}");
    };
    assert_eq!(tried.len(), 2);
    assert!(tried[0].contains("1.1.2"), "{tried:?}");
    assert!(tried[1].contains("ModuleNotFoundError"), "{tried:?}");
}

/// I15: a solver that hangs, with whatever it started, is dead when the theorem is given up, and the next question starts anew.
#[tokio::test]
async fn a_solver_that_hangs_is_killed() {
    let fake = Fake::new("echo $$ >> first; sleep 1000 & echo $! > second; wait");
    let limit = Duration::from_millis(500);
    let mut solver = Solver::find(Some(&fake.path()))
        .await
        .unwrap()
        .with_limit(limit);
    let theorems = [theorem(TENANT), theorem(TENANT)];
    let proofs = prove(&schema(), &good(), &theorems, &mut solver)
        .await
        .unwrap();
    for proof in proofs {
        let timed_out = Unknown::TimedOut { limit_ms: 500 };
        assert_eq!(proof.verdict, Verdict::Unknown(timed_out));
    }
    let first = fake.pid("first");
    assert_eq!(first.lines().count(), 2, "{first:?}");
    first.lines().for_each(assert_dies);
    assert_dies(&fake.pid("second"));
}

/// A solver has a bounded memory and nothing of our environment, and does not outlive the value.
#[tokio::test]
async fn a_solver_is_confined_and_dies_with_its_owner() {
    let fake = Fake::new(
        "echo $$ > pid; env > env; printf 'unknown\\n\"casemate-1\"\\n'; exec sleep 1000",
    );
    let mut solver = Solver::find(Some(&fake.path())).await.unwrap();
    prove(&schema(), &good(), &[theorem(TENANT)], &mut solver)
        .await
        .unwrap();
    let pid = fake.pid("pid");
    let limits = fs::read_to_string(Path::new("/proc").join(&pid).join("limits")).unwrap();
    let memory = limits
        .lines()
        .find(|line| line.starts_with("Max address space"));
    assert!(memory.unwrap().contains(" 4294967296 "), "{limits}");
    let environment = fs::read_to_string(fake.0.path().join("env")).unwrap();
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!environment.contains("CARGO"), "{environment}");
    drop(solver);
    assert_dies(&pid);
}

/// I1: whatever is no answer to the question is an error.
#[tokio::test]
async fn a_solver_that_misbehaves_proves_nothing() {
    for (body, kind) in [
        ("exit 0", "Ended"),
        ("exit 7", "Ended"),
        ("read line; kill -9 $$", "Ended"),
        ("cat > /dev/null & exec > /dev/null; wait", "Ended"),
        ("cat", "Garbage"),
        ("yes unsat", "Garbage"),
        ("yes", "Garbage"),
        ("cat /dev/zero", "Garbage"),
        ("printf unsat", "Ended"),
        ("echo; echo unsat; exec cat > /dev/null", "Garbage"),
        ("echo '(error \"no\")'; yes unsat", "Refused"),
        // The answer of one question for the next.
        (
            "printf 'unsat\\n\"casemate-7\"\\n'; cat > /dev/null",
            "Garbage",
        ),
        (
            "printf 'sat\\n\"casemate-1\"\\n(error \"none\")\\n'; cat > /dev/null",
            "Refused",
        ),
        (
            "printf 'sat\\n\"casemate-1\"\\nmodel\\n'; cat > /dev/null",
            "Garbage",
        ),
        ("printf 'sat\\n\"casemate-1\"\\n(\\n)\\n'", "Ended"),
        ("printf 'sat\\n\"casemate-1\"\\n(\\n'; yes", "Garbage"),
    ] {
        let error = failure(Fake::new(body).prove().await);
        let said = format!("{error:?}");
        assert!(said.starts_with(kind), "{body}: {said}");
    }
}

/// A solver that invents a counterexample is found out by the engine.
#[tokio::test]
async fn an_invented_counterexample_is_no_violation() {
    let fake =
        Fake::new("printf 'sat\\n\"casemate-1\"\\n(\\n)\\n\"casemate-2\"\\n'; cat > /dev/null");
    let error = fake.prove().await.unwrap_err();
    println!("{error:?}");
    assert!(
        matches!(error, ProveError::Replay { .. } | ProveError::Solver { .. }),
        "{error:?}"
    );
}

/// A solver that gives up is not taken for one that says yes.
#[tokio::test]
async fn giving_up_is_unknown() {
    let fake = Fake::new("printf 'unknown\\n\"casemate-1\"\\n'; cat > /dev/null");
    let proofs = fake.prove().await.unwrap();
    assert_eq!(proofs[0].verdict, Verdict::Unknown(Unknown::GaveUp));
}

/// After a failure the next question gets a new process, not what is left of the old one's answer.
#[tokio::test]
async fn a_process_that_failed_is_not_asked_again() {
    let fake = Fake::new(
        "[ -e once ] || { touch once; echo '(error \"no\")'; exec yes unsat; }
         printf 'unknown\\n\"casemate-1\"\\n'; exec cat > /dev/null",
    );
    let mut solver = Solver::find(Some(&fake.path())).await.unwrap();
    let (schema, good, theorems) = (schema(), good(), [theorem(TENANT)]);
    let error = failure(prove(&schema, &good, &theorems, &mut solver).await);
    assert!(matches!(error, SolverError::Refused { .. }), "{error:?}");
    let proofs = prove(&schema, &good, &theorems, &mut solver).await.unwrap();
    assert_eq!(proofs[0].verdict, Verdict::Unknown(Unknown::GaveUp));
}
