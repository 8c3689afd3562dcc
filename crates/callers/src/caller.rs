//! Who is calling: made by this crate after it proved somebody, and by nothing else (I14).

use std::{collections::BTreeSet, fmt, sync::Arc};

use casemate_model::{Authenticator, Bounds, Delegator};

use crate::{
    Permission, Refusal, Role,
    limits::{MAX_BOUND_NAMES, MAX_SCOPES},
    names::{is_name, is_scope},
};

/// Who says who a local user is.
const LOCAL_ISSUER: &str = "casemate:local";

/// A caller that is proven.
///
/// Nothing deserialises into one, so that no text, a model's least of all, can become a principal:
///
/// ```compile_fail,E0277
/// let caller: casemate_callers::Caller = serde_json::from_str("{}").unwrap();
/// ```
///
/// and nobody else can write one down:
///
/// ```compile_fail,E0451
/// fn forge(mut of: casemate_callers::Caller) -> casemate_callers::Caller {
///     casemate_callers::Caller { subject: "root".to_owned(), ..of }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) tenant: String,
    pub(crate) audience: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) roles: BTreeSet<Role>,
    pub(crate) expires_at_ms: u64,
    pub(crate) authority: Authenticator,
    pub(crate) credential: String,
    pub(crate) behalf: Vec<Delegator>,
    pub(crate) bounds: Bounds,
    pub(crate) presented: Option<Presented>,
}

/// What a local user is, as the configuration of this host says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalUser {
    /// The user id that the kernel named.
    pub uid: u32,
    /// The tenant whose data the user may touch.
    pub tenant: String,
    /// The service that is called.
    pub audience: String,
    /// What the user may do.
    pub scopes: BTreeSet<String>,
    /// What the user is to this gateway.
    pub roles: BTreeSet<Role>,
    /// When this ends, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// The text by which an envelope was presented. It is of no use without the holder's key, and still not for logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Presented(pub(crate) Arc<str>);

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Caller {
    /// The local user that the kernel named. Call this only with the peer credentials of a Unix socket, or with the
    /// user id of this very process.
    ///
    /// # Errors
    /// When a name or a scope has not the form of one.
    pub fn local_user(user: &LocalUser) -> Result<Self, Refusal> {
        check_names("tenant", [&user.tenant])?;
        check_names("audience", [&user.audience])?;
        check_scopes(&user.scopes)?;
        Ok(Self {
            issuer: LOCAL_ISSUER.to_owned(),
            subject: format!("uid:{}", user.uid),
            tenant: user.tenant.clone(),
            audience: user.audience.clone(),
            scopes: user.scopes.clone(),
            roles: user.roles.clone(),
            expires_at_ms: user.expires_at_ms,
            authority: Authenticator::LocalUser,
            credential: format!("uid:{}", user.uid),
            behalf: Vec::new(),
            bounds: Bounds::default(),
            presented: None,
        })
    }

    /// Who says who the caller is.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The caller.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The tenant whose data the caller may touch.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The service that the authority is meant for.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// What the caller may do.
    #[must_use]
    pub const fn scopes(&self) -> &BTreeSet<String> {
        &self.scopes
    }

    /// What the caller is to this gateway.
    #[must_use]
    pub const fn roles(&self) -> &BTreeSet<Role> {
        &self.roles
    }

    /// When all this ends, in milliseconds since 1970; it no longer holds at that moment. The leeway of an issuer is in it.
    #[must_use]
    pub const fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }

    /// What proved it.
    #[must_use]
    pub const fn authority(&self) -> Authenticator {
        self.authority
    }

    /// The name of the credential that did, for records: never the credential.
    #[must_use]
    pub fn credential(&self) -> &str {
        &self.credential
    }

    /// On whose behalf the caller acts: first whose authority it is, last who gave it to the caller.
    #[must_use]
    pub fn behalf(&self) -> &[Delegator] {
        &self.behalf
    }

    /// Whose authority it is in the end: issuer and subject of the first delegator, or of the caller. Compare these where
    /// who asks may not decide, or else somebody could ask by a delegate.
    #[must_use]
    pub fn principal(&self) -> (&str, &str) {
        match self.behalf.first() {
            Some(first) => (&first.issuer, &first.subject),
            None => (&self.issuer, &self.subject),
        }
    }

    /// To what the authority is restricted further.
    #[must_use]
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether one of the roles may do it.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        self.roles.iter().any(|role| role.may(permission))
    }
}

/// Whether all names in the bounds can be names.
pub(crate) fn check_bounds(bounds: &Bounds) -> Result<(), Refusal> {
    for (kind, names) in bounds.kinds() {
        let names = names.into_iter().flatten();
        if names.clone().count() > MAX_BOUND_NAMES {
            return Err(Refusal::Claim(kind));
        }
        check_names(kind, names)?;
    }
    Ok(())
}

pub(crate) fn check_names<'a>(
    what: &'static str,
    names: impl IntoIterator<Item = &'a String>,
) -> Result<(), Refusal> {
    let good = names.into_iter().all(|name| is_name(name));
    good.then_some(()).ok_or(Refusal::Claim(what))
}

pub(crate) fn check_scopes(scopes: &BTreeSet<String>) -> Result<(), Refusal> {
    let good = scopes.len() <= MAX_SCOPES && scopes.iter().all(|scope| is_scope(scope));
    good.then_some(()).ok_or(Refusal::Claim("scope"))
}
