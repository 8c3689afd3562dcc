//! Requests of calls beside calls.

use super::*;
use crate::limits::OPEN_DECISIONS_OF_CALLS;

/// I15: requests of calls fill the table only so far that calls find room in it, and end when it is full.
#[test]
fn requests_leave_room_for_calls() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger_on_disk(dir.path());
    let requests = (MAX_OPEN_DECISIONS - OPEN_DECISIONS_OF_CALLS) as u64;
    let all = MAX_OPEN_DECISIONS as u64;
    let fill = |from: u64, to: u64| {
        let bodies: Vec<_> = (from..to).map(|n| body(2 * n)).collect();
        for some in bodies.chunks(1_024) {
            let results = lock(&ledger.writer).commit(&some.iter().collect::<Vec<_>>());
            assert!(results.iter().all(Result::is_ok));
        }
    };
    fill(0, requests - 1);
    ledger.append_request(entry(2 * (requests - 1))).unwrap();
    let request = || ledger.append_request(entry(2 * all));
    assert!(matches!(request(), Err(LedgerError::TooManyOpen)));
    // Calls go on, up to the last place.
    ledger.append(entry(2 * requests)).unwrap();
    fill(requests + 1, all);
    assert!(matches!(request(), Err(LedgerError::TooManyOpen)));
    // A request that is open ends.
    ledger
        .append_request(entry(2 * (requests - 1) + 1))
        .unwrap();
    let open = ledger.open_decisions().unwrap();
    assert_eq!(open.len(), MAX_OPEN_DECISIONS - 1);
}

/// A request is not recorded under the name of a call that is open, as allowed or as refused.
#[test]
fn a_request_has_no_name_of_a_call() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = ledger_on_disk(dir.path());
    ledger.append(entry(0)).unwrap();
    let denied = Entry {
        kind: Kind::Denied,
        ..entry(0)
    };
    for request in [entry(0), denied] {
        let taken = ledger.append_request(request);
        assert!(matches!(taken, Err(LedgerError::NameTaken)), "{taken:?}");
    }
    assert_eq!(check(dir.path()).size, 1);
    ledger.append_request(entry(2)).unwrap();
    assert_eq!(check(dir.path()).size, 2);
}
