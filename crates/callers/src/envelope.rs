//! What an envelope says, and what a chain of them comes to.
//!
//! The text of an envelope is the compact tokens of the chain, first the one that a caller's own authority was put in,
//! last the holder's, with `~` between them.

use std::collections::BTreeSet;

use casemate_model::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    Authenticator, Bounds, Caller, Delegator, HolderPublic, Refusal, Role,
    caller::Presented,
    jws,
    limits::{MAX_ENVELOPE_BYTES, MAX_ENVELOPE_DEPTH, MAX_TOKEN_BYTES},
    signing_key::SigningKey,
};

/// The `typ` of envelopes.
pub(crate) const TYPE: &str = "casemate-envelope+jwt";
/// Stands between the tokens of a chain, and in none of them.
pub(crate) const SEPARATOR: char = '~';
/// How far the clocks of the hosts of one gateway may be apart, in milliseconds.
const SKEW_MS: u64 = 30_000;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload {
    pub(crate) iss: String,
    pub(crate) jti: String,
    pub(crate) sub: String,
    pub(crate) aud: String,
    pub(crate) tenant: String,
    /// In seconds, as `exp`.
    pub(crate) iat: u64,
    pub(crate) exp: u64,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) bounds: Bounds,
    /// Whose authority it is.
    pub(crate) behalf: Principal,
    /// The envelopes on which it stands, first the first.
    pub(crate) chain: Vec<Link>,
    pub(crate) cnf: Confirmation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Principal {
    pub(crate) iss: String,
    pub(crate) sub: String,
    pub(crate) authority: Authenticator,
    pub(crate) credential: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) digest: Digest,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    pub(crate) jwk: Jwk,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwk {
    kty: String,
    crv: String,
    x: String,
}

impl Confirmation {
    pub(crate) fn of(holder: HolderPublic) -> Self {
        Self {
            jwk: Jwk {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                x: holder.to_x(),
            },
        }
    }

    fn holder(&self) -> Result<HolderPublic, Refusal> {
        let Jwk { kty, crv, x } = &self.jwk;
        match (kty.as_str(), crv.as_str()) {
            ("OKP", "Ed25519") => HolderPublic::from_x(x).ok_or(Refusal::Claim("cnf")),
            _ => Err(Refusal::Claim("cnf")),
        }
    }
}

/// A chain of envelopes that this gateway signed, whose links hold and which is alive.
#[derive(Debug)]
pub(crate) struct Chain {
    first: Payload,
    rest: Vec<Payload>,
    pub(crate) links: Vec<Link>,
}

impl Chain {
    /// Reads the text of an envelope that is alive at `now_ms`.
    pub(crate) fn read(
        text: &str,
        issuer: &str,
        key: &SigningKey,
        now_ms: u64,
    ) -> Result<Self, Refusal> {
        if text.len() > MAX_ENVELOPE_BYTES {
            return Err(Refusal::TooLarge(MAX_ENVELOPE_BYTES));
        }
        let mut links = Vec::new();
        let mut payloads = Vec::new();
        for token in text.split(SEPARATOR) {
            if links.len() >= MAX_ENVELOPE_DEPTH {
                return Err(Refusal::TooDeep);
            }
            let payload: Payload =
                jws::verify_ours(token, MAX_TOKEN_BYTES, TYPE, Some(&key.kid), &key.public)?;
            if payload.iss != issuer {
                return Err(Refusal::Issuer);
            }
            // Also who the ancestors are is in what was signed, so that none can be left out or exchanged.
            if payload.chain != links {
                return Err(Refusal::Chain);
            }
            payload.is_alive(now_ms)?;
            links.push(Link {
                id: payload.jti.clone(),
                digest: Digest::of(token.as_bytes()),
            });
            payloads.push(payload);
        }
        let mut payloads = payloads.into_iter();
        let first = payloads.next().ok_or(Refusal::Chain)?;
        let rest: Vec<_> = payloads.collect();
        let same = |other: &Payload| {
            (&other.aud, &other.tenant, &other.behalf) == (&first.aud, &first.tenant, &first.behalf)
        };
        if !rest.iter().all(same) {
            return Err(Refusal::Chain);
        }
        Ok(Self { first, rest, links })
    }

    fn last(&self) -> &Payload {
        self.rest.last().unwrap_or(&self.first)
    }

    /// Who may use it.
    pub(crate) fn holder(&self) -> Result<HolderPublic, Refusal> {
        self.last().cnf.holder()
    }

    /// All that is revoked with what it stands on.
    pub(crate) fn ids(&self) -> Vec<String> {
        let root = &self.first.behalf;
        let mut ids = vec![root_id(root.authority, &root.credential)];
        ids.extend(self.links.iter().map(|link| link.id.clone()));
        ids
    }

    /// What all of the chain permit: also if one of them said more than the one before it, it has not more.
    pub(crate) fn caller(&self, text: &str) -> Caller {
        let (first, last) = (&self.first, self.last());
        let mut scopes = first.scopes.clone();
        let mut roles = first.roles.clone();
        let mut bounds = first.bounds.clone();
        let mut exp = first.exp;
        for narrower in &self.rest {
            scopes = &scopes & &narrower.scopes;
            roles = &roles & &narrower.roles;
            bounds = bounds.and(&narrower.bounds);
            exp = exp.min(narrower.exp);
        }
        roles.retain(|role| role.is_delegable());
        Caller {
            issuer: first.iss.clone(),
            subject: last.sub.clone(),
            tenant: first.tenant.clone(),
            audience: first.aud.clone(),
            scopes,
            roles,
            expires_at_ms: exp.saturating_mul(1_000),
            authority: Authenticator::Envelope,
            credential: last.jti.clone(),
            behalf: self.behalf(),
            bounds,
            presented: Some(Presented(text.into())),
        }
    }

    fn behalf(&self) -> Vec<Delegator> {
        let root = &self.first.behalf;
        let mut behalf = vec![Delegator {
            issuer: root.iss.clone(),
            subject: root.sub.clone(),
            authority: root.authority,
            credential: root.credential.clone(),
        }];
        let last = &self.last().jti;
        let between = std::iter::once(&self.first).chain(&self.rest);
        let between = between.filter(|payload| payload.jti != *last);
        behalf.extend(between.map(|payload| Delegator {
            issuer: payload.iss.clone(),
            subject: payload.sub.clone(),
            authority: Authenticator::Envelope,
            credential: payload.jti.clone(),
        }));
        behalf
    }

    pub(crate) fn principal(&self) -> Principal {
        self.first.behalf.clone()
    }
}

impl Payload {
    fn is_alive(&self, now_ms: u64) -> Result<(), Refusal> {
        if now_ms >= self.exp.saturating_mul(1_000) {
            return Err(Refusal::Expired);
        }
        if self.iat.saturating_mul(1_000) > now_ms.saturating_add(SKEW_MS) {
            return Err(Refusal::Future);
        }
        Ok(())
    }
}

/// By what the envelopes of a credential are revoked with it.
pub(crate) fn root_id(authority: Authenticator, credential: &str) -> String {
    format!("{authority}:{credential}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://gateway.example";
    const NOW: u64 = 1_800_000_000_000;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&crate::random::bytes().unwrap()).unwrap()
    }

    fn first() -> Payload {
        Payload {
            iss: ISSUER.to_owned(),
            jti: "env_1".to_owned(),
            sub: "one".to_owned(),
            aud: "gateway".to_owned(),
            tenant: "acme".to_owned(),
            iat: NOW / 1_000,
            exp: NOW / 1_000 + 60,
            scopes: set(&["a", "b"]),
            roles: [Role::Operator].into(),
            bounds: Bounds {
                tools: Some(set(&["x"])),
                ..Bounds::default()
            },
            behalf: Principal {
                iss: "local".to_owned(),
                sub: "uid:1".to_owned(),
                authority: Authenticator::LocalUser,
                credential: "uid:1".to_owned(),
            },
            chain: Vec::new(),
            cnf: Confirmation::of(HolderPublic::from_bytes([1; 32])),
        }
    }

    /// The text of the first envelope and one that stands on it, both signed.
    fn chain(key: &SigningKey, change: impl FnOnce(&mut Payload)) -> String {
        let sign = |payload: &Payload| jws::sign(TYPE, Some(&key.kid), payload, &key.pair).unwrap();
        let one = sign(&first());
        let mut second = Payload {
            jti: "env_2".to_owned(),
            chain: vec![Link {
                id: "env_1".to_owned(),
                digest: Digest::of(one.as_bytes()),
            }],
            ..first()
        };
        change(&mut second);
        format!("{one}{SEPARATOR}{}", sign(&second))
    }

    /// R138: should this gateway ever sign an envelope that is wider than its parent, it still gives nobody more.
    #[test]
    fn a_wider_envelope_has_not_more() {
        let key = key();
        let text = chain(&key, |wider| {
            wider.scopes = set(&["b", "c"]);
            wider.roles = [Role::Operator, Role::Reader, Role::Administrator].into();
            wider.bounds = Bounds {
                threads: Some(set(&["t"])),
                ..Bounds::default()
            };
            wider.exp += 3_600;
        });
        let caller = Chain::read(&text, ISSUER, &key, NOW).unwrap().caller(&text);
        assert_eq!(*caller.scopes(), set(&["b"]));
        assert_eq!(*caller.roles(), [Role::Operator].into());
        assert_eq!(caller.bounds().tools, Some(set(&["x"])));
        assert_eq!(caller.bounds().threads, Some(set(&["t"])));
        assert_eq!(caller.expires_at_ms(), NOW + 60_000);
        // And it ends with its parent.
        let ended = Chain::read(&text, ISSUER, &key, NOW + 60_000);
        assert!(matches!(ended, Err(Refusal::Expired)), "{ended:?}");
    }

    /// A role that cannot be given on is none, also where it was signed.
    #[test]
    fn deciding_is_not_given_on() {
        let key = key();
        let mut payload = first();
        payload.roles = [Role::Approver, Role::Administrator, Role::Author].into();
        let text = jws::sign(TYPE, Some(&key.kid), &payload, &key.pair).unwrap();
        let caller = Chain::read(&text, ISSUER, &key, NOW).unwrap().caller(&text);
        assert!(caller.roles().is_empty());
    }

    #[test]
    fn a_chain_is_of_one_tenant_one_audience_and_one_principal() {
        let key = key();
        assert!(Chain::read(&chain(&key, |_| ()), ISSUER, &key, NOW).is_ok());
        let changes: [fn(&mut Payload); 4] = [
            |other| other.tenant = "evil".to_owned(),
            |other| other.aud = "elsewhere".to_owned(),
            |other| other.behalf.sub = "uid:0".to_owned(),
            |other| other.chain = Vec::new(),
        ];
        for change in changes {
            let read = Chain::read(&chain(&key, change), ISSUER, &key, NOW);
            assert!(matches!(read, Err(Refusal::Chain)), "{read:?}");
        }
    }
}
