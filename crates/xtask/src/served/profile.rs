//! Profiles for chores.

/// Which tools a route has; with Python, its sandboxes have a warm interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tools {
    Shell,
    Both,
}

/// A profile: with room for everything, but for what is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) route: &'static str,
    /// The mode of its sessions.
    pub(crate) session: &'static str,
    pub(crate) image: &'static str,
    pub(crate) tools: Tools,
    /// How many sandboxes stand ready, at least and at most.
    pub(crate) pool: (u32, u32),
    /// How long a session waits for its next call.
    pub(crate) session_idle_ms: u64,
    /// More keys of `sandbox.limits`.
    pub(crate) limits: &'static str,
    /// The keys of `quotas.session`.
    pub(crate) of_session: &'static str,
}

impl Profile {
    /// As the file has it.
    pub(crate) fn text(&self) -> String {
        let Self {
            route,
            session,
            image,
            tools,
            pool: (min, max),
            session_idle_ms,
            limits,
            of_session,
        } = self;
        let tools = match tools {
            Tools::Shell => "\"shell\"",
            Tools::Both => "\"python\", \"shell\"",
        };
        format!(
            r#"route = "{route}"
risk_class = "medium"

[identity]
allowed_issuers = ["casemate:local"]
required_audience = "casemate-run"
required_scopes = ["code:execute"]

[sandbox]
filesystem = "workspace"
workspace = "/workspace"
session = "{session}"
session_idle_ms = {session_idle_ms}
image = "{image}"

[sandbox.pool]
min = {min}
max = {max}
idle_ms = 5000

[sandbox.network]
allowed_domains = []
block_private_networks = true
require_tls = true

[sandbox.limits]
max_runtime_ms = 600_000
max_output_bytes = 1_048_576
{limits}

[quotas.session]
{of_session}

[quotas.agent]
memory_bytes = 1_099_511_627_776
processes = 1_000_000
cpu_milli = 1_000_000
calls = 4_096
queued = 65_536

[quotas.tenant]
memory_bytes = 1_099_511_627_776
processes = 1_000_000
cpu_milli = 1_000_000
calls = 4_096
queued = 65_536

[tools]
allowed = [{tools}]
approval_required = []

[observability]
required_trace_fields = ["trace_id", "actor", "tool", "policy_decision", "stop_reason"]
redact = []
"#
        )
    }
}
