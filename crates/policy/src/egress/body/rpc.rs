//! JSON-RPC, and MCP in it.

use serde_json::{Map, Value};

use super::{
    super::BodyRule,
    Ambiguous,
    members::{member, text},
};

const CALL: &str = "tools/call";

/// Whether a message is what the rule is about. An answer is not: it has no method.
pub(super) fn is_meant(rule: &BodyRule, message: &Map<String, Value>) -> Result<bool, Ambiguous> {
    if text(message, "jsonrpc")? != "2.0" {
        return Err(Ambiguous);
    }
    if member(message, "method")?.is_none() {
        return Ok(false);
    }
    let method = text(message, "method")?;
    let has = |list: &Vec<String>, name: &str| list.iter().any(|known| known == name);
    // Read whether or not it matters, so that what is ambiguous never passes.
    let tool = match (method, member(message, "params")?) {
        (CALL, Some(Value::Object(params))) => Some(text(params, "name")?),
        (CALL, _) => return Err(Ambiguous),
        _ => None,
    };
    let is_method = |methods: &Vec<String>| has(methods, method);
    let is_tool = |tools: &Vec<String>| tool.is_some_and(|tool| has(tools, tool));
    Ok(match (&rule.rpc_methods, &rule.rpc_tools) {
        (None, None) => true,
        (Some(methods), None) => is_method(methods),
        (None, Some(tools)) => is_tool(tools),
        (Some(methods), Some(tools)) => is_method(methods) && (method != CALL || is_tool(tools)),
    })
}
