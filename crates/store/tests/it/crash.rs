//! SIGKILL at any moment.

use casemate_model::Sealed;
use casemate_store::{Claimed, Idempotency as _, Keys, SqliteStore, StoreError};

use crate::{
    child,
    support::{Home, claim, decision, files_under},
};

/// A claim outlives its process: the key is not free, and whoever comes next can end it.
#[tokio::test]
async fn a_claim_survives_a_kill_before_its_end() {
    let home = Home::new();
    let mut child = child::start("claim_and_wait", &home.root(), &[]);
    assert_eq!(child.line().unwrap(), "claimed");
    child.kill();
    let store = SqliteStore::open(&home.state, "a").await.unwrap();
    let again = store.claim(&claim("k", "call", 2)).await.unwrap();
    assert_eq!(
        again,
        Claimed::InFlight {
            decision: decision(1)
        }
    );
    store.mark_unknown(decision(1)).await.unwrap();
    let again = store.claim(&claim("k", "call", 3)).await.unwrap();
    assert_eq!(
        again,
        Claimed::Unknown {
            decision: decision(1)
        }
    );
}

/// R207: whatever a killed process was told is still so. Killed after 0 to 11 things it said.
#[tokio::test]
async fn nothing_that_was_answered_is_lost_in_a_kill() {
    let home = Home::new();
    for said in 0..12 {
        let mut child = child::start("claim_forever", &home.root(), &[]);
        let mut lines: Vec<String> = (0..said).map(|_| child.line().unwrap()).collect();
        lines.extend(child.kill());
        let store = SqliteStore::open(&home.state, "a").await.unwrap();
        for line in lines {
            let (what, key) = line.split_once(' ').unwrap();
            let first = decision(key.parse().unwrap());
            let now = store.claim(&claim(key, "call", 1_000_000)).await.unwrap();
            match what {
                "finished" => {
                    let finished = Claimed::Finished {
                        decision: first,
                        result: None,
                    };
                    assert_eq!(now, finished, "{line}");
                }
                _ => assert!(
                    matches!(now, Claimed::InFlight { decision } | Claimed::Finished { decision, .. }
                        if decision == first),
                    "{line}: {now:?}"
                ),
            }
        }
        store.close().await.unwrap();
    }
}

/// Killed while keys are made and erased: the next start works, what was erased stays so, what was not can
/// be read, and one more erasure leaves no key behind.
#[test]
fn keys_survive_a_kill_at_any_moment() {
    let home = Home::new();
    let mut sealed: Vec<Sealed> = Vec::new();
    let mut erased = String::new();
    for said in 0..12 {
        let mut child = child::start("churn", &home.root(), &[]);
        let mut lines: Vec<String> = (0..said).map(|_| child.line().unwrap()).collect();
        lines.extend(child.kill());
        for line in lines {
            match serde_json::from_str(&line) {
                Ok(one) => sealed.push(one),
                Err(_) => erased.push_str(&line),
            }
        }
        let keys = Keys::open(&home.state).unwrap();
        keys.signing_seed().unwrap();
        for one in &sealed {
            match keys.unseal("a", b"", one) {
                Ok(_) => assert!(!erased.contains(&one.key)),
                Err(error) => assert!(matches!(error, StoreError::KeyErased { .. }), "{error}"),
            }
        }
    }
    let keys = Keys::open(&home.state).unwrap();
    keys.erase("a").unwrap();
    for file in files_under(&home.path("keys/agents")) {
        assert_eq!(file.metadata().unwrap().len(), 0, "{file:?}");
    }
    keys.seal("a", b"", b"content").unwrap();
}
