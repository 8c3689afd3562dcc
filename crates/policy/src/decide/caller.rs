//! Who calls.

use casemate_model::Reason;

use super::{Answer, Request, refuse};
use crate::{claims::Claims, profile::Profile, visible::quoted};

pub(super) fn issuer(profile: &Profile, request: &Request<'_>) -> Answer {
    known_issuer(profile, request.claims.get())
}

pub(super) fn known_issuer(profile: &Profile, claims: &Claims) -> Answer {
    let issuer = &claims.issuer;
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
    unexpired(request.claims.get(), request.now_ms)
}

pub(super) fn unexpired(claims: &Claims, now_ms: u64) -> Answer {
    let expires_at_ms = claims.expires_at_ms;
    if now_ms < expires_at_ms {
        return Ok(());
    }
    refuse(
        Reason::ExpiredToken,
        format!(
            "the caller's claims expired {} ms ago",
            now_ms - expires_at_ms
        ),
    )
}

pub(super) fn audience(profile: &Profile, request: &Request<'_>) -> Answer {
    for_audience(profile, request.claims.get())
}

pub(super) fn for_audience(profile: &Profile, claims: &Claims) -> Answer {
    let (audience, required) = (&claims.audience, &profile.identity.required_audience);
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
    of_tenant(profile, request.claims.get())
}

pub(super) fn of_tenant(profile: &Profile, claims: &Claims) -> Answer {
    let own = &claims.tenant;
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
