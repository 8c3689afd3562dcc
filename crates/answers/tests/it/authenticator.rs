//! A passkey in software, with a browser in front of it that can be made to lie. Tests of other crates use it too.
#![allow(dead_code, reason = "not every crate lies in every way")]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use casemate_model::Digest;
use serde_json::{Value, json};

/// User present and verified.
pub(crate) const FLAGS: u8 = 0x05;
pub(crate) const RP_ID: &str = "localhost";
pub(crate) const ORIGIN: &str = "http://localhost:8443";

enum Key {
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

pub(crate) struct Authenticator {
    key: Key,
    credential: Vec<u8>,
    pub(crate) count: u32,
}

/// What is signed; each part can be another than it should be.
pub(crate) struct Ceremony {
    pub(crate) client_data: Value,
    pub(crate) rp_id: String,
    pub(crate) flags: u8,
    pub(crate) more: Vec<u8>,
}

impl Ceremony {
    /// As an honest browser does it.
    pub(crate) fn honest(statement: &str) -> Self {
        let challenge = Digest::of(statement.as_bytes());
        Self {
            client_data: json!({
                "type": "webauthn.get",
                "challenge": BASE64_URL_SAFE_NO_PAD.encode(challenge.as_bytes()),
                "origin": ORIGIN,
                "crossOrigin": false,
            }),
            rp_id: RP_ID.to_owned(),
            flags: FLAGS,
            more: Vec::new(),
        }
    }
}

impl Authenticator {
    pub(crate) fn es256() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self::with(Key::Es256(key))
    }

    pub(crate) fn eddsa() -> Self {
        Self::with(Key::EdDsa(Ed25519KeyPair::generate().unwrap()))
    }

    fn with(key: Key) -> Self {
        let mut credential = vec![0; 16];
        aws_lc_rs::rand::fill(&mut credential).unwrap();
        Self {
            key,
            credential,
            count: 0,
        }
    }

    pub(crate) fn credential(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.credential)
    }

    pub(crate) fn public(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(match &self.key {
            Key::Es256(key) => key.public_key().as_ref(),
            Key::EdDsa(key) => key.public_key().as_ref(),
        })
    }

    /// The text by which it is enlisted.
    pub(crate) fn enlisted(&self) -> String {
        let algorithm = match &self.key {
            Key::Es256(_) => "ES256",
            Key::EdDsa(_) => "EdDSA",
        };
        let (credential, key) = (self.credential(), self.public());
        format!("passkey:{algorithm}:{RP_ID}:{credential}:{key}:{ORIGIN}")
    }

    /// The assertion of a ceremony, as JSON.
    pub(crate) fn sign(&self, ceremony: &Ceremony) -> Value {
        self.sign_bytes(ceremony.client_data.to_string().as_bytes(), ceremony)
    }

    pub(crate) fn sign_bytes(&self, client_data: &[u8], ceremony: &Ceremony) -> Value {
        let mut data = Digest::of(ceremony.rp_id.as_bytes()).as_bytes().to_vec();
        data.push(ceremony.flags);
        data.extend_from_slice(&self.count.to_be_bytes());
        data.extend_from_slice(&ceremony.more);
        let mut signed = data.clone();
        signed.extend_from_slice(Digest::of(client_data).as_bytes());
        let signature = match &self.key {
            Key::Es256(key) => key
                .sign(&SystemRandom::new(), &signed)
                .unwrap()
                .as_ref()
                .to_vec(),
            Key::EdDsa(key) => key.sign(&signed).as_ref().to_vec(),
        };
        let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "id": self.credential(),
            "rawId": self.credential(),
            "type": "public-key",
            "response": {
                "clientDataJSON": encode(client_data),
                "authenticatorData": encode(&data),
                "signature": encode(&signature),
                "userHandle": null,
            },
            "clientExtensionResults": {},
            "authenticatorAttachment": "platform",
        })
    }

    /// An honest assertion over a statement.
    pub(crate) fn answer(&self, statement: &str) -> Value {
        self.sign(&Ceremony::honest(statement))
    }
}
