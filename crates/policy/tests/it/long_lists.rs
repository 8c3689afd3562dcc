//! Long lists are no deep ones: nothing recurses along them.

use std::thread;

use casemate_model::Digest;
use casemate_policy::{
    BundleParts, Engine, Inputs, Manifest, Profile, Syntax, Token, Verdict, Wish,
};

use crate::build::{NOW_MS, isolation};

const MANY: usize = 1_000;

fn quoted(names: impl Iterator<Item = String>) -> String {
    names
        .map(|name| format!("\"{name}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

fn profile() -> Profile {
    let tools = quoted((0..MANY).map(|nth| format!("tool.{nth}")));
    let below = (0..MANY / 2).map(|nth| format!("*.a{nth}.example.com"));
    let domains = quoted(below.chain((0..MANY / 2).map(|nth| format!("b{nth}.example.com"))));
    let words = |what: &str| quoted((0..MANY).map(|nth| format!("{what}-{nth}")));
    let text = format!(
        "route = \"long\"\nrisk_class = \"low\"\ntier = \"tool_limited\"\n\
         [identity]\nallowed_issuers = [{}]\nrequired_audience = \"us\"\nrequired_scopes = [{}]\nallowed_tenants = [{}]\n\
         [sandbox]\nfilesystem = \"workspace\"\nworkspace = \"/workspace\"\n\
         [sandbox.network]\nallowed_domains = [{domains}]\nblock_private_networks = true\nrequire_tls = true\n\
         [sandbox.limits]\nmax_runtime_ms = 1000\nmax_output_bytes = 1000\n\
         [tools]\nallowed = [{tools}]\napproval_required = []\n\
         [observability]\nrequired_trace_fields = []\nredact = []\n",
        words("issuer"),
        words("scope"),
        words("tenant"),
    );
    Profile::parse(text.as_bytes(), Syntax::Toml).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

fn manifest(nth: usize) -> Manifest {
    let text = format!(
        "name = \"tool.{nth}\"\nside_effect = \"read\"\ntier = \"read_only\"\nscopes = []\nidempotency = \"none\"\n\
         approval = \"profile\"\ndestinations = [\"*.example.com\"]\n"
    );
    Manifest::parse(text.as_bytes(), Syntax::Toml).unwrap()
}

fn ask(engine: &Engine, wish: Wish, host: &str) -> casemate_policy::Decision {
    let last = MANY - 1;
    engine.judge(&Inputs {
        policy: engine.digest(),
        route: "long".to_owned(),
        wish,
        side_effect: casemate_model::SideEffect::Read,
        tenant: format!("tenant-{last}"),
        user: "ada".to_owned(),
        agent: "agent".to_owned(),
        token: Token {
            issuer: format!("issuer-{last}"),
            subject: "ada".to_owned(),
            tenant: format!("tenant-{last}"),
            audience: "us".to_owned(),
            scopes: (0..MANY).map(|nth| format!("scope-{nth}")).collect(),
            expires_at_ms: NOW_MS + 1,
        },
        delegated: None,
        mode: casemate_model::RunMode::Autonomous,
        now_ms: NOW_MS,
        idempotency_key: false,
        action_hash: Some(Digest::of(b"action")),
        destination: Some(casemate_policy::Destination {
            host: host.to_owned(),
            class: casemate_model::DestinationClass::Public,
            reach: casemate_model::Reach::Global,
        }),
        approval: None,
        labels: None,
        budget: None,
        isolation: Some(isolation(
            casemate_model::IsolationTier::Vm,
            casemate_model::Strength::Enforced,
        )),
        flaw: None,
    })
}

/// A thousand of everything, on a thread with the stack that a server's threads have: compiled, allowed and denied.
#[test]
fn a_thousand_domains_and_a_thousand_tools() {
    let work = || {
        let engine = Engine::compile(BundleParts {
            profiles: vec![profile()],
            manifests: (0..MANY).map(manifest).collect(),
            ..BundleParts::default()
        });
        let engine = engine.unwrap_or_else(|faults| panic!("{}", faults[0]));
        let tool = |nth: usize| Wish::Tool(format!("tool.{nth}"));
        for (nth, host) in [
            (0, "x.a0.example.com"),
            (999, "x.a499.example.com"),
            (500, "b499.example.com"),
        ] {
            let decision = ask(&engine, tool(nth), host);
            assert_eq!(decision.verdict, Verdict::Allow, "{decision:?}");
        }
        for (nth, host, reason) in [
            (0, "a0.example.com", "egress_denied"),
            (0, "b500.example.com", "egress_denied"),
            (1_000, "b1.example.com", "missing_scope"),
        ] {
            let decision = ask(&engine, tool(nth), host);
            assert_eq!(decision.reason.as_str(), reason, "{decision:?}");
        }
        let access = ask(
            &engine,
            Wish::Access("file.read".to_owned()),
            "b1.example.com",
        );
        assert_eq!(access.verdict, Verdict::Allow, "{access:?}");
    };
    let small = thread::Builder::new().stack_size(2 << 20);
    small.spawn(work).unwrap().join().unwrap();
}
