//! Who made a call, to know them again.

use casemate_model::Authenticator;
use casemate_policy::{Claims, Verified};

/// What the requests of one client have in common: who it is, by what it is proven, and on whose behalf it acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    issuer: String,
    subject: String,
    /// None of an issuer's token: that is renewed, and its subject is the issuer's word.
    credential: Option<String>,
    behalf: Vec<(String, String)>,
}

impl Maker {
    /// Who these claims are of.
    #[must_use]
    pub fn of(claims: &Verified<Claims>) -> Self {
        let is_renewed = claims.by() == Authenticator::Jwt;
        let claims = claims.get();
        let behalf = claims.behalf.iter();
        Self {
            issuer: claims.issuer.clone(),
            subject: claims.subject.clone(),
            credential: (!is_renewed).then(|| claims.credential.clone()),
            behalf: behalf
                .map(|one| (one.issuer.clone(), one.subject.clone()))
                .collect(),
        }
    }
}
