//! No change of a valid token is believed.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use crate::support::{Fixture, claims};

static FIXTURES: LazyLock<Vec<(Fixture, String)>> = LazyLock::new(|| {
    ["EdDSA", "ES256", "RS256"]
        .into_iter()
        .map(|alg| {
            let fixture = Fixture::with(alg, crate::support::config());
            let token = fixture.key.token(&claims());
            assert!(fixture.verify(&token).is_ok());
            (fixture, token)
        })
        .collect()
});

#[derive(Clone, Debug)]
enum Mutation {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0x20_u8..0x7f).prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (at(), 0_u8..7).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (at(), 0x20_u8..0x7f).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        at().prop_map(Mutation::Remove),
        (at(), at()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        at().prop_map(Mutation::Cut),
        at().prop_map(Mutation::Repeat),
    ]
}

fn apply(text: &mut Vec<u8>, mutation: &Mutation) {
    if text.is_empty() {
        return;
    }
    let len = text.len();
    match mutation {
        Mutation::Set(at, byte) => text[at.index(len)] = *byte,
        Mutation::Flip(at, bit) => text[at.index(len)] ^= 1 << bit,
        Mutation::Insert(at, byte) => text.insert(at.index(len), *byte),
        Mutation::Remove(at) => drop(text.remove(at.index(len))),
        Mutation::Swap(one, other) => text.swap(one.index(len), other.index(len)),
        Mutation::Cut(at) => text.truncate(at.index(len)),
        Mutation::Repeat(at) => text.extend_from_within(at.index(len)..),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// R136: each byte of a token is covered by its signature or by its form.
    #[test]
    fn a_changed_token_is_refused(
        which in 0_usize..3,
        mutations in prop::collection::vec(mutation(), 1..4),
    ) {
        let (fixture, token) = &FIXTURES[which];
        let mut bytes = token.clone().into_bytes();
        for mutation in &mutations {
            apply(&mut bytes, mutation);
        }
        let changed = String::from_utf8_lossy(&bytes).into_owned();
        prop_assume!(changed != *token);
        prop_assert!(fixture.verify(&changed).is_err(), "{}", changed);
    }

    /// I1: no text is a token, and none makes the reader fail otherwise.
    #[test]
    fn a_random_text_is_refused(text in "\\PC{0,200}", parts in prop::collection::vec("[A-Za-z0-9_-]{0,80}", 0..5)) {
        let (fixture, _) = &FIXTURES[0];
        prop_assert!(fixture.verify(&text).is_err());
        prop_assert!(fixture.verify(&parts.join(".")).is_err());
    }

    /// What is signed by somebody else says nothing, whatever it says.
    #[test]
    fn a_strangers_claims_are_refused(sub in ".{0,40}", exp in any::<u64>(), kid in "[a-z0-9]{0,4}") {
        let (fixture, _) = &FIXTURES[0];
        let (stranger, _) = &FIXTURES[1];
        let mut claims = claims();
        claims["sub"] = json!(sub);
        claims["exp"] = json!(exp);
        let header = json!({"alg": "ES256", "kid": kid, "typ": "JWT"});
        prop_assert!(fixture.verify(&stranger.key.sign(&header, &claims)).is_err());
    }
}

/// R136: each single bit of a token counts.
#[test]
fn no_bit_of_a_token_is_free() {
    let (fixture, token) = &FIXTURES[0];
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(fixture.verify(&changed).is_err(), "byte {at} bit {bit}");
            }
        }
    }
}
