//! Everybody who may call one gateway over a network.

use std::{collections::BTreeSet, fmt, path::Path};

use casemate_files::{Privacy, read_file};
use zeroize::Zeroizing;

use crate::{
    ApiKey, ApiKeys, Authenticator, Caller, CertRules, ConfigFault, Delegator, Envelopes, Issued,
    JwtVerifier, KeptError, MemoryReplayGuard, NewApiKey, Permission, Refusal, ReplayGuard, Target,
    Wanted,
    config::{Config, Parts},
    envelopes::Revoker,
    from_certificate,
    key_tokens::{KeyToken, KeyTokens},
    limits::MAX_CONFIG_BYTES,
};

/// The file of the API keys, in the directory of the callers.
const KEYS_FILE: &str = "api-keys.jsonl";

/// What somebody presents to prove who they are.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// A token of an issuer.
    Token(&'a str),
    /// A key that this gateway gave out.
    ApiKey(&'a str),
    /// A token that stands for one.
    KeyToken(&'a str),
    /// The first certificate of a chain that TLS verified, with proof of its key.
    Certificate(&'a [u8]),
    /// An envelope, and the holder's proof for this request.
    Envelope {
        /// The envelope.
        text: &'a str,
        /// The proof.
        proof: &'a str,
    },
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::ApiKey(_) => "ApiKey",
            Self::KeyToken(_) => "KeyToken",
            Self::Certificate(_) => "Certificate",
            Self::Envelope { .. } => "Envelope",
        })
    }
}

/// A caller of whom is known what was proven once.
#[derive(Clone, Copy, Debug)]
pub struct Remembered<'a> {
    /// What proved it.
    pub authority: Authenticator,
    /// Who said so.
    pub issuer: &'a str,
    /// The caller.
    pub subject: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// The name of the credential.
    pub credential: &'a str,
    /// On whose behalf.
    pub behalf: &'a [Delegator],
    /// What the caller might do.
    pub scopes: &'a BTreeSet<String>,
    /// When it ends.
    pub expires_at_ms: u64,
}

/// Everybody who may call one gateway over a network, and what they prove it by.
#[derive(Debug)]
pub struct Callers {
    audience: String,
    jwt: JwtVerifier,
    certificates: CertRules,
    takes_certificates: bool,
    keys: Option<(ApiKeys, KeyTokens)>,
    envelopes: Option<Envelopes>,
    used: Box<dyn ReplayGuard>,
}

/// Why nobody can call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallersError {
    /// The file says what it cannot.
    #[error("the callers file has {} faults, first {}", .0.len(), .0.first().map_or_else(String::new, ToString::to_string))]
    Config(Vec<ConfigFault>),
    /// What is kept of callers cannot be used.
    #[error("what is kept of callers cannot be used")]
    Kept(#[source] Refusal),
}

impl Callers {
    /// Checks the text of a callers file, and opens nothing.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(text: &str) -> Result<(), Vec<ConfigFault>> {
        Config::read(text).map(|_| ())
    }

    /// Those whom the text of a file names. What is kept of them is in the directory `dir`. A gateway that
    /// starts at `started_ms` does not know which proofs were used before.
    ///
    /// # Errors
    /// When the text is wrong, or a file of `dir` cannot be used.
    pub fn open(text: &str, dir: &Path, started_ms: u64) -> Result<Self, CallersError> {
        let Parts {
            audience,
            jwt,
            certificates,
            api_keys,
            envelopes,
            takes_certificates,
        } = Config::read(text).map_err(CallersError::Config)?;
        make(dir).map_err(|error| CallersError::Kept(error.into()))?;
        let keys = match api_keys {
            true => {
                let keys = keys_in(dir, &audience).map_err(CallersError::Kept)?;
                let tokens = KeyTokens::open(dir).map_err(CallersError::Kept)?;
                Some((keys, tokens))
            }
            false => None,
        };
        let envelopes = envelopes.map(|issuer| Envelopes::open(dir, &issuer));
        Ok(Self {
            audience,
            jwt,
            certificates,
            takes_certificates,
            keys,
            envelopes: envelopes.transpose().map_err(CallersError::Kept)?,
            used: Box::new(MemoryReplayGuard::new(started_ms)),
        })
    }

    /// The name of this gateway.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// The issuers whose tokens count.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.jwt.issuers()
    }

    /// Whether there are rules for certificates.
    #[must_use]
    pub const fn takes_certificates(&self) -> bool {
        self.takes_certificates
    }

    /// The caller whom a credential proves for one request.
    ///
    /// May wait for a key set, up to [`FETCH_TIMEOUT_MS`](crate::FETCH_TIMEOUT_MS): call it where that does no harm.
    ///
    /// # Errors
    /// When it does not.
    pub fn authenticate(
        &self,
        credential: Credential<'_>,
        target: &Target<'_>,
        now_ms: u64,
    ) -> Result<Caller, Refusal> {
        match credential {
            Credential::Token(token) => self.jwt.verify(token, now_ms),
            Credential::ApiKey(key) => self.keys()?.verify(key, now_ms),
            Credential::KeyToken(token) => {
                let (keys, tokens) = self.keys.as_ref().ok_or(Refusal::UnknownKey)?;
                tokens.verify(token, keys, target, now_ms)
            }
            Credential::Certificate(der) => from_certificate(der, &self.certificates, now_ms),
            Credential::Envelope { text, proof } => {
                let envelopes = self.envelopes()?;
                let used = self.used.as_ref();
                let mut caller = envelopes.verify(text, proof, target, used, now_ms)?;
                let root = caller.behalf.first().ok_or(Refusal::Chain)?;
                let scopes = self.stands(root, &caller.tenant, Permission::Delegate, now_ms)?;
                caller.scopes = narrowed(&caller.scopes, scopes);
                Ok(caller)
            }
        }
    }

    /// The scopes that a caller of earlier has now, if it may still run calls: never more than it had.
    ///
    /// # Errors
    /// When what proved it no longer does.
    pub fn renew(&self, was: &Remembered<'_>, now_ms: u64) -> Result<BTreeSet<String>, Refusal> {
        self.still(was, Permission::RunCalls, now_ms)
    }

    /// Asks again of a caller who was proven before.
    ///
    /// # Errors
    /// When what proved it no longer does, or may not do this any more.
    pub fn check_again(
        &self,
        caller: &Caller,
        permission: Permission,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let was = Remembered {
            authority: caller.authority,
            issuer: &caller.issuer,
            subject: &caller.subject,
            tenant: &caller.tenant,
            credential: &caller.credential,
            behalf: &caller.behalf,
            scopes: &caller.scopes,
            expires_at_ms: caller.expires_at_ms,
        };
        self.still(&was, permission, now_ms).map(drop)
    }

    /// The scopes that are left of those of a caller who was proven before, and who may do this.
    fn still(
        &self,
        was: &Remembered<'_>,
        permission: Permission,
        now_ms: u64,
    ) -> Result<BTreeSet<String>, Refusal> {
        if now_ms >= was.expires_at_ms {
            return Err(Refusal::Expired);
        }
        let own = Delegator {
            issuer: was.issuer.to_owned(),
            subject: was.subject.to_owned(),
            authority: was.authority,
            credential: was.credential.to_owned(),
        };
        let scopes = match (was.authority, was.behalf.first()) {
            (Authenticator::LocalUser, _) => return Err(Refusal::Issuer),
            (Authenticator::Envelope, None) => return Err(Refusal::Chain),
            (Authenticator::Envelope, Some(root)) => {
                self.envelopes()?
                    .check_remembered(was.behalf, was.credential)?;
                self.stands(root, was.tenant, Permission::Delegate, now_ms)?
            }
            _ => self.stands(&own, was.tenant, permission, now_ms)?,
        };
        Ok(narrowed(was.scopes, scopes))
    }

    /// Whether a credential that was proven still stands, and may do this; its scopes of now, where they can change.
    fn stands(
        &self,
        of: &Delegator,
        tenant: &str,
        permission: Permission,
        now_ms: u64,
    ) -> Result<Option<BTreeSet<String>>, Refusal> {
        let may =
            |roles: &BTreeSet<crate::Role>| match roles.iter().any(|role| role.may(permission)) {
                true => Ok(()),
                false => Err(Refusal::NotPermitted(permission)),
            };
        match of.authority {
            // The kernel says it anew of each connection; an envelope of a local user ends by itself.
            Authenticator::LocalUser => Ok(None),
            Authenticator::Jwt => match self.jwt.believes(&of.issuer) {
                true => Ok(None),
                false => Err(Refusal::Issuer),
            },
            Authenticator::ApiKey => {
                let key = self.keys()?.alive(&of.credential, now_ms)?;
                if key.subject != of.subject || key.tenant != tenant {
                    return Err(Refusal::UnknownKey);
                }
                may(&key.roles)?;
                Ok(Some(key.scopes))
            }
            Authenticator::Certificate => {
                let rule = self.certificates.rule_of(&of.subject, tenant);
                let rule = rule.ok_or(Refusal::NoRule)?;
                may(&rule.roles)?;
                Ok(Some(rule.scopes.clone()))
            }
            Authenticator::Envelope => Err(Refusal::Chain),
        }
    }

    /// The API keys of a tenant.
    ///
    /// # Errors
    /// When there are none here, or the file cannot be read.
    pub fn list_keys(&self, tenant: &str) -> Result<Vec<ApiKey>, Refusal> {
        let mut keys = self.keys()?.list()?;
        keys.retain(|key| key.tenant == tenant);
        Ok(keys)
    }

    /// Makes an API key.
    ///
    /// # Errors
    /// As [`ApiKeys::create`].
    pub fn new_key(
        &self,
        new: &NewApiKey,
        now_ms: u64,
    ) -> Result<(ApiKey, Zeroizing<String>), Refusal> {
        self.keys()?.create(new, now_ms)
    }

    /// A token that stands for the API key by which somebody was proven, good for paths that begin with `path`: for a little
    /// while, and never longer than the key.
    ///
    /// # Errors
    /// When something else proved them, and when there are no API keys here.
    pub fn key_token(&self, holder: &Caller, path: &str, now_ms: u64) -> Result<KeyToken, Refusal> {
        let (_, tokens) = self.keys.as_ref().ok_or(Refusal::UnknownKey)?;
        tokens.issue(holder, path, now_ms)
    }

    /// Takes a tenant's API key back, and all envelopes that stand on it.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] when the tenant has no such key, and when a file cannot be written.
    pub fn revoke_key(&self, tenant: &str, id: &str, now_ms: u64) -> Result<(), Refusal> {
        let keys = self.list_keys(tenant)?;
        if !keys.iter().any(|key| key.id == id) {
            return Err(Refusal::UnknownKey);
        }
        self.keys()?.revoke(id, now_ms)?;
        match &self.envelopes {
            Some(envelopes) => envelopes.revoke_all_of(Authenticator::ApiKey, id, now_ms),
            None => Ok(()),
        }
    }

    /// Gives part of a caller's authority on.
    ///
    /// # Errors
    /// As [`Envelopes::issue`], and when this gateway has no envelopes.
    pub fn delegate(
        &self,
        parent: &Caller,
        wanted: &Wanted,
        now_ms: u64,
    ) -> Result<Issued, Refusal> {
        self.envelopes()?.issue(parent, wanted, now_ms)
    }

    /// Takes an envelope back that `by` gave, or anybody of its tenant if it may manage callers.
    ///
    /// # Errors
    /// [`Refusal::UnknownKey`] for another's, as for one that never was, and when the file cannot be written.
    pub fn revoke_envelope(&self, by: &Caller, id: &str, now_ms: u64) -> Result<(), Refusal> {
        match self.may_revoke_envelope(by, id) {
            true => self.envelopes()?.revoke(by.tenant(), id, now_ms),
            false => Err(Refusal::UnknownKey),
        }
    }

    /// Whether somebody may take back the envelope of this name, as far as the name tells.
    #[must_use]
    pub fn may_revoke_envelope(&self, by: &Caller, id: &str) -> bool {
        let revoker = self
            .envelopes
            .as_ref()
            .map(|envelopes| envelopes.revoker(id, by));
        match revoker {
            Some(Revoker::Giver) => true,
            Some(Revoker::OfTenant) => by.may(Permission::ManageCallers),
            Some(Revoker::Nobody) | None => false,
        }
    }

    fn keys(&self) -> Result<&ApiKeys, Refusal> {
        let (keys, _) = self.keys.as_ref().ok_or(Refusal::UnknownKey)?;
        Ok(keys)
    }

    fn envelopes(&self) -> Result<&Envelopes, Refusal> {
        self.envelopes.as_ref().ok_or(Refusal::Issuer)
    }
}

/// The API keys in the directory of the callers, which is made if there is none.
///
/// # Errors
/// When the file cannot be used.
pub fn keys_in(dir: &Path, audience: &str) -> Result<ApiKeys, Refusal> {
    make(dir)?;
    Ok(ApiKeys::open(&dir.join(KEYS_FILE), audience)?)
}

fn make(dir: &Path) -> Result<(), KeptError> {
    Ok(casemate_files::make(dir)?)
}

/// The text of a file that says who may call, which nobody else can write.
///
/// # Errors
/// When it cannot be read, or others could have written it.
pub fn read_config(path: &Path) -> Result<String, KeptError> {
    let bytes = read_file(path, MAX_CONFIG_BYTES as u64, Privacy::Configured)?;
    String::from_utf8(bytes).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to());
        let lines = before.map_or(0, |bytes| {
            bytes.iter().filter(|byte| **byte == b'\n').count()
        });
        KeptError::Corrupt {
            path: path.to_owned(),
            line: lines + 1,
        }
    })
}

fn narrowed(had: &BTreeSet<String>, now: Option<BTreeSet<String>>) -> BTreeSet<String> {
    match now {
        Some(now) => had & &now,
        None => had.clone(),
    }
}
