//! `authorizeToolRequest` of seed 002, row by row, through `decide`.

use casemate_model::{Reason, SideEffect};
use casemate_policy::Verdict;

use crate::build::{Case, NOW_MS};

/// The seed's `ToolPolicy` (R127): audience, tenants, scope per tool, approvals, destinations.
fn seed_case() -> Case {
    let mut case = Case::support();
    let Case {
        profile,
        call,
        claims,
        ..
    } = &mut case;
    profile.identity.required_scopes.clear();
    profile.identity.allowed_tenants = vec!["acme".into()];
    profile.tools.scopes = [
        ("refunds.draft_refund", "refunds:draft"),
        ("refunds.issue_refund", "refunds:issue"),
    ]
    .map(|(tool, scope)| (tool.to_owned(), scope.to_owned()))
    .into();
    // The seed's `ToolRequest` (R124) …
    call.tenant = "acme".into();
    call.tool = "refunds.draft_refund".into();
    call.side_effect = SideEffect::Write;
    call.destination = Some("api.example.com".into());
    call.idempotency_key = Some("refund-1".into());
    // … and its `RuntimeClaims` (R126).
    claims.tenant = "acme".into();
    claims.scopes = ["refunds:draft".to_owned(), "refunds:issue".to_owned()].into();
    case
}

type Row = (&'static str, Reason, fn(&mut Case));

/// Each `if` of the seed's function, in its order, and what makes it true.
const ROWS: &[Row] = &[
    ("claims.expiresAt <= now", Reason::ExpiredToken, |case| {
        case.claims.expires_at_ms = NOW_MS;
    }),
    (
        "claims.audience !== requiredAudience",
        Reason::WrongAudience,
        |case| {
            case.claims.audience = "another-service".into();
        },
    ),
    (
        "claims.tenantId !== request.tenantId",
        Reason::TenantBoundary,
        |case| {
            // Allowed here as well, but not the call's.
            case.profile.identity.allowed_tenants.push("other".into());
            case.claims.tenant = "other".into();
        },
    ),
    (
        "!allowedTenants.includes(tenantId)",
        Reason::TenantBoundary,
        |case| {
            case.profile.identity.allowed_tenants = vec!["other".into()];
        },
    ),
    (
        "!requiredScope: unknown tool",
        Reason::MissingScope,
        |case| {
            case.call.tool = "payments.transfer".into();
        },
    ),
    (
        "!requiredScope: no scope for the tool",
        Reason::MissingScope,
        |case| {
            case.profile.tools.scopes.clear();
        },
    ),
    (
        "!claims.scopes.includes(requiredScope)",
        Reason::MissingScope,
        |case| {
            case.claims.scopes = ["orders:read".to_owned()].into();
        },
    ),
    (
        "sideEffect write && !idempotencyKey",
        Reason::MissingIdempotencyKey,
        |case| {
            case.call.idempotency_key = None;
        },
    ),
    (
        "idempotencyKey is the empty string",
        Reason::MissingIdempotencyKey,
        |case| {
            case.call.idempotency_key = Some(String::new());
        },
    ),
    (
        "!allowedDestinations.includes(destination)",
        Reason::EgressDenied,
        |case| {
            case.call.destination = Some("evil.example.com".into());
        },
    ),
    (
        "approvalRequiredFor.includes(tool)",
        Reason::ApprovalRequired,
        |case| {
            case.call.tool = "refunds.issue_refund".into();
        },
    ),
];

/// R123–R135: every row of the seed gives the seed's reason, and every denial has one.
#[test]
fn each_row_of_the_seed_gives_its_reason() {
    let allowed = seed_case().decide();
    assert_eq!(
        (allowed.verdict, allowed.reason),
        (Verdict::Allow, Reason::Allowed)
    );
    for (row, reason, spoil) in ROWS {
        let mut case = seed_case();
        spoil(&mut case);
        let decision = case.decide();
        let verdict = match reason {
            Reason::ApprovalRequired => Verdict::Hold,
            _ => Verdict::Deny,
        };
        assert_eq!(
            (decision.verdict, decision.reason),
            (verdict, *reason),
            "{row}"
        );
        assert!(
            !decision.detail.is_empty() && !decision.detail.contains('\n'),
            "{row}"
        );
        assert!(!decision.checks.last().unwrap().passed, "{row}");
    }
}

/// R128–R134: when several rows apply, the earliest speaks, as in the seed.
#[test]
fn the_rows_are_asked_in_the_seeds_order() {
    for (earlier, (row, reason, spoil)) in ROWS.iter().enumerate() {
        for (later_row, _, spoil_later) in &ROWS[earlier + 1..] {
            let mut case = seed_case();
            spoil_later(&mut case);
            spoil(&mut case);
            assert_eq!(case.decide().reason, *reason, "{row} before {later_row}");
        }
    }
}

/// R125, R132: a read needs no key; everything else does.
#[test]
fn only_reads_go_without_an_idempotency_key() {
    for side_effect in SideEffect::ALL {
        let mut case = seed_case();
        case.call.side_effect = *side_effect;
        case.call.idempotency_key = None;
        let expected = match side_effect {
            SideEffect::Read => Reason::Allowed,
            _ => Reason::MissingIdempotencyKey,
        };
        assert_eq!(case.decide().reason, expected, "{side_effect}");
    }
}
