//! Tools of servers of the Model Context Protocol: each runs a program of the sandbox.

use casemate_model::Tier;
use casemate_policy::RoutePolicy;

use crate::egress::parse;

const SERVER: &str = r#"
[sandbox.network]
allowed_domains = []
block_private_networks = true
require_tls = true
[[mcp.servers]]
name = "files"
command = ["server"]
tools = ['{"name":"read","inputSchema":{"type":"object"}}']
"#;

/// R71: a route whose only tool is one of a server runs code, and a profile that says less does not make it less.
#[test]
fn a_tool_of_a_server_runs_code() {
    for (tool, runs) in [("files.read", true), ("notes.read", false)] {
        let mut profile = parse(&[tool], SERVER);
        let policy = RoutePolicy::of(profile.clone()).unwrap();
        assert_eq!(policy.runs_code(), runs, "{tool}");
        profile.tier = None;
        assert_eq!(profile.tier() == Tier::Code, runs, "{tool}");
    }
}
