//! Tokens that stand for an API key for a little while, at one part of the interface: for clients that get their credential from
//! a token endpoint and cannot be given a key.
//!
//! A token is of no use where the key is none: the key is looked at anew for each request.

use std::path::Path;

use casemate_model::Authenticator;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    ApiKeys, Caller, Refusal, Target, jws,
    limits::{MAX_KEY_TOKEN_TTL_MS, MAX_TOKEN_BYTES},
    signing_key::SigningKey,
};

/// How the text of such a token begins.
pub const KEY_TOKEN_PREFIX: &str = "cmt_";

/// The type of such a token, which no envelope and no proof has.
const TYPE: &str = "casemate-key-token+jwt";

/// The name of the file with the key that signs them, in the directory of the callers.
const KEY_FILE: &str = "token.key";

/// What a token says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    aud: String,
    /// The name of the API key.
    sub: String,
    /// How each path begins for which it is good.
    path: String,
    iat: u64,
    exp: u64,
}

/// A token for a holder of an API key.
pub struct KeyToken {
    /// Its text.
    pub text: Zeroizing<String>,
    /// When it ends, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

impl std::fmt::Debug for KeyToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a token until {}", self.expires_at_ms)
    }
}

/// What signs tokens for API keys.
#[derive(Debug)]
pub(crate) struct KeyTokens(SigningKey);

impl KeyTokens {
    /// The one whose key is in the directory `dir`, which is there.
    pub(crate) fn open(dir: &Path) -> Result<Self, Refusal> {
        SigningKey::open(&dir.join(KEY_FILE)).map(Self)
    }

    /// A token for whoever was proven by an API key, good for paths that begin with `path`.
    pub(crate) fn issue(
        &self,
        holder: &Caller,
        path: &str,
        now_ms: u64,
    ) -> Result<KeyToken, Refusal> {
        if holder.authority != Authenticator::ApiKey {
            return Err(Refusal::Malformed("API key"));
        }
        // In whole seconds, as it is told: never longer than the key.
        let ends_s = now_ms
            .saturating_add(MAX_KEY_TOKEN_TTL_MS)
            .min(holder.expires_at_ms)
            / 1_000;
        let payload = Payload {
            aud: holder.audience.clone(),
            sub: holder.credential.clone(),
            path: path.to_owned(),
            iat: now_ms / 1_000,
            exp: ends_s,
        };
        let token = jws::sign(TYPE, Some(&self.0.kid), &payload, &self.0.pair)?;
        Ok(KeyToken {
            text: Zeroizing::new(format!("{KEY_TOKEN_PREFIX}{token}")),
            expires_at_ms: ends_s.saturating_mul(1_000),
        })
    }

    /// The holder of the key for which a token stands, for one request.
    pub(crate) fn verify(
        &self,
        text: &str,
        keys: &ApiKeys,
        target: &Target<'_>,
        now_ms: u64,
    ) -> Result<Caller, Refusal> {
        let token = text.strip_prefix(KEY_TOKEN_PREFIX);
        let token = token.ok_or(Refusal::Malformed("token"))?;
        let (kid, public) = (Some(self.0.kid.as_str()), &self.0.public);
        let said: Payload = jws::verify_ours(token, MAX_TOKEN_BYTES, TYPE, kid, public)?;
        let expires_at_ms = said.exp.saturating_mul(1_000);
        if now_ms >= expires_at_ms {
            return Err(Refusal::Expired);
        }
        let mut caller = keys.holder(&said.sub, now_ms)?;
        let is_for = match target {
            Target::Request { path, .. } => path.starts_with(&said.path),
            Target::Call(_) => false,
        };
        if said.aud != caller.audience || !is_for {
            return Err(Refusal::Audience);
        }
        caller.expires_at_ms = caller.expires_at_ms.min(expires_at_ms);
        Ok(caller)
    }
}
