//! The API keys that this gateway gave out.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use casemate_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    Authenticator, Bounds, Caller, KeptError, Refusal, Role, api_key,
    api_key::Presented,
    caller::{check_names, check_scopes},
    kept::{BadLine, Kept},
    limits::{
        EXPIRED_KEPT_MS, MAX_API_KEY_FILE_BYTES, MAX_API_KEY_TTL_MS, MAX_API_KEYS,
        MAX_TENANT_API_KEYS,
    },
    lines,
};

/// Who says who the holder of an API key is.
const ISSUER: &str = "casemate:api-keys";

/// The API keys in one file, of which only digests are kept. The file is looked at for each key that is presented, so
/// that what another process revoked no longer counts.
#[derive(Debug)]
pub struct ApiKeys {
    file: Kept<Records>,
    audience: String,
}

/// What is known of an API key. The key itself is known to its holder only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Its name.
    pub id: String,
    /// Who holds it.
    pub subject: String,
    /// The tenant whose data the holder may touch.
    pub tenant: String,
    /// What the holder may do.
    pub scopes: BTreeSet<String>,
    /// What the holder is to this gateway.
    pub roles: BTreeSet<Role>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
    /// When it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
    secret: Digest,
}

impl ApiKey {
    /// What is shown of it, as JSON: not the digest of its secret.
    #[must_use]
    pub fn shown(&self) -> Value {
        json!({
            "name": self.id,
            "subject": self.subject,
            "tenant": self.tenant,
            "scopes": self.scopes,
            "roles": self.roles,
            "created_at_ms": self.created_ms,
            "expires_at_ms": self.expires_ms,
            "revoked_at_ms": self.revoked_ms,
        })
    }
}

/// An API key to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewApiKey {
    /// Who will hold it.
    pub subject: String,
    /// The tenant whose data the holder may touch.
    pub tenant: String,
    /// What the holder may do.
    pub scopes: BTreeSet<String>,
    /// What the holder is to this gateway.
    pub roles: BTreeSet<Role>,
    /// How long it lives, in milliseconds: at most [`MAX_API_KEY_TTL_MS`].
    pub ttl_ms: u64,
}

type Records = BTreeMap<String, ApiKey>;

impl ApiKeys {
    /// The keys in the file at `path`, made if there is none. They are for `audience`, which is this gateway.
    ///
    /// # Errors
    /// When the file cannot be made or read, or others have access to it.
    pub fn open(path: &Path, audience: &str) -> Result<Self, KeptError> {
        Ok(Self {
            file: Kept::open(path, MAX_API_KEY_FILE_BYTES, parse)?,
            audience: audience.to_owned(),
        })
    }

    /// Makes a key. Its text is nowhere but in the answer.
    ///
    /// # Errors
    /// When something about it is not as it must be, or the file cannot be written.
    pub fn create(
        &self,
        new: &NewApiKey,
        now_ms: u64,
    ) -> Result<(ApiKey, Zeroizing<String>), Refusal> {
        if !(1..=MAX_API_KEY_TTL_MS).contains(&new.ttl_ms) {
            return Err(Refusal::Claim("ttl_ms"));
        }
        let (id, text, secret) = api_key::generate()?;
        let key = ApiKey {
            id: id.clone(),
            subject: new.subject.clone(),
            tenant: new.tenant.clone(),
            scopes: new.scopes.clone(),
            roles: new.roles.clone(),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(new.ttl_ms),
            revoked_ms: None,
            secret,
        };
        key.check()?;
        self.file.update(|keys| {
            let mut keys = keys.clone();
            keys.retain(|_, key| key.expires_ms.saturating_add(EXPIRED_KEPT_MS) > now_ms);
            if keys.len() >= MAX_API_KEYS {
                let (path, max) = (self.file.path().to_owned(), MAX_API_KEYS);
                return Err(KeptError::Full { path, max }.into());
            }
            let of_tenant = keys.values().filter(|key| key.tenant == new.tenant);
            if of_tenant.count() >= MAX_TENANT_API_KEYS {
                let (what, max) = ("API keys", MAX_TENANT_API_KEYS);
                return Err(Refusal::Quota { what, max });
            }
            keys.insert(id, key.clone());
            Ok((lines::render(keys.values())?, (key, text)))
        })
    }

    /// All keys, also those that ended not long ago.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self) -> Result<Vec<ApiKey>, Refusal> {
        Ok(self.file.get()?.values().cloned().collect())
    }

    /// A key that counts at `now_ms`, by its name.
    pub(crate) fn alive(&self, id: &str, now_ms: u64) -> Result<ApiKey, Refusal> {
        let keys = self.file.get()?;
        let key = keys.get(id).ok_or(Refusal::UnknownKey)?;
        key.is_alive(now_ms)?;
        Ok(key.clone())
    }

    /// Takes a key back, for good.
    ///
    /// # Errors
    /// When there is no such key, or the file cannot be written.
    pub fn revoke(&self, id: &str, now_ms: u64) -> Result<(), Refusal> {
        self.file.update(|keys| {
            let mut keys = keys.clone();
            let key = keys.get_mut(id).ok_or(Refusal::UnknownKey)?;
            key.revoked_ms.get_or_insert(now_ms);
            Ok((lines::render(keys.values())?, ()))
        })
    }

    /// The caller whom the text of a key proves at `now_ms`.
    ///
    /// # Errors
    /// When it is no key, is unknown, has ended or was revoked, or when the file cannot be read.
    pub fn verify(&self, text: &str, now_ms: u64) -> Result<Caller, Refusal> {
        let presented = Presented::read(text)?;
        let keys = self.file.get()?;
        let key = keys.get(&presented.id).ok_or(Refusal::UnknownKey)?;
        if !presented.matches(&key.secret) {
            return Err(Refusal::UnknownKey);
        }
        key.is_alive(now_ms)?;
        Ok(self.held_by(key))
    }

    /// The holder of a key that counts at `now_ms`, by its name.
    pub(crate) fn holder(&self, id: &str, now_ms: u64) -> Result<Caller, Refusal> {
        Ok(self.held_by(&self.alive(id, now_ms)?))
    }

    fn held_by(&self, key: &ApiKey) -> Caller {
        Caller {
            issuer: ISSUER.to_owned(),
            subject: key.subject.clone(),
            tenant: key.tenant.clone(),
            audience: self.audience.clone(),
            scopes: key.scopes.clone(),
            roles: key.roles.clone(),
            expires_at_ms: key.expires_ms,
            authority: Authenticator::ApiKey,
            credential: key.id.clone(),
            behalf: Vec::new(),
            bounds: Bounds::default(),
            presented: None,
        }
    }
}

impl ApiKey {
    fn is_alive(&self, now_ms: u64) -> Result<(), Refusal> {
        if self.revoked_ms.is_some() {
            return Err(Refusal::Revoked);
        }
        match now_ms >= self.expires_ms {
            true => Err(Refusal::Expired),
            false => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Refusal> {
        check_names("subject", [&self.subject])?;
        check_names("tenant", [&self.tenant])?;
        check_scopes(&self.scopes)?;
        match self.expires_ms.checked_sub(self.created_ms) {
            Some(0..=MAX_API_KEY_TTL_MS) => Ok(()),
            _ => Err(Refusal::Claim("expires_ms")),
        }
    }
}

/// Also an edited file gives nobody an odd name or an endless key.
fn parse(content: &[u8]) -> Result<Records, BadLine> {
    let mut records = Records::new();
    let keys: Vec<ApiKey> = lines::parse(content, MAX_API_KEYS)?;
    for (nth, key) in keys.into_iter().enumerate() {
        let bad = nth + 1;
        key.check().map_err(|_| bad)?;
        if records.insert(key.id.clone(), key).is_some() {
            return Err(bad);
        }
    }
    Ok(records)
}
