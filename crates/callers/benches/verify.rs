//! What it costs to prove a caller. `cargo bench -p casemate-callers`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    dead_code,
    unreachable_pub,
    reason = "a benchmark"
)]

#[path = "../tests/it/support.rs"]
mod support;

use std::{hint::black_box, time::Instant};

use casemate_callers::{
    ApiKeys, Bounds, Caller, Envelopes, HolderKey, LocalUser, MemoryReplayGuard, NewApiKey, Role,
    Target, Wanted,
};

use support::{AUDIENCE, Fixture, NOW, claims, config, set};

const ROUNDS: u32 = 5_000;

/// The fastest of five runs, so that other programs on the machine count little.
fn measure(name: &str, mut once: impl FnMut()) {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS / 5 {
                once();
            }
            start.elapsed().as_nanos() / u128::from(ROUNDS / 5)
        })
        .min();
    println!("{name:32} {:>9.1} µs", best.unwrap() as f64 / 1_000.0);
}

fn main() {
    for alg in ["EdDSA", "ES256", "ES384", "RS256"] {
        let fixture = Fixture::with(alg, config());
        let token = fixture.key.token(&claims());
        measure(&format!("token, {alg}"), || {
            black_box(fixture.verify(black_box(&token)).unwrap());
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let keys = ApiKeys::open(&dir.path().join("keys"), AUDIENCE).unwrap();
    let new = NewApiKey {
        subject: "ci".to_owned(),
        tenant: "acme".to_owned(),
        scopes: set(&["calls:run"]),
        roles: [Role::Operator].into(),
        ttl_ms: 1_000,
    };
    let texts: Vec<_> = (0..100)
        .map(|_| keys.create(&new, NOW).unwrap().1)
        .collect();
    measure("API key, one of 100", || {
        black_box(keys.verify(black_box(&texts[50]), NOW).unwrap());
    });
    envelopes(dir.path());
}

fn envelopes(dir: &std::path::Path) {
    let envelopes = Envelopes::open(dir, "https://gateway.example").unwrap();
    let guard = MemoryReplayGuard::new(0);
    let target = Target::Request {
        method: "POST",
        path: "/v1/calls",
    };
    let mut parent = Caller::local_user(&LocalUser {
        uid: 0,
        tenant: "acme".to_owned(),
        audience: AUDIENCE.to_owned(),
        scopes: set(&["calls:run"]),
        roles: [Role::Operator].into(),
        expires_at_ms: NOW + 3_600_000,
    })
    .unwrap();
    for depth in 1..=3 {
        let holder = HolderKey::generate().unwrap();
        let wanted = Wanted {
            subject: "agent".to_owned(),
            scopes: set(&["calls:run"]),
            roles: [Role::Operator].into(),
            bounds: Bounds::default(),
            expires_at_ms: NOW + 3_600_000,
            holder: holder.public(),
        };
        let issued = envelopes.issue(&parent, &wanted, NOW).unwrap();
        let prove = || holder.prove(&issued.text, &target, NOW).unwrap();
        measure(&format!("envelope and proof made, depth {depth}"), || {
            let proof = prove();
            black_box(
                envelopes
                    .verify(&issued.text, &proof, &target, &guard, NOW)
                    .unwrap(),
            );
        });
        parent = envelopes
            .verify(&issued.text, &prove(), &target, &guard, NOW)
            .unwrap();
    }
}
