//! The library of ready profiles in `examples/policies`, and its own tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use casemate_model::{Reason, SideEffect, Tier};
use casemate_policy::{CheckName, Engine, Manifest, Profile, Syntax, Trial, Tried, Verdict};

use crate::{
    build::seed_profile,
    directory::{self, Files, compile},
};

/// The library's files, its engine, and of each of its tests what was asked for and how it ended.
type Library = (Files, Engine, Vec<(String, Tried)>);

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let files = directory::library();
        let (engine, trials) = compile(&files).unwrap_or_else(|wrong| panic!("{wrong}"));
        // What is asked for does not depend on the profile.
        let any = seed_profile();
        let run = |trial: &Trial| {
            let asked = trial.inputs(&engine, &any).wish;
            (asked.name().to_owned(), trial.run(&engine))
        };
        let tried = trials.iter().map(run).collect();
        (files, engine, tried)
    })
}

fn profile_of(engine: &Engine, route: &str) -> Profile {
    let profile = engine.profile(route);
    profile
        .unwrap_or_else(|| panic!("no route {route}"))
        .as_ref()
        .clone()
}

/// R66–R68, R70, R71, R123–R135, R140, R150: what the seeds say of each tier and of each example is a test that anybody can read, and it holds.
#[test]
fn every_test_of_the_library_holds() {
    let (_, _, tried) = library();
    assert!(tried.len() >= 140, "{}", tried.len());
    let failures: Vec<_> = tried
        .iter()
        .filter_map(|(_, tried)| Some(format!("{}: {}", tried.name, tried.failure.as_ref()?)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A rule is worth what its tests show: that it lets through what it should, and nothing else.
#[test]
fn every_tool_has_a_positive_and_a_negative_test() {
    let (files, engine, tried) = library();
    let mut tools: BTreeSet<String> = engine
        .routes()
        .flat_map(|route| {
            let profile = profile_of(engine, route);
            profile
                .tools
                .listed()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let manifests = files.keys().filter_map(|name| name.strip_prefix("tools/"));
    tools.extend(
        manifests
            .filter_map(|name| name.strip_suffix(".toml"))
            .map(str::to_owned),
    );
    let mut verdicts: BTreeMap<&str, BTreeSet<Verdict>> = BTreeMap::new();
    for (tool, tried) in tried {
        verdicts
            .entry(tool)
            .or_default()
            .insert(tried.decision.verdict);
    }
    for tool in &tools {
        let seen = verdicts.get(tool.as_str()).cloned().unwrap_or_default();
        assert!(seen.contains(&Verdict::Allow), "{tool} is never allowed");
        assert!(seen.contains(&Verdict::Deny), "{tool} is never denied");
    }
    assert!(tools.len() >= 18, "{tools:?}");
}

/// The reasons that no test of the library can show: nothing is wrong with it, and it never met what gives them.
#[test]
fn every_question_of_a_call_fails_in_some_test() {
    let (_, _, tried) = library();
    let failed: BTreeSet<CheckName> = tried
        .iter()
        .filter_map(|(_, tried)| tried.decision.checks.last())
        .filter(|check| !check.passed)
        .map(|check| check.name)
        .collect();
    // Those of a program's form have no word in a test of policies, and the tiers are checked when a bundle is made.
    let others = [
        CheckName::Secrets,
        CheckName::Environment,
        CheckName::Limits,
        CheckName::Inputs,
        CheckName::Tier,
    ];
    for check in CheckName::ALL {
        assert_eq!(
            failed.contains(check),
            !others.contains(check),
            "{}",
            check.as_str()
        );
    }
}

/// Every policy of the library decides some test, so that none is there for show.
#[test]
fn every_policy_decides_a_test() {
    let (files, _, tried) = library();
    let text: String = files
        .iter()
        .filter(|(name, _)| name.starts_with("policies/"))
        .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
        .collect();
    let ids: Vec<_> = text.split("@id(\"").skip(1).collect();
    assert!(ids.len() >= 4);
    for id in ids {
        let (id, _) = id.split_once('"').unwrap();
        let decides = tried.iter().any(|(_, tried)| {
            tried.decision.reason == Reason::PolicyForbids
                && tried.decision.policies.iter().any(|name| name == id)
        });
        assert!(decides, "{id}");
    }
}

/// R66–R68, R70: there is a profile of each tier, the browser's too, for which no browser exists yet.
#[test]
fn there_is_a_profile_of_each_tier() {
    let (_, engine, _) = library();
    let tiers: BTreeSet<_> = engine
        .routes()
        .map(|route| profile_of(engine, route).tier)
        .collect();
    let all = Tier::ALL.iter().copied().map(Some).collect();
    assert_eq!(tiers, all);
}

/// R66, R71: whatever a profile of the least tier lists only reads, and no tool needs more than its profile's tier.
#[test]
fn no_tool_is_above_its_tier() {
    let (_, engine, _) = library();
    for route in engine.routes() {
        let profile = profile_of(engine, route);
        for tool in profile.tools.listed() {
            let manifest = engine.manifest(tool).unwrap();
            assert!(manifest.tier <= profile.tier.unwrap(), "{route}: {tool}");
            if profile.tier == Some(Tier::ReadOnly) {
                assert_eq!(manifest.side_effect, SideEffect::Read, "{route}: {tool}");
            }
        }
    }
}

/// R139: no tool of the library is on every route.
#[test]
fn there_is_no_global_tool() {
    let (_, engine, _) = library();
    let routes: Vec<_> = engine.routes().collect();
    for route in &routes {
        for tool in profile_of(engine, route).tools.listed() {
            let lists = |route: &&str| {
                profile_of(engine, route)
                    .tools
                    .listed()
                    .any(|listed| listed == tool)
            };
            assert!(routes.iter().filter(|route| lists(route)).count() <= 2);
        }
    }
}

/// The seeds' profile and the library's differ in the tier, and in nothing else.
#[test]
fn the_librarys_support_profile_is_the_seeds_with_its_tier() {
    let (_, engine, _) = library();
    let seed = seed_profile();
    let ours = profile_of(engine, &seed.route);
    assert_eq!((seed.tier, ours.tier), (None, Some(Tier::ToolLimited)));
    assert_eq!(ours.risk_class, seed.risk_class);
    assert_eq!(ours.identity, seed.identity);
    assert_eq!(ours.sandbox, seed.sandbox);
    assert_eq!(ours.quotas, seed.quotas);
    assert_eq!(ours.tools, seed.tools);
    assert_eq!(ours.observability, seed.observability);
}

/// Whoever copies a manifest sees every key that counts.
#[test]
fn the_librarys_manifests_leave_nothing_out() {
    let (files, _, _) = library();
    for (name, text) in files {
        if name.starts_with("tools/") {
            let manifest = Manifest::parse(text, Syntax::Toml).unwrap();
            let named = name
                .strip_prefix("tools/")
                .unwrap()
                .strip_suffix(".toml")
                .unwrap();
            assert_eq!(manifest.name, named);
            assert_eq!(manifest.assumed(), &[] as &[&str], "{name}");
        }
    }
}
