//! Which attacks each proxy holds.

use std::{
    collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration,
};

use casemate_attacks::{
    Case, Destination, Destinations, Manner, Outcome, Within, cases, judge, run,
};
use serde_json::{Value, json};

use crate::{
    Failure, bare, mitmproxy, names,
    ours::Ours,
    peer::{Peer, Rules},
    squid,
};

/// How long an answer of any proxy is waited for, ours too.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where attacks lead that name a port.
const PORTS: [u16; 9] = [22, 25, 53, 80, 443, 853, 1, 8_080, 32_526];

/// What became of one group of cases at one proxy.
#[derive(Debug, Default)]
struct Group {
    asked: usize,
    held: usize,
    runs: usize,
    runs_held: usize,
}

pub(crate) fn corpus() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure())?;
    println!("{report:#}");
    Ok(())
}

async fn measure() -> Result<Value, Failure> {
    let cases = cases();
    let wanted = std::env::var("CASEMATE_CASES").unwrap_or_default();
    let cases: Vec<_> = cases
        .into_iter()
        .filter(|case| case.id.starts_with(&wanted))
        .collect();
    let mut traps = Vec::new();
    for port in PORTS {
        for address in [format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
            // IPv6 may be the same socket.
            if let Ok(trap) = Destination::trap(&address).await {
                traps.push(trap);
            }
        }
    }
    let mut report = BTreeMap::from([("casemate", ours(&cases, &mut traps).await)]);
    let _names = names::serve(names::names(&cases)).await?;
    let mut destinations = Destinations::new().await?;
    destinations.elsewhere.extend(traps);
    let mut allowed = vec![("good.test".to_owned(), destinations.good.port)];
    let more = cases.iter().flat_map(|case| case.names.keys());
    allowed.extend(more.map(|name| (name.clone(), 443)));
    let directory = tempfile::tempdir()?;
    // squid reads it as another user.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let roots = directory.path().join("roots.pem");
    fs::write(&roots, &destinations.roots.pem)?;
    type Start = fn(&Rules<'_>) -> Result<Peer, Failure>;
    let peers: [Start; 4] = [
        squid::start,
        |rules| mitmproxy::start(rules, false),
        |rules| mitmproxy::start(rules, true),
        bare::start,
    ];
    for (start, port) in peers.into_iter().zip(3_128..) {
        let own = directory.path().join(port.to_string());
        fs::create_dir(&own)?;
        let rules = Rules {
            directory: &own,
            port,
            plain: destinations.plain.port,
            allowed: &allowed,
            roots: &roots,
        };
        match start(&rules) {
            Ok(mut peer) => {
                let found = attack(&cases, &mut peer, &destinations, &|| start(&rules)).await?;
                report.insert(peer.name, found);
            }
            Err(error) => eprintln!("{error}"),
        }
    }
    Ok(json!(report))
}

/// What came of attacks on ours, whose destinations are new for each, with these traps beside them.
async fn ours(cases: &[Case], traps: &mut Vec<Destination>) -> Value {
    let manner = Manner {
        patience: PATIENCE,
        ..Manner::EXACT
    };
    let (mut groups, mut failed) = (BTreeMap::new(), Vec::new());
    for case in cases {
        let mut outcomes = Vec::new();
        for variant in case.variants() {
            let (subject, mut destinations) = Ours::new(&variant).await;
            let own = destinations.elsewhere.len();
            destinations.elsewhere.append(traps);
            let report = run(&variant, &subject, &destinations, manner).await;
            *traps = destinations.elsewhere.split_off(own);
            outcomes.push(match report.exact(&variant) {
                Ok(()) => Outcome::Held,
                Err(why) => Outcome::Failed(format!("{}: {why}", variant.what)),
            });
        }
        count(case, &outcomes, &mut groups, &mut failed);
    }
    json(&groups, &failed)
}

async fn attack(
    cases: &[Case],
    peer: &mut Peer,
    to: &Destinations,
    start: &dyn Fn() -> Result<Peer, Failure>,
) -> Result<Value, Failure> {
    let (mut groups, mut failed) = (BTreeMap::new(), Vec::new());
    let manner = Manner {
        persists: true,
        patience: PATIENCE,
    };
    for case in cases {
        let mut outcomes = Vec::new();
        for variant in case.variants() {
            let report = run(&variant, peer, to, manner).await;
            let mut outcome = judge(&variant, &report);
            if let Outcome::Failed(why) = &mut outcome {
                *why = format!("{}: {why}", variant.what);
            }
            if let Some(status) = peer.child.try_wait()? {
                outcome = Outcome::Failed(format!("{}: it died, {status}", variant.what));
                *peer = start()?;
            }
            outcomes.push(outcome);
        }
        count(case, &outcomes, &mut groups, &mut failed);
    }
    Ok(json(&groups, &failed))
}

fn count(
    case: &Case,
    outcomes: &[Outcome],
    groups: &mut BTreeMap<&'static str, Group>,
    failed: &mut Vec<Value>,
) {
    let asked: Vec<_> = outcomes
        .iter()
        .filter(|outcome| **outcome != Outcome::NotAsked)
        .collect();
    if asked.is_empty() {
        return;
    }
    let held = asked
        .iter()
        .filter(|outcome| ***outcome == Outcome::Held)
        .count();
    let group = groups.entry(name(case)).or_default();
    group.asked += 1;
    group.held += usize::from(held == asked.len());
    group.runs += asked.len();
    group.runs_held += held;
    let why = asked.iter().find_map(|outcome| match outcome {
        Outcome::Failed(why) => Some(why),
        _ => None,
    });
    if let Some(why) = why {
        failed.push(json!({ "case": case.id, "runs": asked.len() - held, "first": why }));
    }
}

/// The group of a case, as the page calls it.
fn name(case: &Case) -> &'static str {
    let is_h2 = case
        .variants()
        .iter()
        .any(|variant| variant.place == Some(Within::Http2));
    match case.id.chars().next() {
        Some('A') => "addresses",
        Some('D') => "DNS",
        Some('N') => "names",
        Some('T') => "tunnels and TLS",
        Some('H') => "HTTP/1.1",
        Some('X') if is_h2 => "HTTP/2",
        Some('X') => "other transports",
        Some('C') => "WebSockets",
        _ => "answers",
    }
}

fn json(groups: &BTreeMap<&'static str, Group>, failed: &[Value]) -> Value {
    let groups: BTreeMap<_, _> = groups
        .iter()
        .map(|(name, group)| {
            let Group {
                asked,
                held,
                runs,
                runs_held,
            } = group;
            (
                name,
                json!({ "asked": asked, "held": held, "runs": runs, "runs_held": runs_held }),
            )
        })
        .collect();
    json!({ "groups": groups, "failed": failed })
}

/// Whether a program can be found.
pub(crate) fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| Path::new(&path).join(program).is_file())
}
