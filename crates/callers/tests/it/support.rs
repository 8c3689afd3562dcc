//! Issuers to work with. All keys are made when the tests run.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    encoding::AsDer as _,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_callers::{
    Algorithm, Caller, IssuerConfig, JwtVerifier, KeySource, KeySourceError, Refusal, RefusalCode,
    Role,
};
use serde_json::{Value, json};

/// Some moment, in milliseconds since 1970.
pub(crate) const NOW: u64 = 1_800_000_000_000;
pub(crate) const NOW_S: u64 = NOW / 1_000;
pub(crate) const HOUR_S: u64 = 3_600;
pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "https://casemate.example";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) enum Signer {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

pub(crate) struct TestKey {
    pub(crate) kid: String,
    pub(crate) alg: &'static str,
    pub(crate) signer: Signer,
}

impl TestKey {
    pub(crate) fn new(alg: &'static str, kid: &str) -> Self {
        let signer = match alg {
            "EdDSA" => Signer::Ed(Ed25519KeyPair::generate().unwrap()),
            "ES256" => {
                Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
            "ES384" => {
                Signer::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
            }
            _ => Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        let kid = kid.to_owned();
        Self { kid, alg, signer }
    }

    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.signer {
            Signer::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Signer::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    pub(crate) fn public_der(&self) -> Vec<u8> {
        match &self.signer {
            Signer::Ed(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Signer::Ec(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Signer::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let public = self.public_bytes();
        match &self.signer {
            Signer::Ed(_) => json!({
                "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "use": "sig", "x": b64(&public),
            }),
            Signer::Ec(_) => {
                let size = (public.len() - 1) / 2;
                let crv = if size == 32 { "P-256" } else { "P-384" };
                json!({
                    "kty": "EC", "crv": crv, "kid": self.kid, "alg": self.alg,
                    "x": b64(&public[1..=size]), "y": b64(&public[size + 1..]),
                })
            }
            Signer::Rsa(pair) => json!({
                "kty": "RSA", "kid": self.kid, "key_ops": ["verify"],
                "n": b64(pair.public_key().modulus().big_endian_without_leading_zero()),
                "e": b64(pair.public_key().exponent().big_endian_without_leading_zero()),
            }),
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg, "kid": self.kid, "typ": "at+jwt"})
    }

    pub(crate) fn sign_text(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let random = SystemRandom::new();
        let signature = match &self.signer {
            Signer::Ed(pair) => pair.sign(signed.as_bytes()).as_ref().to_vec(),
            Signer::Ec(pair) => pair
                .sign(&random, signed.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Signer::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match self.alg {
                    "PS256" => &RSA_PSS_SHA256,
                    _ => &RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &random, signed.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{signed}.{}", b64(signature))
    }

    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    pub(crate) fn token(&self, payload: &Value) -> String {
        self.sign(&self.header(), payload)
    }
}

pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "tenant": "acme", "aud": AUDIENCE,
        "iat": NOW_S, "nbf": NOW_S, "exp": NOW_S + 600, "jti": "t-1",
        "scope": "calls:run calls:read", "roles": ["casemate-operators", "other"],
        "nested": {"a": 1},
    })
}

/// The claims with one changed, or left out where it is null.
pub(crate) fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims
            .as_object_mut()
            .unwrap()
            .insert(name.to_owned(), value),
    };
    claims
}

pub(crate) fn config() -> IssuerConfig {
    IssuerConfig {
        issuer: ISSUER.to_owned(),
        audiences: set(&[AUDIENCE]),
        jwks: "/nowhere".to_owned(),
        authorities: None,
        algorithms: Algorithm::ALL.iter().copied().collect(),
        tenant_claim: "tenant".to_owned(),
        tenants: None,
        scopes_claim: "scope".to_owned(),
        roles_claim: "roles".to_owned(),
        roles: [("casemate-operators".to_owned(), Role::Operator)].into(),
        leeway_s: 30,
    }
}

/// A key set that a test changes, with the number of times that it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Scripted {
    pub(crate) answer: Mutex<Option<Vec<u8>>>,
    pub(crate) asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(jwks: &Value) -> Arc<Self> {
        let source = Self::default();
        source.set(Some(jwks));
        Arc::new(source)
    }

    pub(crate) fn set(&self, jwks: Option<&Value>) {
        *self.answer.lock().unwrap() = jwks.map(|jwks| jwks.to_string().into_bytes());
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl KeySource for Scripted {
    fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap().clone();
        answer.ok_or(KeySourceError::Stale)
    }
}

pub(crate) fn jwks(keys: &[&TestKey]) -> Value {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()})
}

pub(crate) fn verifier_of(config: IssuerConfig, source: Arc<Scripted>) -> JwtVerifier {
    JwtVerifier::with_sources(vec![(config, source as Arc<dyn KeySource>)]).unwrap()
}

/// An issuer with one Ed25519 key.
pub(crate) struct Fixture {
    pub(crate) key: TestKey,
    pub(crate) verifier: JwtVerifier,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with("EdDSA", config())
    }

    pub(crate) fn with(alg: &'static str, config: IssuerConfig) -> Self {
        let key = TestKey::new(alg, "k1");
        let verifier = verifier_of(config, Scripted::new(&jwks(&[&key])));
        Self { key, verifier }
    }

    pub(crate) fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        self.verifier.verify(token, NOW)
    }

    /// Verifies a token with these claims.
    pub(crate) fn claims(&self, claims: &Value) -> Result<Caller, Refusal> {
        self.verify(&self.key.token(claims))
    }

    /// Verifies a token in which one claim is changed.
    pub(crate) fn with_claim(&self, name: &str, value: Value) -> Result<Caller, Refusal> {
        self.claims(&claims_with(name, value))
    }
}

#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: RefusalCode) {
    match result {
        Err(refusal) => assert_eq!(refusal.code(), code, "{refusal:?}"),
        Ok(value) => panic!("expected {code}, was believed: {value:?}"),
    }
}
