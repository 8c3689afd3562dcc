//! Who is calling: made by code that authenticated somebody, and by nothing else (I14).

use std::collections::BTreeSet;

use casemate_model::{Authenticator, Bounds, Delegator};

/// What is known of a caller.
///
/// Nothing deserialises into claims, so that no text, a model's least of all, can become them:
///
/// ```compile_fail,E0277
/// let claims: casemate_policy::Claims = serde_json::from_str("{}").unwrap();
/// ```
///
/// while what a call says of itself is data, and reads like any other:
///
/// ```
/// let call: Result<casemate_model::Call, _> = serde_json::from_str("{}");
/// # assert!(call.is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who says so.
    pub issuer: String,
    /// The caller.
    pub subject: String,
    /// The tenant whose data the caller may touch.
    pub tenant: String,
    /// The service that the claims are meant for.
    pub audience: String,
    /// What the caller may do.
    pub scopes: BTreeSet<String>,
    /// When the claims end, in milliseconds since 1970; they no longer hold at that moment.
    pub expires_at_ms: u64,
    /// The name of the credential that proved it: never the credential.
    pub credential: String,
    /// On whose behalf the caller acts: first whose authority it is, last who gave it to the caller.
    pub behalf: Vec<Delegator>,
    /// To what the authority is restricted further.
    pub bounds: Bounds,
}

impl Claims {
    /// What was delegated, if this is authority that was given on.
    #[must_use]
    pub fn delegated(&self) -> Option<BTreeSet<String>> {
        (!self.behalf.is_empty()).then(|| self.scopes.clone())
    }
}

/// A value that an authenticator answers for.
///
/// [`Verified::vouch`] is the only way to make one, so that every place that authenticates somebody
/// can be found by that name:
///
/// ```compile_fail,E0451
/// use casemate_policy::{Authenticator, Verified};
/// let forged = Verified { value: "anything", by: Authenticator::LocalUser };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T> {
    value: T,
    by: Authenticator,
}

impl<T> Verified<T> {
    /// Puts the authenticator's word behind `value`.
    ///
    /// Call this only in the code that has just done what `by` names: a value from a request body, a
    /// header that was not verified, or a model's text must never come here.
    #[must_use]
    pub const fn vouch(value: T, by: Authenticator) -> Self {
        Self { value, by }
    }

    /// The value.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// Who answers for it.
    #[must_use]
    pub const fn by(&self) -> Authenticator {
        self.by
    }
}
