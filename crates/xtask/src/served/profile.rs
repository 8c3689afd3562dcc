//! Profiles for chores.

/// Which tools a route has; with Python, its sandboxes have a warm interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tools {
    Shell,
    Both,
}

/// A profile with room for everything that is measured: `session` is its mode, `pool` how many sandboxes stand ready.
pub(crate) fn profile(
    route: &str,
    session: &str,
    image: &str,
    tools: Tools,
    pool: (u32, u32),
) -> String {
    let tools = match tools {
        Tools::Shell => "\"shell\"",
        Tools::Both => "\"python\", \"shell\"",
    };
    let (min, max) = pool;
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

[quotas.session]
calls = 64

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
