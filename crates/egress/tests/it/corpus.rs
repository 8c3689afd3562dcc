//! The corpus: attacks as data, of which our proxy holds every one exactly as it says.

mod ours;

use std::collections::BTreeSet;

use casemate_attacks::{Manner, cases, run};

use self::ours::Ours;

/// Runs the cases of one group against our proxy, and names all that it does not hold.
async fn hold(group: char) {
    let mut failures = Vec::new();
    let mut count = 0;
    for case in cases()
        .into_iter()
        .filter(|case| case.id.starts_with(group))
    {
        for variant in case.variants() {
            count += 1;
            let (subject, destinations) = Ours::new(&variant).await;
            let report = run(&variant, &subject, &destinations, Manner::EXACT).await;
            if let Err(why) = report.exact(&variant) {
                failures.push(format!("{} {}: {why}", variant.id, variant.what));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 0, "no case begins with {group}");
}

#[test]
fn ids_are_unique_and_every_case_says_where_it_was_seen() {
    let mut ids = BTreeSet::new();
    for case in cases() {
        assert!(ids.insert(case.id.clone()), "{} is there twice", case.id);
        assert!(
            !case.seen.is_empty() && !case.what.is_empty(),
            "{}",
            case.id
        );
        assert!(
            case.upstream > 0
                || !case.codes.is_empty()
                || case
                    .steps
                    .iter()
                    .any(|step| matches!(step, casemate_attacks::Step::Ask { .. })),
            "{}: refused or sent",
            case.id
        );
    }
    assert!(ids.len() >= 130, "{}", ids.len());
}

/// R109, R110: addresses, in every spelling and wrapping.
#[tokio::test]
async fn addresses_hold() {
    hold('A').await;
}

/// R106: DNS.
#[tokio::test]
async fn dns_holds() {
    hold('D').await;
}

/// R106: names.
#[tokio::test]
async fn names_hold() {
    hold('N').await;
}

/// R111, R119: tunnels and TLS.
#[tokio::test]
async fn tunnels_hold() {
    hold('T').await;
}

/// R105: requests that could be read in two ways.
#[tokio::test]
async fn requests_hold() {
    hold('H').await;
}

/// R105: other transports.
#[tokio::test]
async fn transports_hold() {
    hold('X').await;
}

/// R105: WebSockets, frame by frame.
#[tokio::test]
async fn websockets_hold() {
    hold('C').await;
}

/// R105: answers of hostile destinations.
#[tokio::test]
async fn answers_hold() {
    hold('R').await;
}
