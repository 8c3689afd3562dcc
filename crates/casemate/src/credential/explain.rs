//! `casemate credential explain`: who can use a credential, where, and under which policy.

use std::path::Path;

use casemate_gateway::Policies as _;
use casemate_identity::{Handle, Usage};
use casemate_policy::{EgressRule, Governing, Profile, RoutePolicy, RuleApproval};
use serde_json::{Value, json};

use super::{ExplainArgs, known, store};
use crate::{
    exit::Exit,
    policy::ActivePolicies,
    profile::explain,
    report::{self, Failure},
};

pub(super) fn run(root: &Path, args: &ExplainArgs) -> Result<Exit, Failure> {
    let header = known(&store(root)?, &args.handle)?;
    let uses: Vec<_> = policies(root, args)?
        .iter()
        .flat_map(|policy| uses(policy, &args.handle))
        .collect();
    if args.json {
        let scopes = header.kind.scopes();
        let all = json!({ "credential": header, "scopes": scopes, "uses": uses });
        report::print(format_args!("{all}\n"))?;
        return Ok(Exit::Success);
    }
    let scopes = header.kind.scopes().join(", ");
    report::print(format_args!(
        "{} is {} ({}, version {}){}\n",
        header.handle,
        header.state.as_str(),
        header.kind.as_str(),
        header.version,
        if scopes.is_empty() {
            String::new()
        } else {
            format!(", with the scopes {scopes}")
        },
    ))?;
    if uses.is_empty() {
        report::print(format_args!("no rule names it: nobody can use it\n"))?;
    }
    for one in &uses {
        let text = |name: &str| match one.get(name) {
            Some(Value::Array(all)) => all.iter().map(shown).collect::<Vec<_>>().join(", "),
            Some(value) if !value.is_null() => shown(value),
            _ => "any".to_owned(),
        };
        let (host, ports) = (text("host"), text("ports"));
        let what = match one.pointer("/login/user") {
            Some(user) => {
                let databases = one.pointer("/login/databases");
                let databases = databases.map(Value::to_string).unwrap_or_default();
                format!(
                    "logs in to {host} ports {ports}, as {}, databases {databases}",
                    shown(user)
                )
            }
            None => format!(
                "{} https://{host} ports {ports}, paths {}, query {}",
                text("methods"),
                text("paths"),
                text("query"),
            ),
        };
        report::print(format_args!(
            "route {}, rule {}\n  tools {}\n  callers with the scopes {}\n  {what}\n  {}, at most {} requests of a call, approval {}\n  policy {}\n",
            text("route"),
            text("rule"),
            text("tools"),
            text("caller_scopes"),
            text("side_effect"),
            text("most"),
            text("approval"),
            text("policy"),
        ))?;
    }
    Ok(Exit::Success)
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

/// The policies of the files that were named, or those in force.
fn policies(root: &Path, args: &ExplainArgs) -> Result<Vec<RoutePolicy>, Failure> {
    if args.profiles.is_empty() {
        let nothing = Some(Governing::new());
        let active = ActivePolicies::open(root, nothing, |_, _| Ok(())).map_err(Failure::failed)?;
        let governing = active
            .current()
            .map_err(|why| Failure::failed(anyhow::anyhow!("{why}")))?;
        return Ok(governing.values().cloned().collect());
    }
    let read = |path: &std::path::PathBuf| {
        let profile = Profile::load(path).map_err(|error| {
            explain(&error);
            Failure::invalid(error)
        })?;
        RoutePolicy::of(profile).map_err(Failure::invalid)
    };
    args.profiles.iter().map(read).collect()
}

/// The rules of a route that name the credential.
fn uses(policy: &RoutePolicy, handle: &Handle) -> Vec<Value> {
    let usage = |rule: &EgressRule| {
        Usage::of(rule)
            .filter(|usage| usage.handle == *handle)
            .map(|usage| (rule.clone(), usage))
    };
    policy
        .egress
        .iter()
        .filter_map(usage)
        .map(|(rule, usage)| {
            let tools = usage.tools.unwrap_or_else(|| policy.tools.listed().map(ToOwned::to_owned).collect());
            json!({
                "route": policy.route,
                "policy": policy.policy_digest(),
                "rule": usage.rule,
                "tools": tools,
                "caller_scopes": policy.identity.required_scopes,
                "host": usage.host,
                "ports": usage.ports,
                "methods": usage.methods,
                "paths": usage.paths,
                "query": usage.query,
                "login": usage.login,
                "side_effect": rule.side_effect,
                "most": usage.most,
                "approval": if rule.approval == RuleApproval::Never { "never" } else { rule.approval.as_str() },
            })
        })
        .collect()
}
