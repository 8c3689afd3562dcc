//! Which issuers of tokens are believed, and how their claims are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use crate::{
    Algorithm, FileSource, HttpsSource, KeySource, KeySourceError, Role,
    limits::{
        DEFAULT_LEEWAY_S, MAX_AUDIENCES, MAX_CERTIFICATE_RULES, MAX_ISSUERS, MAX_LEEWAY_S,
        MAX_ROLE_CLAIMS,
    },
    names::is_name,
};

/// How the names of our own issuers begin: of local users, API keys and certificates.
const RESERVED: &[&str] = &["local", "casemate:"];

/// An issuer of tokens, as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// The value of `iss`, to the byte.
    pub issuer: String,
    /// The values of `aud` that mean this gateway.
    pub audiences: BTreeSet<String>,
    /// Its keys: the absolute path of a file, or an https URL.
    pub jwks: String,
    /// A file with the certificates of the authorities that may vouch for the server of the keys, instead of the host's.
    pub authorities: Option<PathBuf>,
    /// The algorithms by which its tokens may be signed.
    pub algorithms: BTreeSet<Algorithm>,
    /// The claim that names the tenant.
    #[serde(default = "tenant")]
    pub tenant_claim: String,
    /// The only tenants for which it may speak. Without a list it may speak for all: right for one issuer, not for two.
    pub tenants: Option<BTreeSet<String>>,
    /// The claim that holds the scopes, in one text or a list.
    #[serde(default = "scope")]
    pub scopes_claim: String,
    /// The claim that holds the roles. Each of the three is the name of a claim, or a JSON pointer (`/realm/roles`).
    #[serde(default = "roles")]
    pub roles_claim: String,
    /// What a value of the claim of roles means here. Other values mean nothing.
    #[serde(default)]
    pub roles: BTreeMap<String, Role>,
    /// How far its clock may be from this one, in seconds.
    #[serde(default = "leeway")]
    pub leeway_s: u64,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Too many issuers.
    #[error("there are more than {MAX_ISSUERS} issuers")]
    TooManyIssuers,
    /// Two issuers of the same name.
    #[error("the issuer `{0}` is there twice")]
    IssuerTwice(String),
    /// A name that cannot be one.
    #[error(
        "the {what} `{name}` cannot be one: it is empty, too long, or has spaces or control characters"
    )]
    Name {
        /// Of what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that only this gateway gives.
    #[error("no issuer may be named `{0}`: that is how this gateway names its own")]
    Reserved(String),
    /// No audience, or too many.
    #[error("`{0}` needs 1 to {MAX_AUDIENCES} audiences")]
    Audiences(String),
    /// No algorithm.
    #[error("`{0}` needs an algorithm")]
    Algorithms(String),
    /// Clocks may not differ that much.
    #[error("`{0}` may have a leeway of at most {MAX_LEEWAY_S} seconds")]
    Leeway(String),
    /// Too many roles are mapped.
    #[error("`{0}` maps more than {MAX_ROLE_CLAIMS} roles")]
    Roles(String),
    /// Its keys are nowhere.
    #[error("the keys of `{issuer}` cannot be had from there")]
    Keys {
        /// The issuer.
        issuer: String,
        /// Why not.
        #[source]
        source: KeySourceError,
    },
    /// Too many rules.
    #[error("there are more than {MAX_CERTIFICATE_RULES} rules for certificates")]
    TooManyRules,
    /// A rule that matches nothing, or two things.
    #[error("the rule for `{0}` needs either `uri` or `dns`")]
    Rule(String),
    /// Two rules for the same name.
    #[error("there are two rules for `{0}`")]
    RuleTwice(String),
}

/// Whether somebody may be known as an issuer by this name.
pub(crate) fn check_issuer(name: &str) -> Result<(), ConfigError> {
    check_name("issuer", name)?;
    match RESERVED.iter().any(|ours| name.starts_with(ours)) {
        true => Err(ConfigError::Reserved(name.to_owned())),
        false => Ok(()),
    }
}

impl IssuerConfig {
    /// Where its keys come from.
    pub(crate) fn source(&self) -> Result<Arc<dyn KeySource>, ConfigError> {
        let path = Path::new(&self.jwks);
        if path.is_absolute() {
            return Ok(Arc::new(FileSource::new(path)));
        }
        let source = HttpsSource::new(&self.jwks, self.authorities.as_deref());
        let source = source.map_err(|source| ConfigError::Keys {
            issuer: self.issuer.clone(),
            source,
        })?;
        Ok(Arc::new(source))
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let issuer = || self.issuer.clone();
        check_issuer(&self.issuer)?;
        if !(1..=MAX_AUDIENCES).contains(&self.audiences.len()) {
            return Err(ConfigError::Audiences(issuer()));
        }
        for audience in &self.audiences {
            check_name("audience", audience)?;
        }
        for tenant in self.tenants.iter().flatten() {
            check_name("tenant", tenant)?;
        }
        for claim in [&self.tenant_claim, &self.scopes_claim, &self.roles_claim] {
            check_name("claim", claim)?;
        }
        if self.algorithms.is_empty() {
            return Err(ConfigError::Algorithms(issuer()));
        }
        if self.leeway_s > MAX_LEEWAY_S {
            return Err(ConfigError::Leeway(issuer()));
        }
        if self.roles.len() > MAX_ROLE_CLAIMS {
            return Err(ConfigError::Roles(issuer()));
        }
        Ok(())
    }
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), ConfigError> {
    let name_of = || {
        name.chars()
            .take(100)
            .flat_map(char::escape_debug)
            .collect()
    };
    is_name(name)
        .then_some(())
        .ok_or_else(|| ConfigError::Name {
            what,
            name: name_of(),
        })
}

fn tenant() -> String {
    "tenant".to_owned()
}

fn scope() -> String {
    "scope".to_owned()
}

fn roles() -> String {
    "roles".to_owned()
}

const fn leeway() -> u64 {
    DEFAULT_LEEWAY_S
}
