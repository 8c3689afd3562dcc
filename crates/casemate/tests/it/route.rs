//! The profile of a route on which a local user runs code, with what a test wants to be different.

/// What is different.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Route<'a> {
    /// Its tools, as in the profile.
    pub(crate) allowed: &'a str,
    /// Those that need approval.
    pub(crate) approval_required: &'a str,
    /// More of the section `sandbox`.
    pub(crate) sandbox: &'a str,
    /// More sections.
    pub(crate) more: &'a str,
}

impl Route<'_> {
    /// The profile of the route `work`.
    pub(crate) fn profile(&self) -> String {
        let Self {
            allowed,
            approval_required,
            sandbox,
            more,
        } = self;
        format!(
            r#"
route = "work"
risk_class = "medium"
tier = "code"

[identity]
allowed_issuers = ["casemate:local"]
required_audience = "casemate-run"
required_scopes = ["code:execute"]

[sandbox]
filesystem = "workspace"
workspace = "/workspace"
session = "thread"
{sandbox}

[sandbox.network]
allowed_domains = []
block_private_networks = true
require_tls = true

[sandbox.limits]
max_runtime_ms = 600_000
max_output_bytes = 67_108_864

[tools]
allowed = [{allowed}]
approval_required = [{approval_required}]

[observability]
required_trace_fields = ["trace_id", "actor", "tool", "policy_decision", "stop_reason"]
redact = ["access_token"]

{more}
"#
        )
    }
}
