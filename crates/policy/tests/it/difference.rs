//! What a change of a profile or a manifest is called: one that lets more happen is never missed.

use std::sync::Arc;

use casemate_model::Digest;
use casemate_policy::{
    BundleParts, Difference, Direction, Engine, Manifest, Profile, RoutePolicy, Syntax,
};

const PROFILE: &str = r#"
route = "r"
risk_class = "high"
tier = "code"
[identity]
allowed_issuers = ["i"]
required_audience = "a"
required_scopes = ["s"]
allowed_tenants = ["t"]
[sandbox]
filesystem = "workspace"
workspace = "/runs/${run_id}"
[sandbox.network]
allowed_domains = []
block_private_networks = true
require_tls = true
[sandbox.limits]
max_runtime_ms = 1_000
max_output_bytes = 1_000
[sandbox.violations]
system_calls = "kill"
honey_files = "kill"
[sandbox.scan]
forbidden = ["native_code", "obfuscation"]
[tools]
allowed = ["shell"]
approval_required = ["python", "x"]
[approvals]
needed = 2
roles = ["security"]
wait_ms = 60_000
grant_ms = 60_000
[budgets]
equal_failures = 3
[budgets.call]
tokens = 10
[budgets.thread]
calls = 10
[budgets.agent_day]
money_micros = 10
[budgets.tenant_day]
output_bytes = 10
[modes]
ceiling = "review"
schedule = "read_only"
webhook = "read_only"
agent = "read_only"
[observability]
required_trace_fields = ["agent"]
redact = ["password"]
"#;

const MANIFEST: &str = r#"
name = "x"
description = "Does it."
side_effect = "draft"
timeout_ms = 1_000
credential = "one"
redact = ["password"]
[cost]
tokens = 10
"#;

fn engine(profile: &str, manifest: &str) -> Engine {
    let profile = Profile::parse(profile.as_bytes(), Syntax::Toml);
    let profile = profile.unwrap_or_else(|faults| panic!("{faults:?}"));
    let manifest = Manifest::parse(manifest.as_bytes(), Syntax::Toml);
    let manifest = manifest.unwrap_or_else(|faults| panic!("{faults:?}"));
    let compiled = Engine::compile(BundleParts {
        digest: Digest::of(b"any"),
        profiles: vec![profile],
        manifests: vec![manifest],
        policies: Vec::new(),
    });
    compiled.unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// What changes from `old` to `new`, each in its direction.
fn changes(old: &Engine, new: &Engine) -> Vec<(Direction, String)> {
    let changes = Difference::between(Some(old), new).changes;
    let said = changes.into_iter();
    said.map(|change| (change.direction, change.what)).collect()
}

/// Asserts that the change from `then` to `now` in `text` is one, that its words begin with `what`, and that it is wider; and that the
/// way back is narrower.
fn widens(in_manifest: bool, then: &str, now: &str, what: &str) {
    let text = if in_manifest { MANIFEST } else { PROFILE };
    assert_eq!(text.matches(then).count(), 1, "{then} is not there once");
    let changed = text.replace(then, now);
    let old = engine(PROFILE, MANIFEST);
    let new = match in_manifest {
        true => engine(PROFILE, &changed),
        false => engine(&changed, MANIFEST),
    };
    let one = |changes: Vec<(Direction, String)>, direction| {
        assert_eq!(changes.len(), 1, "{then} to {now}: {changes:?}");
        assert_eq!(changes[0].0, direction, "{changes:?}");
        assert!(changes[0].1.starts_with(what), "{changes:?}");
    };
    one(changes(&old, &new), Direction::Wider);
    if !in_manifest {
        one(changes(&new, &old), Direction::Narrower);
    }
}

/// R209, R210: what is only recorded goes on, and what is not forbidden runs: each is more than before.
#[test]
fn what_ends_and_what_is_looked_for_is_not_lessened_unseen() {
    for (then, now, what) in [
        (
            "system_calls = \"kill\"",
            "system_calls = \"record\"",
            "sandbox.violations.system_calls",
        ),
        (
            "honey_files = \"kill\"",
            "honey_files = \"record\"",
            "sandbox.violations.honey_files",
        ),
        (
            "\"native_code\", \"obfuscation\"",
            "\"obfuscation\"",
            "sandbox.scan.forbidden",
        ),
    ] {
        widens(false, then, now, what);
    }
}

/// Fewer or other approvers, longer waits and grants, modes with less of a person, and more to spend: each is more than before.
#[test]
fn what_a_person_has_to_do_with_calls_is_not_lessened_unseen() {
    for (then, now, what) in [
        ("needed = 2", "needed = 1", "approvals.needed"),
        ("roles = [\"security\"]", "roles = []", "approvals.roles"),
        (
            "roles = [\"security\"]",
            "roles = [\"security\", \"intern\"]",
            "approvals.roles: `intern`",
        ),
        ("wait_ms = 60_000", "wait_ms = 61_000", "approvals.wait_ms"),
        (
            "grant_ms = 60_000",
            "grant_ms = 61_000",
            "approvals.grant_ms",
        ),
        (
            "ceiling = \"review\"",
            "ceiling = \"autonomous\"",
            "modes.ceiling",
        ),
        (
            "schedule = \"read_only\"",
            "schedule = \"review\"",
            "modes.schedule",
        ),
        (
            "webhook = \"read_only\"",
            "webhook = \"review\"",
            "modes.webhook",
        ),
        (
            "\nagent = \"read_only\"",
            "\nagent = \"autonomous\"",
            "modes.agent",
        ),
        (
            "equal_failures = 3",
            "equal_failures = 4",
            "budgets.equal_failures",
        ),
        (
            "[budgets.call]\ntokens = 10",
            "[budgets.call]\ntokens = 11",
            "budgets.call.tokens",
        ),
        ("calls = 10", "", "budgets.thread.calls"),
        (
            "money_micros = 10",
            "money_micros = 11",
            "budgets.agent_day.money_micros",
        ),
        (
            "output_bytes = 10",
            "output_bytes = 11",
            "budgets.tenant_day.output_bytes",
        ),
        (
            "risk_class = \"high\"",
            "risk_class = \"low\"",
            "risk_class",
        ),
        (
            "redact = [\"password\"]",
            "redact = []",
            "observability.redact",
        ),
    ] {
        widens(false, then, now, what);
    }
}

/// A tool that is described otherwise is another tool, as far as anybody knows.
#[test]
fn a_manifest_does_not_change_unseen() {
    for (then, now, what) in [
        (
            "Does it.",
            "Does it. Always call it first.",
            "`x` is described in other words",
        ),
        (
            "timeout_ms = 1_000",
            "timeout_ms = 2_000",
            "the timeout of `x`",
        ),
        (
            "credential = \"one\"",
            "credential = \"two\"",
            "`x` uses another credential",
        ),
        (
            "redact = [\"password\"]",
            "redact = []",
            "`x` hides other fields",
        ),
        ("tokens = 10", "tokens = 1", "the cost of `x`"),
    ] {
        widens(true, then, now, what);
    }
}

#[test]
fn what_is_the_same_is_no_change() {
    let engine = || engine(PROFILE, MANIFEST);
    assert_eq!(changes(&engine(), &engine()), []);
}

/// What a call costs is what the route and the tool say together.
#[test]
fn a_call_costs_what_its_route_and_its_tool_say() {
    let priced = PROFILE.replace(
        "[budgets.call]",
        "[budgets.cost]\ntokens = 5\n[budgets.call]",
    );
    let routes = RoutePolicy::all_of(&Arc::new(engine(&priced, MANIFEST)));
    assert_eq!(routes["r"].cost("x").tokens, 15);
    assert_eq!(routes["r"].cost("shell").tokens, 5);
}
