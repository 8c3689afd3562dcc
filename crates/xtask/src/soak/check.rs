//! What the interface may answer.

use serde_json::Value;

use super::world::Victim;
use crate::served::Answer;

/// The codes of problems, each with its status.
const CODES: [(&str, u16); 55] = [
    ("invalid_call", 400),
    ("invalid_profile", 400),
    ("limit_exceeded", 400),
    ("untrusted_issuer", 401),
    ("expired_token", 401),
    ("wrong_audience", 401),
    ("missing_idempotency_key", 403),
    ("kill_switch", 403),
    ("tenant_boundary", 403),
    ("missing_scope", 403),
    ("egress_denied", 403),
    ("secret_in_environment", 403),
    ("approval_required", 403),
    ("approval_invalid", 403),
    ("approval_denied", 403),
    ("changes_requested", 403),
    ("approval_expired", 403),
    ("approval_cancelled", 409),
    ("budget_exhausted", 429),
    ("loop_detected", 429),
    ("policy_error", 503),
    ("gate_closed", 503),
    ("idempotency_conflict", 409),
    ("call_in_flight", 409),
    ("outcome_unknown", 409),
    ("context_mismatch", 409),
    ("session_unknown", 404),
    ("context_unknown", 404),
    ("session_gone", 410),
    ("quota_exceeded", 429),
    ("overloaded", 503),
    ("isolation_unavailable", 503),
    ("record_unavailable", 503),
    ("no_such_path", 404),
    ("call_unknown", 404),
    ("approval_unknown", 404),
    ("withdrawn", 409),
    ("failed", 500),
    ("bad_path", 400),
    ("file_not_found", 404),
    ("is_directory", 409),
    ("not_directory", 409),
    ("not_regular", 409),
    ("file_denied", 403),
    ("file_too_large", 413),
    ("no_space", 507),
    ("not_empty", 409),
    ("cut_off", 400),
    ("file_failed", 500),
    // Refused before the request is a call.
    ("invalid_call", 413),
    ("invalid_call", 415),
    ("invalid_call", 422),
    ("invalid_call", 405),
    ("invalid_call", 404),
    ("invalid_call", 426),
];

/// Codes that only a death excuses, and whose.
const EXCUSED: [(&str, &[Victim]); 7] = [
    ("isolation_unavailable", ANY),
    ("failed", &[Victim::Keeper, Victim::Gateway]),
    ("file_failed", ANY),
    ("session_gone", ANY),
    ("context_unknown", ANY),
    ("outcome_unknown", &[Victim::Gateway]),
    ("record_unavailable", &[Victim::Gateway]),
];

const ANY: &[Victim] = &[
    Victim::Gateway,
    Victim::Keeper,
    Victim::Nursery,
    Victim::InSandbox,
];

/// What an answer is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// All went well.
    Good(Value),
    /// A documented problem of this code.
    Problem(String, Value),
    /// What no client could understand.
    Undocumented(String),
}

/// What an answer is.
pub(super) fn judge(answer: &Answer) -> Verdict {
    let shown = || {
        let body = String::from_utf8_lossy(&answer.body);
        let body: String = body.chars().take(300).collect();
        format!("{} {body}", answer.status)
    };
    let Ok(body) = answer.json() else {
        // A file's content is no JSON.
        return if answer.status == 200 {
            Verdict::Good(Value::Null)
        } else {
            Verdict::Undocumented(shown())
        };
    };
    if matches!(answer.status, 200 | 201 | 202 | 204) {
        return Verdict::Good(body);
    }
    match problem(&body, answer.status) {
        Some(code) => Verdict::Problem(code, body),
        None => Verdict::Undocumented(shown()),
    }
}

/// The code of a problem, if it is whole.
pub(super) fn problem(body: &Value, status: u16) -> Option<String> {
    let code = body.get("code")?.as_str()?;
    let whole = CODES.contains(&(code, status))
        && body.get("status")?.as_u64()? == u64::from(status)
        && !body.get("title")?.as_str()?.is_empty()
        && body.get("detail")?.is_string()
        && *body.get("type")? == format!("urn:casemate:problem:{code}");
    // Whoever hits a quota is told which and how much; whoever misses a session, which.
    let told = match code {
        "quota_exceeded" => {
            let quota = body.get("quota")?;
            quota.get("limit")?.is_u64() && quota.get("used")?.is_u64()
        }
        "session_gone" | "session_unknown" => body.get("session")?.is_string(),
        "context_unknown" => body.get("context")?.is_string(),
        _ => true,
    };
    (whole && told).then(|| code.to_owned())
}

/// Whether this code may come although nobody asked for it, when these have died.
pub(super) fn is_excused(code: &str, deaths: &[Victim]) -> bool {
    let found = EXCUSED.iter().find(|(other, _)| *other == code);
    found.is_some_and(|(_, by)| deaths.iter().any(|death| by.contains(death)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: body.to_owned().into(),
            timings: None,
        }
    }

    #[test]
    fn only_whole_problems_of_the_right_status_are_documented() {
        let gone = r#"{"type":"urn:casemate:problem:session_gone","title":"Gone","status":410,"detail":"","code":"session_gone","session":"ses_x"}"#;
        assert!(
            matches!(judge(&answer(410, gone)), Verdict::Problem(code, _) if code == "session_gone")
        );
        assert!(matches!(
            judge(&answer(404, gone)),
            Verdict::Undocumented(_)
        ));
        let nameless = gone.replace(r#","session":"ses_x""#, "");
        assert!(matches!(
            judge(&answer(410, &nameless)),
            Verdict::Undocumented(_)
        ));
        assert!(matches!(
            judge(&answer(500, "oops")),
            Verdict::Undocumented(_)
        ));
        assert!(matches!(judge(&answer(204, "")), Verdict::Good(_)));
    }

    #[test]
    fn a_death_excuses_what_it_can_cause() {
        assert!(!is_excused("session_gone", &[]));
        assert!(is_excused("session_gone", &[Victim::Keeper]));
        assert!(!is_excused("failed", &[Victim::InSandbox]));
        assert!(!is_excused("invalid_call", ANY));
    }
}
