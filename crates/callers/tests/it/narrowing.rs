//! Whatever is asked for along a chain, nobody gets more than who gave it.

use std::collections::BTreeSet;

use casemate_callers::{Bounds, Caller, Permission, Role};
use proptest::prelude::*;

use crate::{
    envelopes::{Gateway, user_with},
    support::{NOW, set},
};

const SCOPES: &[&str] = &["a", "b", "c", "d", "e"];

fn subset() -> impl Strategy<Value = BTreeSet<String>> {
    prop::sample::subsequence(SCOPES, 0..=SCOPES.len()).prop_map(|names| set(&names))
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let bound = || prop::option::weighted(0.4, subset());
    (bound(), bound(), bound()).prop_map(|(tools, agents, threads)| Bounds {
        tools,
        agents,
        threads,
    })
}

fn narrower(child: Option<&BTreeSet<String>>, parent: Option<&BTreeSet<String>>) -> bool {
    match (child, parent) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(child), Some(parent)) => child.is_subset(parent),
    }
}

fn assert_narrower(child: &Caller, parent: &Caller) {
    assert!(child.scopes().is_subset(parent.scopes()));
    assert!(child.roles().is_subset(parent.roles()));
    assert!(child.expires_at_ms() <= parent.expires_at_ms());
    assert_eq!(child.tenant(), parent.tenant());
    assert_eq!(child.audience(), parent.audience());
    for permission in Permission::ALL {
        assert!(!child.may(*permission) || parent.may(*permission));
    }
    let (child, parent) = (child.bounds(), parent.bounds());
    assert!(narrower(child.tools.as_ref(), parent.tools.as_ref()));
    assert!(narrower(child.agents.as_ref(), parent.agents.as_ref()));
    assert!(narrower(child.threads.as_ref(), parent.threads.as_ref()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// R138, R156: an envelope has less than what it stands on, and is refused where more was asked for.
    #[test]
    fn nobody_gains_by_delegation(
        own in subset(),
        wishes in prop::collection::vec(
            (subset(), bounds(), 1_u64..200_000_000, prop::sample::subsequence(Role::ALL, 0..=2)),
            1..7,
        ),
    ) {
        let gateway = Gateway::new();
        let own: Vec<_> = own.iter().map(String::as_str).collect();
        let root = user_with(&own, NOW + 100_000_000);
        let mut parent = root.clone();
        for (scopes, bounds, ttl_ms, mut roles) in wishes {
            // So that chains grow: without this role nothing is given on.
            roles.push(Role::Operator);
            let roles: BTreeSet<_> = roles.into_iter().collect();
            let asked = gateway.issue(&parent, |wanted| {
                wanted.scopes = scopes.clone();
                wanted.bounds = bounds.clone();
                wanted.roles = roles.clone();
                wanted.expires_at_ms = NOW + ttl_ms + 1_000;
            });
            let has = parent.bounds();
            let fits = scopes.is_subset(parent.scopes())
                && roles.is_subset(&[Role::Operator].into())
                && NOW + ttl_ms + 1_000 <= parent.expires_at_ms().min(NOW + 86_400_000)
                && narrower(bounds.tools.as_ref().or(has.tools.as_ref()), has.tools.as_ref())
                && narrower(bounds.agents.as_ref().or(has.agents.as_ref()), has.agents.as_ref())
                && narrower(bounds.threads.as_ref().or(has.threads.as_ref()), has.threads.as_ref());
            prop_assert_eq!(asked.is_ok(), fits, "{:?}", asked.err());
            let Ok(held) = asked else { continue };
            let child = gateway.verify(&held).unwrap();
            assert_narrower(&child, &parent);
            assert_narrower(&child, &root);
            prop_assert_eq!(child.scopes(), &scopes);
            parent = child;
        }
    }
}
