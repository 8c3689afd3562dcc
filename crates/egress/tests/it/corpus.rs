//! The corpus: attacks as data, against any proxy that an adapter drives.

mod case;
mod ours;
mod run;

use std::{collections::BTreeSet, fs, path::Path};

use self::{case::Case, ours::Ours, run::run};

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| Case::read(&fs::read_to_string(file).unwrap(), file))
        .collect()
}

/// Runs the cases of one section against our proxy, and names all that it does not hold.
async fn hold(section: char) {
    let mut failures = Vec::new();
    let mut count = 0;
    for case in cases()
        .into_iter()
        .filter(|case| case.id.starts_with(section))
    {
        for variant in case.variants() {
            count += 1;
            let subject = Ours::new(&variant).await;
            if let Err(why) = run(&variant, &subject).await {
                failures.push(format!("{} {}: {why}", variant.id, variant.what));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count > 0, "no case begins with {section}");
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
            case.upstream > 0 || !case.codes.is_empty(),
            "{}: refused or sent",
            case.id
        );
    }
    assert!(ids.len() >= 60, "{}", ids.len());
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
