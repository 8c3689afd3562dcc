//! Who calls.

use casemate_model::Reason;

use super::{Answer, Request, refuse};
use crate::{profile::Profile, visible::quoted};

pub(super) fn issuer(profile: &Profile, request: &Request<'_>) -> Answer {
    let issuer = &request.claims.get().issuer;
    if profile.identity.allowed_issuers.contains(issuer) {
        return Ok(());
    }
    refuse(
        Reason::UntrustedIssuer,
        format!(
            "the issuer {} is not in identity.allowed_issuers",
            quoted(issuer)
        ),
    )
}

pub(super) fn expiry(_: &Profile, request: &Request<'_>) -> Answer {
    let expires_at_ms = request.claims.get().expires_at_ms;
    if request.now_ms < expires_at_ms {
        return Ok(());
    }
    refuse(
        Reason::ExpiredToken,
        format!(
            "the caller's claims expired {} ms ago",
            request.now_ms - expires_at_ms
        ),
    )
}

pub(super) fn audience(profile: &Profile, request: &Request<'_>) -> Answer {
    let (audience, required) = (
        &request.claims.get().audience,
        &profile.identity.required_audience,
    );
    if audience == required {
        return Ok(());
    }
    refuse(
        Reason::WrongAudience,
        format!(
            "the caller's claims are for {}, not for {}",
            quoted(audience),
            quoted(required)
        ),
    )
}

pub(super) fn tenant(profile: &Profile, request: &Request<'_>) -> Answer {
    let (own, called) = (&request.claims.get().tenant, &request.call.tenant);
    if own != called {
        return refuse(
            Reason::TenantBoundary,
            format!(
                "the caller's tenant is {}, the call's is {}",
                quoted(own),
                quoted(called)
            ),
        );
    }
    if profile.identity.allowed_tenants.contains(own) {
        return Ok(());
    }
    refuse(
        Reason::TenantBoundary,
        format!(
            "the tenant {} is not in identity.allowed_tenants",
            quoted(own)
        ),
    )
}
