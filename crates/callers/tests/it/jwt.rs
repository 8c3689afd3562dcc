//! Tokens that are believed, and claims for which they are not.

use casemate_callers::{Authenticator, Permission, RefusalCode as Code, Role};
use serde_json::{Value, json};

use crate::support::{
    AUDIENCE, Fixture, HOUR_S, ISSUER, NOW, NOW_S, Scripted, TestKey, claims, claims_with, config,
    jwks, refused, set, verifier_of,
};

/// R126, R136: issuer, audience, expiry, subject, tenant and scopes come from a verified token.
#[test]
fn a_good_token_says_who_calls() {
    for alg in ["EdDSA", "ES256", "ES384", "RS256", "PS256"] {
        let fixture = Fixture::with(alg, config());
        let caller = fixture.claims(&claims()).unwrap();
        assert_eq!(caller.issuer(), ISSUER);
        assert_eq!(caller.subject(), "alice");
        assert_eq!(caller.tenant(), "acme");
        assert_eq!(caller.audience(), AUDIENCE);
        assert_eq!(*caller.scopes(), set(&["calls:read", "calls:run"]));
        assert_eq!(*caller.roles(), [Role::Operator].into());
        assert_eq!(caller.expires_at_ms(), NOW + 630_000);
        assert_eq!(caller.authority(), Authenticator::Jwt);
        assert_eq!(caller.credential(), "jti:t-1");
        assert!(caller.behalf().is_empty());
        assert!(caller.may(Permission::RunCalls) && !caller.may(Permission::DecideApprovals));
    }
}

#[test]
fn claims_are_found_where_the_issuer_puts_them() {
    let mut config = config();
    config.tenant_claim = "https://example/tenant".to_owned();
    config.scopes_claim = "scp".to_owned();
    config.roles_claim = "/realm/access/roles".to_owned();
    let fixture = Fixture::with("EdDSA", config);
    let mut claims = claims_with("tenant", Value::Null);
    claims["https://example/tenant"] = json!("acme");
    claims["scp"] = json!(["a", "b"]);
    claims["realm"] = json!({"access": {"roles": "casemate-operators"}});
    claims["aud"] = json!(["https://other.example", AUDIENCE]);
    claims.as_object_mut().unwrap().remove("jti");
    let caller = fixture.claims(&claims).unwrap();
    assert_eq!((caller.tenant(), caller.audience()), ("acme", AUDIENCE));
    assert_eq!(*caller.scopes(), set(&["a", "b"]));
    assert_eq!(*caller.roles(), [Role::Operator].into());
    assert_eq!(caller.credential(), "kid:k1");
}

/// A role that nobody mapped is none, even if it is called like one of ours.
#[test]
fn roles_mean_only_what_is_mapped() {
    let fixture = Fixture::new();
    for roles in [
        json!(["administrator", "approver"]),
        json!("operator"),
        json!([]),
        Value::Null,
    ] {
        assert!(
            fixture
                .with_claim("roles", roles)
                .unwrap()
                .roles()
                .is_empty()
        );
    }
    for roles in [json!(1), json!({"a": 1}), json!([1]), json!(vec!["r"; 257])] {
        refused(fixture.with_claim("roles", roles), Code::InvalidClaim);
    }
}

/// R87, R136: a token for another service, or for none, proves nothing here.
#[test]
fn the_audience_is_this_gateway() {
    let fixture = Fixture::new();
    let bad = [
        json!("https://other.example"),
        json!("https://casemate.example/"),
        json!("HTTPS://casemate.example"),
        json!("https://casemate.example.evil.example"),
        json!(" https://casemate.example"),
        json!("https://other.example https://casemate.example"),
        json!(""),
        json!([]),
        json!(["https://other.example"]),
    ];
    for audience in bad {
        refused(fixture.with_claim("aud", audience), Code::Audience);
    }
    refused(fixture.with_claim("aud", Value::Null), Code::MissingClaim);
    for audience in [json!(1), json!({AUDIENCE: AUDIENCE}), json!([1, AUDIENCE])] {
        refused(fixture.with_claim("aud", audience), Code::InvalidClaim);
    }
    let mut many = vec![AUDIENCE; 17];
    refused(fixture.with_claim("aud", json!(many)), Code::InvalidClaim);
    many.truncate(16);
    assert!(fixture.with_claim("aud", json!(many)).is_ok());
}

/// R87: two issuers, and the token of one does not do for the audience or the keys of the other.
#[test]
fn issuers_are_not_confused() {
    let (one, other) = (TestKey::new("EdDSA", "k1"), TestKey::new("EdDSA", "k1"));
    let mut second = config();
    second.issuer = "https://second.example".to_owned();
    second.audiences = set(&["https://second-audience.example"]);
    let verifier = casemate_callers::JwtVerifier::with_sources(vec![
        (config(), Scripted::new(&jwks(&[&one])) as _),
        (second, Scripted::new(&jwks(&[&other])) as _),
    ])
    .unwrap();
    assert!(verifier.verify(&one.token(&claims()), NOW).is_ok());
    // The second issuer signs for the first, with a key of the same name.
    refused(
        verifier.verify(&other.token(&claims()), NOW),
        Code::Signature,
    );
    let from_second = claims_with("iss", json!("https://second.example"));
    refused(
        verifier.verify(&other.token(&from_second), NOW),
        Code::Audience,
    );
    refused(
        verifier.verify(&one.token(&from_second), NOW),
        Code::Signature,
    );
}

/// R136: nobody else is believed, however much the name is alike.
#[test]
fn the_issuer_is_known_to_the_byte() {
    let fixture = Fixture::new();
    for issuer in [
        "https://login.example/",
        "https://login.Example",
        "",
        "https://evil.example",
    ] {
        refused(fixture.with_claim("iss", json!(issuer)), Code::Issuer);
    }
    refused(fixture.with_claim("iss", Value::Null), Code::MissingClaim);
    refused(
        fixture.with_claim("iss", json!([ISSUER])),
        Code::MissingClaim,
    );
}

/// R136: a token has an end, and it is to come.
#[test]
fn time_counts_in_both_directions() {
    let fixture = Fixture::new();
    refused(fixture.with_claim("exp", Value::Null), Code::MissingClaim);
    for past in [0, 1, NOW_S - HOUR_S, NOW_S - 31, NOW_S - 30] {
        refused(fixture.with_claim("exp", json!(past)), Code::Expired);
    }
    assert!(fixture.with_claim("exp", json!(NOW_S - 29)).is_ok());
    for future in [NOW_S + 31, NOW_S + HOUR_S, u64::MAX / 1_000] {
        refused(fixture.with_claim("nbf", json!(future)), Code::NotYet);
        refused(fixture.with_claim("iat", json!(future)), Code::Future);
    }
    for claim in ["nbf", "iat"] {
        assert!(fixture.with_claim(claim, json!(NOW_S + 30)).is_ok());
        assert!(fixture.with_claim(claim, json!(NOW_S - HOUR_S)).is_ok());
        assert!(fixture.with_claim(claim, Value::Null).is_ok());
    }
    for claim in ["exp", "nbf", "iat"] {
        for odd in [
            json!("1900000000"),
            json!(1.9e9),
            json!(-1),
            json!(true),
            json!([NOW_S + 600]),
            json!(u64::MAX),
        ] {
            refused(fixture.with_claim(claim, odd), Code::InvalidClaim);
        }
    }
}

/// An hour of difference between the clocks is refused, whichever of them is wrong.
#[test]
fn clocks_that_are_an_hour_apart_are_refused() {
    let fixture = Fixture::new();
    let token = fixture.key.token(&claims());
    let verify = |now_s: u64| fixture.verifier.verify(&token, now_s * 1_000);
    refused(verify(NOW_S + HOUR_S), Code::Expired);
    refused(verify(NOW_S - HOUR_S), Code::NotYet);
    let token = fixture.key.token(&claims_with("nbf", Value::Null));
    refused(
        fixture.verifier.verify(&token, (NOW_S - HOUR_S) * 1_000),
        Code::Future,
    );
}

/// R136: whose data the caller may touch is said by the issuer, or nobody calls.
#[test]
fn subject_and_tenant_are_said_plainly() {
    let fixture = Fixture::new();
    for claim in ["sub", "tenant"] {
        refused(fixture.with_claim(claim, Value::Null), Code::MissingClaim);
        for odd in [
            json!(""),
            json!(" acme"),
            json!("acme\n"),
            json!("ac\u{0}me"),
            json!("x".repeat(257)),
            json!(7),
            json!(["acme"]),
            json!({"id": "acme"}),
        ] {
            refused(fixture.with_claim(claim, odd), Code::InvalidClaim);
        }
    }
}

/// An issuer that speaks for some tenants speaks for no other.
#[test]
fn an_issuer_keeps_to_its_tenants() {
    let mut config = config();
    config.tenants = Some(set(&["acme", "umbrella"]));
    let fixture = Fixture::with("EdDSA", config.clone());
    for tenant in ["acme", "umbrella"] {
        assert!(fixture.with_claim("tenant", json!(tenant)).is_ok());
    }
    for tenant in ["Acme", "acme2", "evil"] {
        refused(fixture.with_claim("tenant", json!(tenant)), Code::Tenant);
    }
    config.tenants = Some(set(&[]));
    refused(
        Fixture::with("EdDSA", config).claims(&claims()),
        Code::Tenant,
    );
}

#[test]
fn scopes_are_words() {
    let fixture = Fixture::new();
    let none = fixture.with_claim("scope", Value::Null).unwrap();
    assert!(none.scopes().is_empty());
    let many: Vec<_> = (0..129).map(|n| format!("s{n}")).collect();
    for odd in [
        json!(1),
        json!(["a b"]),
        json!([""]),
        json!(["a", 1]),
        json!("a\tb"),
        json!("a\u{e9}"),
        json!("x".repeat(129)),
        json!(many),
        json!(many.join(" ")),
    ] {
        refused(fixture.with_claim("scope", odd), Code::InvalidClaim);
    }
}

/// A verifier without issuers believes nobody; one with them believes from many threads.
#[test]
fn nobody_is_believed_by_default() {
    let fixture = Fixture::new();
    let token = fixture.key.token(&claims());
    let nobody = casemate_callers::JwtVerifier::new(Vec::new()).unwrap();
    refused(nobody.verify(&token, NOW), Code::Issuer);
    let source = Scripted::new(&jwks(&[&fixture.key]));
    let verifier = verifier_of(config(), source);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert!(verifier.verify(&token, NOW).is_ok());
                }
            });
        }
    });
}
