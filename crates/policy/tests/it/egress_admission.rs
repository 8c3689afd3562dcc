//! What is known of a destination before there is a request.

use casemate_policy::{
    DestinationFacts,
    EgressCode::{ClassUnknown, HostSyntax, NotAllowed, PlaintextDenied, PortRefused},
    RequestBody, RequestFacts, RequestVerdict, Scheme,
};

use crate::egress::{ONE, one, policy, post};

/// Before a request is known: a connection is made only where one could be let through, by what its rules say.
#[test]
fn a_destination_is_admitted_only_if_a_request_could_be() {
    let policy = policy(
        r#"["api.example.com", "*.example.com", "other.org"]"#,
        r#"
[[egress.rules]]
name = "wide"
host = "*.example.com"
class = "partner"
[[egress.rules]]
name = "tool"
host = "api.example.com"
class = "internal"
cidr = ["10.0.0.0/8"]
ports = [8443]
tools = ["write"]
[[egress.rules]]
name = "plain"
host = "api.example.com"
class = "internal"
cidr = ["10.0.0.0/8"]
ports = [80]
plaintext = "allowed"
[[egress.rules]]
name = "never"
effect = "deny"
host = "other.org"
"#,
    );
    let admit = |tool, scheme, host, port| {
        let facts = DestinationFacts {
            tool,
            scheme,
            host,
            port,
        };
        policy.admit(&facts).map(|rule| rule.name.as_str())
    };
    use Scheme::{Http, Https};
    for (tool, scheme, host, port, admitted) in [
        ("write", Https, "api.example.com", 8443, Ok("tool")),
        ("fetch", Https, "api.example.com", 8443, Err(PortRefused)),
        ("write", Http, "api.example.com", 8443, Err(PlaintextDenied)),
        ("fetch", Http, "api.example.com", 80, Ok("plain")),
        // Rules for more hosts do not count where there is one for this host.
        ("fetch", Https, "api.example.com", 443, Err(PortRefused)),
        ("fetch", Https, "www.example.com", 443, Ok("wide")),
        ("fetch", Https, "example.com", 443, Err(NotAllowed)),
        ("fetch", Https, "else.org", 443, Err(NotAllowed)),
        ("fetch", Https, "WWW.example.com", 443, Err(HostSyntax)),
        ("fetch", Https, "10.0.0.1", 443, Err(HostSyntax)),
        // Its requests are denied one by one.
        (
            "fetch",
            Https,
            "other.org",
            443,
            Ok("allowed_domains:other.org"),
        ),
    ] {
        assert_eq!(
            admit(tool, scheme, host, port),
            admitted,
            "{tool} {scheme} {host}:{port}"
        );
    }
    let hosts: std::collections::BTreeSet<_> = policy.hosts().map(|host| host.as_str()).collect();
    let known = ["*.example.com", "api.example.com", "other.org"];
    assert_eq!(hosts, known.into());
}

/// R107: a name exists where a connection to it could be admitted at some port; the ports are those of rules that allow.
#[test]
fn a_name_exists_only_if_there_could_be_a_connection() {
    let policy = policy(
        r#"["api.example.com", "*.wide.org", "nobody.org", "no.org"]"#,
        r#"
[[egress.rules]]
name = "tool"
host = "api.example.com"
class = "partner"
ports = [8443, 9000]
tools = ["write"]
[[egress.rules]]
name = "wide"
host = "*.wide.org"
class = "partner"
[[egress.rules]]
name = "nobody"
host = "nobody.org"
[[egress.rules]]
name = "never"
effect = "deny"
host = "no.org"
ports = [7000]
"#,
    );
    for (tool, host, resolved) in [
        ("write", "api.example.com", Ok(())),
        ("fetch", "api.example.com", Err(NotAllowed)),
        ("fetch", "a.wide.org", Ok(())),
        ("fetch", "wide.org", Err(NotAllowed)),
        ("fetch", "a.b.wide.org", Ok(())),
        ("fetch", "example.com", Err(NotAllowed)),
        ("fetch", "nobody.org", Err(ClassUnknown)),
        ("write", "API.example.com", Err(HostSyntax)),
        ("fetch", "10.0.0.1", Err(HostSyntax)),
        ("fetch", "", Err(HostSyntax)),
    ] {
        assert_eq!(policy.resolves(tool, host), resolved, "{tool} {host}");
    }
    let ports: std::collections::BTreeSet<_> = policy.ports().collect();
    assert_eq!(ports, [443, 8443, 9000].into());
}

/// A body is held back where something could be decided by it: by a rule that allows or denies, or by a form that may ask
/// for another method.
#[test]
fn a_body_is_wanted_where_it_decides() {
    let open = one("class = \"partner\"\nmethods = [\"POST\"]");
    assert!(!open.wants_body(&post("{}")));
    let form: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
    let form = RequestFacts {
        headers: form,
        ..post("a=1")
    };
    assert!(open.wants_body(&form));
    let said = one("class = \"partner\"\nmethods = [\"POST\"]\nbody.json = { \"/a\" = \"1\" }");
    assert!(said.wants_body(&post("{}")));
    let denied = policy(
        ONE,
        "[[egress.rules]]\nname = \"no\"\neffect = \"deny\"\nhost = \"api.example.com\"\nbody.json = { \"/a\" = \"1\" }\n[[egress.rules]]\nname = \"yes\"\nhost = \"api.example.com\"\nclass = \"partner\"\nmethods = [\"POST\"]",
    );
    assert!(denied.wants_body(&post("{}")));
}

/// A body is not held for what its head is refused for already.
#[test]
fn a_body_that_cannot_matter_is_not_wanted() {
    let said = one(r#"
class = "partner"
methods = ["POST"]
paths = ["/v1/**"]
tools = ["fetch"]
body.json = { "/a" = "1" }
[[egress.rules]]
name = "no"
effect = "deny"
host = "api.example.com"
body.json = { "/b" = "1" }
"#);
    let asked = post("{}");
    assert!(said.wants_body(&asked));
    let form: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
    for headers in [asked.headers, form] {
        for facts in [
            RequestFacts {
                port: 8443,
                ..asked
            },
            RequestFacts {
                method: "PUT",
                ..asked
            },
            RequestFacts {
                path: "/v2/orders",
                ..asked
            },
            RequestFacts {
                tool: "write",
                ..asked
            },
            RequestFacts {
                host: "other.example.com",
                ..asked
            },
        ] {
            let facts = RequestFacts {
                headers,
                body: RequestBody::Stream { bytes: None },
                ..facts
            };
            assert!(!said.wants_body(&facts), "{facts:?}");
            assert_eq!(said.judge(&facts).verdict, RequestVerdict::Deny);
        }
    }
}

/// Each spelling that some server takes for a credential is one.
#[test]
fn credentials_have_other_spellings() {
    let said = policy(ONE, "");
    for (name, verdict) in [
        ("private-token", RequestVerdict::Deny),
        ("private.token", RequestVerdict::Deny),
        ("Private_Token", RequestVerdict::Deny),
        ("x-other", RequestVerdict::Allow),
    ] {
        let headers: &[(&str, &[u8])] = &[(name, b"a")];
        let facts = RequestFacts {
            method: "GET",
            path: "/",
            headers,
            body: RequestBody::Empty,
            ..post("")
        };
        assert_eq!(said.judge(&facts).verdict, verdict, "{name}");
    }
}
