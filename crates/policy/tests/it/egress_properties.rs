//! What holds for all rules of egress.

use std::fmt::Write as _;

use casemate_policy::{EgressPolicy, RequestFacts, RequestVerdict};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::egress::{GET, policy, whole};

/// A rule, as it is written.
#[derive(Clone, Debug)]
struct Written {
    host: &'static str,
    deny: bool,
    ports: Option<Vec<u16>>,
    methods: Option<Vec<&'static str>>,
    paths: Option<Vec<&'static str>>,
    query: Option<Vec<&'static str>>,
    tools: Option<Vec<&'static str>>,
    tools_of_bodies: Option<Vec<&'static str>>,
    most_bytes: u64,
    approval: &'static str,
    side_effect: &'static str,
}

const HOSTS: &[&str] = &[
    "a.example.com",
    "b.a.example.com",
    "c.b.a.example.com",
    "*.example.com",
    "*.a.example.com",
];
const METHODS: &[&str] = &["GET", "POST", "DELETE"];
const PATHS: &[&str] = &["/v1/**", "/v1/*", "/v1/a", "/**", "/v2"];
const TOOLS: &[&str] = &["fetch", "write"];

fn list<T: Clone + std::fmt::Debug + PartialEq + 'static>(
    of: Vec<T>,
) -> impl Strategy<Value = Option<Vec<T>>> {
    option::of(vec(select(of), 0..3).prop_map(|mut list| {
        list.dedup();
        let mut once: Vec<T> = Vec::new();
        for entry in list {
            if !once.contains(&entry) {
                once.push(entry);
            }
        }
        once
    }))
}

fn written() -> impl Strategy<Value = Written> {
    let lists = (
        list(vec![443_u16, 8443]),
        list(METHODS.to_vec()),
        list(PATHS.to_vec()),
        list(vec!["q", "page", "q=1", "q=2"]),
        list(TOOLS.to_vec()),
        list(vec!["search", "delete"]),
    );
    (
        select(HOSTS),
        any::<bool>(),
        lists,
        0..30_u64,
        select(vec!["never", "new_destination", "always"]),
        select(vec!["read", "write"]),
    )
        .prop_map(
            |(
                host,
                deny,
                (ports, methods, paths, query, tools, tools_of_bodies),
                most_bytes,
                approval,
                side_effect,
            )| Written {
                host,
                deny,
                ports,
                methods,
                paths,
                query,
                tools,
                tools_of_bodies,
                most_bytes,
                approval,
                side_effect,
            },
        )
}

fn toml(rules: &[(usize, Written)]) -> String {
    let mut text = String::new();
    for (name, rule) in rules {
        write!(
            text,
            "[[egress.rules]]\nname = \"r{name}\"\nhost = \"{}\"\n",
            rule.host
        )
        .unwrap();
        if let Some(ports) = &rule.ports {
            writeln!(text, "ports = {ports:?}").unwrap();
        }
        let mut lists = vec![
            ("methods", &rule.methods),
            ("paths", &rule.paths),
            ("tools", &rule.tools),
            ("body.rpc.tools", &rule.tools_of_bodies),
        ];
        if rule.deny {
            text.push_str("effect = \"deny\"\n");
        } else {
            lists.push(("query", &rule.query));
            writeln!(
                text,
                "class = \"public\"\nmax_body_bytes = {}\napproval = \"{}\"\nside_effect = \"{}\"",
                rule.most_bytes, rule.approval, rule.side_effect
            )
            .unwrap();
        }
        for (key, list) in lists {
            if let Some(list) = list {
                writeln!(text, "{key} = {list:?}").unwrap();
            }
        }
    }
    text
}

const DOMAINS: &str = r#"["a.example.com", "*.example.com"]"#;

fn compiled(rules: &[(usize, Written)]) -> EgressPolicy {
    policy(DOMAINS, &toml(rules))
}

fn numbered(rules: &[Written]) -> Vec<(usize, Written)> {
    rules.iter().cloned().enumerate().collect()
}

const SEARCH: &[u8] =
    br#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"search"}}"#;
const JSON: &[(&str, &[u8])] = &[("content-type", b"application/json")];

/// Every kind of request that the rules can tell apart.
fn requests() -> Vec<RequestFacts<'static>> {
    let mut all = Vec::new();
    for host in [
        "a.example.com",
        "b.a.example.com",
        "c.b.a.example.com",
        "x.example.com",
        "example.com",
    ] {
        for port in [443, 8443] {
            for method in METHODS {
                for path in ["/v1/a", "/v1/a/b", "/v2", "/"] {
                    for tool in TOOLS {
                        for query in [None, Some("q=1"), Some("page=1&q=2")] {
                            let facts = RequestFacts {
                                host,
                                port,
                                method,
                                path,
                                tool,
                                query,
                                ..GET
                            };
                            all.push(facts);
                            if *method == "POST" {
                                all.push(RequestFacts {
                                    headers: JSON,
                                    body: whole(SEARCH),
                                    ..facts
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

fn verdicts(policy: &EgressPolicy) -> Vec<RequestVerdict> {
    requests()
        .iter()
        .map(|facts| policy.judge(facts).verdict)
        .collect()
}

/// A shorter list, or one where there was none.
fn narrowed<T: Clone>(list: &Option<Vec<T>>, standard: &[T]) -> Option<Vec<T>> {
    let list = list.as_deref().unwrap_or(standard);
    Some(list.iter().skip(1).cloned().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// N15 of the corpus: rules in another order say the same, down to the rule that says it.
    #[test]
    fn the_order_of_rules_means_nothing(rules in vec(written(), 0..7).prop_map(|rules| numbered(&rules)).prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle()))) {
        let (first, second) = (compiled(&rules.0), compiled(&rules.1));
        for facts in requests() {
            let (first, second) = (first.judge(&facts), second.judge(&facts));
            prop_assert_eq!((first.verdict, first.code, first.rule.map(|rule| &rule.name)), (second.verdict, second.code, second.rule.map(|rule| &rule.name)));
        }
    }

    /// N15 of the corpus: whatever rules there are, one more that denies only denies.
    #[test]
    fn a_denial_only_denies(rules in vec(written(), 0..6), denial in written()) {
        let before = verdicts(&compiled(&numbered(&rules)));
        let denial = Written { deny: true, ..denial };
        let mut more = rules;
        more.push(denial);
        let after = verdicts(&compiled(&numbered(&more)));
        for (before, after) in before.iter().zip(after) {
            prop_assert!(after == *before || after == RequestVerdict::Deny);
        }
    }

    /// Saying less in a rule that only lets through lets nothing more through; nor is more of anything sent.
    #[test]
    fn narrowing_a_rule_never_allows_more(rules in vec(written(), 1..6), key in 0..7) {
        let mut rules = rules;
        let rule = rules.first_mut().unwrap();
        (rule.deny, rule.approval) = (false, "never");
        let before = verdicts(&compiled(&numbered(&rules)));
        let rule = rules.first_mut().unwrap();
        match key {
            0 => rule.ports = narrowed(&rule.ports, &[443]),
            1 => rule.methods = narrowed(&rule.methods, &["GET", "HEAD"]),
            2 => rule.paths = narrowed(&rule.paths, &["/", "/v1/**"]),
            3 => rule.query = narrowed(&rule.query, &["q", "page", "q=1"]),
            4 => rule.tools = narrowed(&rule.tools, TOOLS),
            5 => rule.tools_of_bodies = narrowed(&rule.tools_of_bodies, &["delete", "search"]),
            _ => rule.most_bytes /= 2,
        }
        let after = verdicts(&compiled(&numbered(&rules)));
        for ((facts, before), after) in requests().iter().zip(before).zip(after) {
            prop_assert!(after <= before, "{:?}: {} before, {} after", facts, before, after);
        }
    }

    /// Whatever is in a request, judging it ends, and what is not spelled as requests are is denied.
    #[test]
    fn no_request_breaks_the_judge(
        host in "\\PC{0,20}|[a-z.]{0,20}",
        path in "\\PC{0,20}|/[a-z%/.]{0,20}",
        query in option::of("\\PC{0,20}"),
        body in vec(any::<u8>(), 0..40),
        rules in vec(written(), 0..4),
    ) {
        let policy = compiled(&numbered(&rules));
        let facts = RequestFacts { host: &host, path: &path, query: query.as_deref(), headers: JSON, body: whole(&body), method: "POST", ..GET };
        let first = policy.judge(&facts);
        let odd = path.contains("..") && path.split('/').any(|segment| segment == "..") || path.contains("//") || !path.starts_with('/');
        if odd {
            prop_assert_eq!(first.verdict, RequestVerdict::Deny);
        }
        prop_assert_eq!(policy.judge(&facts).code, first.code);
    }
}

/// The properties are worth something only if requests are let through, held and denied.
#[test]
fn requests_come_to_every_verdict() {
    let rules = r#"
[[egress.rules]]
name = "a"
host = "a.example.com"
class = "public"
[[egress.rules]]
name = "b"
host = "b.a.example.com"
class = "public"
approval = "always"
"#;
    let verdicts = verdicts(&policy(DOMAINS, rules));
    for verdict in RequestVerdict::ALL {
        assert!(verdicts.contains(verdict), "{verdict}");
    }
}
