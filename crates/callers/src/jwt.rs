//! Tokens of issuers (RFC 7519, RFC 9068).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Map, Value};

use crate::{
    Authenticator, Bounds, Caller, ConfigError, IssuerConfig, KeySource, Refusal, Role,
    caller::check_scopes,
    jws::Unverified,
    key_cache::KeyCache,
    limits::{MAX_AUDIENCES, MAX_ISSUERS, MAX_ROLE_CLAIMS, MAX_SCOPES, MAX_TOKEN_BYTES},
    names::is_name,
};

/// The types of tokens that say who somebody is: of access, or not said more closely.
const TYPES: &[&str] = &["at+jwt", "jwt"];

/// Proves callers by the tokens of the issuers that this gateway believes.
#[derive(Debug)]
pub struct JwtVerifier {
    issuers: BTreeMap<String, Issuer>,
}

#[derive(Debug)]
struct Issuer {
    config: IssuerConfig,
    keys: KeyCache,
}

impl JwtVerifier {
    /// Believes these issuers, with keys from where they say. Nothing is fetched yet.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(issuers: Vec<IssuerConfig>) -> Result<Self, ConfigError> {
        let with_sources: Result<_, ConfigError> = issuers
            .into_iter()
            .map(|config| Ok((config.source()?, config)))
            .map(|pair| pair.map(|(source, config)| (config, source)))
            .collect();
        Self::with_sources(with_sources?)
    }

    /// The issuers that are believed.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &str> {
        self.issuers.keys().map(String::as_str)
    }

    /// Believes these issuers, with keys from these sources.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn with_sources(
        issuers: Vec<(IssuerConfig, Arc<dyn KeySource>)>,
    ) -> Result<Self, ConfigError> {
        if issuers.len() > MAX_ISSUERS {
            return Err(ConfigError::TooManyIssuers);
        }
        let mut by_name = BTreeMap::new();
        for (config, source) in issuers {
            config.check()?;
            let name = config.issuer.clone();
            let keys = KeyCache::new(source);
            if by_name
                .insert(name.clone(), Issuer { config, keys })
                .is_some()
            {
                return Err(ConfigError::IssuerTwice(name));
            }
        }
        Ok(Self { issuers: by_name })
    }

    /// Whether tokens of this issuer count.
    pub(crate) fn believes(&self, issuer: &str) -> bool {
        self.issuers.contains_key(issuer)
    }

    /// The caller whom `token` proves at `now_ms`.
    ///
    /// May wait for a key set, up to [`FETCH_TIMEOUT_MS`](crate::FETCH_TIMEOUT_MS): call it where that does no harm.
    ///
    /// # Errors
    /// When anything about the token is not as it must be, or the keys of its issuer cannot be had.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Caller, Refusal> {
        let token = Unverified::read(token, MAX_TOKEN_BYTES)?;
        if !TYPES.contains(&token.typ()?.as_str()) {
            return Err(Refusal::Type);
        }
        let algorithm = token.algorithm()?;
        let issuer = token.issuer_hint().ok_or(Refusal::MissingClaim("iss"))?;
        let issuer = self.issuers.get(issuer).ok_or(Refusal::Issuer)?;
        if !issuer.config.algorithms.contains(&algorithm) {
            return Err(Refusal::Algorithm);
        }
        let kid = token.kid()?.to_owned();
        let key = issuer.keys.key(&kid, now_ms)?;
        let claims = token.signed_by(&key)?;
        issuer.config.caller(&claims, &kid, now_ms)
    }
}

impl IssuerConfig {
    /// The caller of claims that are known to be this issuer's.
    fn caller(
        &self,
        claims: &Map<String, Value>,
        kid: &str,
        now_ms: u64,
    ) -> Result<Caller, Refusal> {
        let leeway_ms = self.leeway_s * 1_000;
        let latest = now_ms.saturating_add(leeway_ms);
        let expires = time(claims, "exp")?.ok_or(Refusal::MissingClaim("exp"))?;
        let expires_at_ms = expires.saturating_add(leeway_ms);
        if now_ms >= expires_at_ms {
            return Err(Refusal::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|from| from > latest) {
            return Err(Refusal::NotYet);
        }
        if time(claims, "iat")?.is_some_and(|issued| issued > latest) {
            return Err(Refusal::Future);
        }
        let scopes = match member(claims, &self.scopes_claim) {
            None => BTreeSet::new(),
            Some(value) => words(value, MAX_SCOPES).ok_or(Refusal::Claim("scope"))?,
        };
        check_scopes(&scopes)?;
        let credential = match claims.get("jti") {
            None => format!("kid:{kid}"),
            Some(_) => format!("jti:{}", name(claims, "jti", "jti")?),
        };
        let tenant = name(claims, &self.tenant_claim, "tenant")?;
        if self
            .tenants
            .as_ref()
            .is_some_and(|ours| !ours.contains(&tenant))
        {
            return Err(Refusal::Tenant);
        }
        Ok(Caller {
            issuer: self.issuer.clone(),
            audience: self.audience(claims)?,
            subject: name(claims, "sub", "sub")?,
            tenant,
            scopes,
            roles: self.roles(claims)?,
            expires_at_ms,
            authority: Authenticator::Jwt,
            credential,
            behalf: Vec::new(),
            bounds: Bounds::default(),
            presented: None,
        })
    }

    /// The first of the audiences that means this gateway.
    fn audience(&self, claims: &Map<String, Value>) -> Result<String, Refusal> {
        let value = claims.get("aud").ok_or(Refusal::MissingClaim("aud"))?;
        let named = match value {
            Value::String(one) => vec![one.as_str()],
            _ => strings(value, MAX_AUDIENCES).ok_or(Refusal::Claim("aud"))?,
        };
        let mut ours = named.iter().filter(|name| self.audiences.contains(**name));
        let first = ours.next().ok_or(Refusal::Audience)?;
        Ok((*first).to_owned())
    }

    /// What the roles of the issuer mean here. One that is not mapped means nothing.
    fn roles(&self, claims: &Map<String, Value>) -> Result<BTreeSet<Role>, Refusal> {
        let Some(value) = member(claims, &self.roles_claim) else {
            return Ok(BTreeSet::new());
        };
        let named = match value {
            Value::String(one) => vec![one.as_str()],
            _ => strings(value, MAX_ROLE_CLAIMS).ok_or(Refusal::Claim("roles"))?,
        };
        let known = named.iter().filter_map(|name| self.roles.get(*name));
        Ok(known.copied().collect())
    }
}

/// The claim of this name, or where this JSON pointer leads.
fn member<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let Some(path) = name.strip_prefix('/') else {
        return claims.get(name);
    };
    let mut parts = path.split('/');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.as_object()?.get(part))
}

/// A time in milliseconds. Only whole seconds are read: no issuer needs fractions, and they round.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value.as_u64().ok_or(Refusal::Claim(name))?;
    let ms = seconds.checked_mul(1_000).ok_or(Refusal::Claim(name))?;
    Ok(Some(ms))
}

fn name(claims: &Map<String, Value>, claim: &str, what: &'static str) -> Result<String, Refusal> {
    match member(claims, claim) {
        None => Err(Refusal::MissingClaim(what)),
        Some(Value::String(name)) if is_name(name) => Ok(name.clone()),
        Some(_) => Err(Refusal::Claim(what)),
    }
}

/// The words of a text, or the texts of a list.
fn words(value: &Value, max: usize) -> Option<BTreeSet<String>> {
    let named: Vec<&str> = match value {
        Value::String(text) => text.split(' ').filter(|word| !word.is_empty()).collect(),
        _ => strings(value, max)?,
    };
    (named.len() <= max).then(|| named.into_iter().map(str::to_owned).collect())
}

fn strings(value: &Value, max: usize) -> Option<Vec<&str>> {
    let array = value.as_array().filter(|array| array.len() <= max)?;
    array.iter().map(Value::as_str).collect()
}
