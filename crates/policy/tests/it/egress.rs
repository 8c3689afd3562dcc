//! What may leave a sandbox, request by request.

use casemate_model::{DestinationClass, Digest, SideEffect};
use casemate_policy::{
    EgressCode::{self, *},
    EgressPolicy, Familiarity, Profile, RequestBody, RequestFacts,
    RequestVerdict::{self, *},
    Scheme, Syntax,
};

/// A profile with these tools, and a network and rules in TOML.
pub(crate) fn parse(tools: &[&str], rest: &str) -> Profile {
    let text = format!(
        r#"
route = "egress"
risk_class = "medium"
tier = "tool_limited"
identity = {{ allowed_issuers = ["i"], required_audience = "a", required_scopes = [] }}
observability = {{ required_trace_fields = [], redact = [] }}
[tools]
allowed = {tools:?}
approval_required = []
[sandbox]
filesystem = "read_only"
workspace = "/w"
limits = {{ max_runtime_ms = 1000, max_output_bytes = 1000 }}
{rest}"#
    );
    Profile::parse(text.as_bytes(), Syntax::Toml).unwrap()
}

/// A profile with these rules, in TOML.
pub(crate) fn profile(domains: &str, rules: &str) -> Profile {
    let network = format!(
        "[sandbox.network]\nallowed_domains = {domains}\nblock_private_networks = true\nrequire_tls = true\n{rules}"
    );
    parse(&["fetch", "write"], &network)
}

pub(crate) fn policy(domains: &str, rules: &str) -> EgressPolicy {
    EgressPolicy::compile(&profile(domains, rules))
}

pub(crate) const GET: RequestFacts<'static> = RequestFacts {
    tool: "fetch",
    ceiling: SideEffect::ExternalSend,
    scheme: Scheme::Https,
    host: "api.example.com",
    port: 443,
    method: "GET",
    path: "/v1/orders",
    query: None,
    headers: &[],
    body: RequestBody::Empty,
    websocket: false,
    destination: Familiarity::Known,
};

const JSON: &[(&str, &[u8])] = &[("content-type", b"application/json")];

pub(crate) fn whole(bytes: &[u8]) -> RequestBody<'_> {
    RequestBody::Whole {
        bytes,
        digest: Digest::of(bytes),
    }
}

pub(crate) fn post(body: &str) -> RequestFacts<'_> {
    RequestFacts {
        method: "POST",
        headers: JSON,
        body: whole(body.as_bytes()),
        ..GET
    }
}

type Outcome = (RequestVerdict, Option<EgressCode>);

const ALLOWED: Outcome = (Allow, None);

const fn denied(code: EgressCode) -> Outcome {
    (Deny, Some(code))
}

const fn held(code: EgressCode) -> Outcome {
    (Hold, Some(code))
}

#[track_caller]
fn assert_judged(policy: &EgressPolicy, facts: &RequestFacts<'_>, outcome: Outcome) {
    let ruling = policy.judge(facts);
    assert_eq!(
        (ruling.verdict, ruling.code),
        outcome,
        "{facts:?} by {:?}",
        ruling.rule.map(|rule| &rule.name)
    );
}

pub(crate) const ONE: &str = r#"["api.example.com"]"#;

pub(crate) fn one(keys: &str) -> EgressPolicy {
    policy(
        ONE,
        &format!("[[egress.rules]]\nname = \"one\"\nhost = \"api.example.com\"\n{keys}"),
    )
}

/// An escaped slash is a character of its segment, for rules that say so; to those that deny it is a separator too.
#[test]
fn an_escaped_slash_is_for_rules_that_say_so() {
    let get = |path| RequestFacts { path, ..GET };
    let rule = "class = \"partner\"\npaths = [\"/v1/*\"]\n";
    assert_judged(&one(rule), &get("/v1/a%2Fb"), denied(PathSyntax));
    let said = format!("{rule}escaped_slash = \"allowed\"\n");
    let saying = one(&said);
    for (path, outcome) in [
        ("/v1/a", ALLOWED),
        ("/v1/a%2Fb", ALLOWED),
        ("/v1/a%2Fb/c", denied(PathRefused)),
        ("/v1%2Fa", denied(PathRefused)),
        ("/v1/a%2F..", denied(PathSyntax)),
        ("/v1/a%2fb", denied(PathSyntax)),
        ("/v1/%2Fb", denied(PathSyntax)),
    ] {
        assert_judged(&saying, &get(path), outcome);
    }
    let denying = |paths: &str| {
        one(&format!(
            "{said}[[egress.rules]]\nname = \"no\"\neffect = \"deny\"\nhost = \"api.example.com\"\npaths = {paths}"
        ))
    };
    for paths in [
        r#"["/v1/a/b"]"#,
        r#"["/v1/a/**"]"#,
        r#"["/v1/a%2Fb"]"#,
        r#"["/v1/*/b"]"#,
    ] {
        assert_judged(&denying(paths), &get("/v1/a%2Fb"), denied(RuleDenies));
        assert_judged(&denying(paths), &get("/v1/c"), ALLOWED);
    }
    // Nor is a stranger's place another's by spelling.
    let shared = policy(
        r#"["github.com"]"#,
        "[[egress.rules]]\nname = \"one\"\nhost = \"github.com\"\nclass = \"partner\"\ntenants = [\"acme/site\"]\nescaped_slash = \"allowed\"",
    );
    for (path, outcome) in [
        ("/acme/site/a%2Fb", ALLOWED),
        ("/acme%2Fsite", denied(TenantPin)),
        ("/acme%2Fsite/a", denied(TenantPin)),
        ("/acme/site%2Fa", denied(TenantPin)),
        ("/evil/a/acme%2Fsite", denied(TenantPin)),
    ] {
        let facts = RequestFacts {
            host: "github.com",
            ..get(path)
        };
        assert_judged(&shared, &facts, outcome);
    }
    // Another rule of the host lends it to nobody.
    let two = one(&format!(
        "{rule}[[egress.rules]]\nname = \"two\"\nhost = \"api.example.com\"\nclass = \"partner\"\npaths = [\"/v2/**\"]\nescaped_slash = \"allowed\""
    ));
    assert_judged(&two, &get("/v1/a%2Fb"), denied(PathRefused));
    assert_judged(&two, &get("/v2/a%2Fb"), ALLOWED);
}

/// R116: what one rule has to have approved, no other sends unasked because an escaped slash hides it from the first.
#[test]
fn an_escaped_slash_gets_past_no_approval() {
    let rules = |paths: &str, holds: &str| {
        one(&format!(
            "class = \"partner\"\nmethods = [\"GET\", \"POST\"]\nmax_body_bytes = 1000\nescaped_slash = \"allowed\"\n\
             [[egress.rules]]\nname = \"asks\"\nhost = \"api.example.com\"\nclass = \"partner\"\nmethods = [\"POST\"]\npaths = [\"{paths}\"]\n{holds}"
        ))
    };
    let sent = |path| RequestFacts {
        path,
        destination: Familiarity::New,
        ..post("{}")
    };
    let [always, new] =
        ["always", "new_destination"].map(|when| format!("approval = \"{when}\"\n"));
    let export = "export = \"approval\"\nexport_above_bytes = 1\n".to_owned();
    let escaped = "/api/v4/projects/group%2Fname/issues";
    for (holds, code) in [
        (always, ApprovalRequired),
        (new, NewDestination),
        (export, Export),
    ] {
        // It leaves open what an escaped slash means.
        let silent = rules("/api/v4/projects/**", &holds);
        // It takes it for a character, which the destination may not.
        let saying = rules(
            "/api/v4/projects/*/issues",
            &format!("{holds}escaped_slash = \"allowed\""),
        );
        for (policy, path, outcome) in [
            (&silent, escaped, denied(PathSyntax)),
            (&silent, "/api/v4%2Fprojects/a", denied(PathSyntax)),
            (&silent, "/api/v4/projects/a/issues", held(code)),
            (&silent, "/api/v4/groups/a%2Fb", ALLOWED),
            (&saying, escaped, held(code)),
            (&saying, "/api/v4/projects/a%2Fissues", denied(PathSyntax)),
            (&saying, "/api/v4/projects%2Fa/issues", denied(PathSyntax)),
            (&saying, "/api/v4/groups/a%2Fb", ALLOWED),
        ] {
            assert_judged(policy, &sent(path), outcome);
        }
        // It is about other requests.
        let get = RequestFacts {
            path: escaped,
            ..GET
        };
        assert_judged(&silent, &get, ALLOWED);
    }
    // A rule about all paths is about this one, whatever its body has to be.
    let all = rules(
        "/**",
        "approval = \"always\"\nbody.json = { \"/a\" = '1' }\n",
    );
    assert_judged(&all, &sent(escaped), denied(PathSyntax));
}

/// R106, R107: without a rule of its own an allowed host may be looked at, and no other host at all.
#[test]
fn what_is_allowed_without_a_rule_may_be_looked_at() {
    let policy = policy(r#"["api.example.com", "*.docs.example.com"]"#, "");
    assert_judged(&policy, &GET, ALLOWED);
    assert_judged(
        &policy,
        &RequestFacts {
            host: "a.docs.example.com",
            ..GET
        },
        ALLOWED,
    );
    assert_judged(
        &policy,
        &RequestFacts {
            method: "POST",
            ..GET
        },
        denied(MethodRefused),
    );
    assert_judged(
        &policy,
        &RequestFacts { port: 8443, ..GET },
        denied(PortRefused),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            scheme: Scheme::Http,
            ..GET
        },
        denied(PlaintextDenied),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            websocket: true,
            ..GET
        },
        denied(WebSocketRefused),
    );
    for host in [
        "example.com",
        "docs.example.com",
        "evil-api.example.com",
        "api.example.com.evil.test",
        "evil.test",
    ] {
        assert_judged(&policy, &RequestFacts { host, ..GET }, denied(NotAllowed));
    }
    for host in [
        "",
        "API.example.com",
        "api.example.com.",
        "api.example.com:443",
        "127.0.0.1",
        "[::1]",
        "x@api.example.com",
        "api.example.com\0.evil.test",
    ] {
        assert_judged(&policy, &RequestFacts { host, ..GET }, denied(HostSyntax));
    }
    let own: &[(&str, &[u8])] = &[("authorization", b"Bearer x")];
    for facts in [
        RequestFacts {
            headers: own,
            ..GET
        },
        RequestFacts {
            query: Some("access_token=x"),
            ..GET
        },
    ] {
        assert_judged(&policy, &facts, denied(CredScope));
    }
    let ruling = policy.judge(&GET);
    assert_eq!(
        (ruling.class(), ruling.side_effect()),
        (DestinationClass::Public, SideEffect::Read)
    );
}

/// R119: nothing leaves readable, except within networks that the rule names.
#[test]
fn plain_text_is_for_internal_destinations() {
    let plain = RequestFacts {
        scheme: Scheme::Http,
        ..GET
    };
    let rule = "class = \"internal\"\ncidr = [\"10.0.0.0/8\"]\n";
    assert_judged(&one(rule), &plain, denied(PlaintextDenied));
    let policy = one(&format!("{rule}plaintext = \"allowed\""));
    assert_judged(&policy, &plain, ALLOWED);
    assert_eq!(policy.judge(&plain).rule.unwrap().cidr.len(), 1);
}

/// R114: a rule that does not say whom its destination belongs to lets nothing through.
#[test]
fn nothing_is_sent_to_somebody_unknown() {
    assert_judged(&one(""), &GET, denied(ClassUnknown));
    assert_judged(&one("class = \"unknown\""), &GET, denied(ClassUnknown));
    assert_judged(&one("class = \"partner\""), &GET, ALLOWED);
    assert_eq!(
        one("class = \"partner\"").judge(&GET).class(),
        DestinationClass::Partner
    );
}

/// R108: rules are for some tools of a route, and the others do not fall to rules for more hosts.
#[test]
fn a_rule_is_for_its_tools() {
    let policy = policy(
        r#"["*.example.com"]"#,
        r#"
[[egress.rules]]
name = "all"
host = "*.example.com"
class = "public"
[[egress.rules]]
name = "orders"
host = "api.example.com"
class = "partner"
tools = ["write"]
"#,
    );
    assert_judged(&policy, &GET, denied(NotAllowed));
    assert_judged(
        &policy,
        &RequestFacts {
            tool: "write",
            ..GET
        },
        ALLOWED,
    );
    assert_judged(
        &policy,
        &RequestFacts {
            host: "docs.example.com",
            ..GET
        },
        ALLOWED,
    );
}

/// R90: a rule for what is read from a repository does not let a client ask what it may write there.
#[test]
fn a_query_may_have_one_value() {
    let policy = one(
        "class = \"partner\"\nmethods = [\"GET\"]\npaths = [\"/a.git/info/refs\"]\nquery = [\"service=git-upload-pack\"]",
    );
    let get = |query| RequestFacts {
        path: "/a.git/info/refs",
        query,
        ..GET
    };
    assert_judged(&policy, &get(Some("service=git-upload-pack")), ALLOWED);
    assert_judged(&policy, &get(None), ALLOWED);
    for query in [
        "service=git-receive-pack",
        "service=git-upload-pack&service=git-receive-pack",
        "service=git%2Dreceive-pack",
        "service",
    ] {
        assert_judged(&policy, &get(Some(query)), denied(QueryRefused));
    }
}

#[test]
fn each_key_narrows() {
    let policy = one(r#"
class = "partner"
ports = [443, 8443]
methods = ["GET", "PUT"]
paths = ["/v1/*", "/v1/files/**"]
query = ["page"]
max_query_bytes = 8
headers = { "x-version" = "2" }
side_effect = "write"
websocket = "text"
max_body_bytes = 10
"#);
    let version: &[(&str, &[u8])] = &[("X-Version", b"2")];
    let good = RequestFacts {
        headers: version,
        ..GET
    };
    for facts in [
        good,
        RequestFacts { port: 8443, ..good },
        RequestFacts {
            path: "/v1/files/a/b",
            ..good
        },
        RequestFacts {
            query: Some("page=123"),
            ..good
        },
        RequestFacts {
            websocket: true,
            ..good
        },
        RequestFacts {
            method: "PUT",
            body: whole(b"0123456789"),
            ..good
        },
        RequestFacts {
            ceiling: SideEffect::Write,
            ..good
        },
    ] {
        assert_judged(&policy, &facts, ALLOWED);
    }
    let twice: &[(&str, &[u8])] = &[("x-version", b"2"), ("x_version", b"2")];
    let other: &[(&str, &[u8])] = &[("x-version", b"2 ")];
    for (facts, code) in [
        (RequestFacts { port: 80, ..good }, PortRefused),
        (
            RequestFacts {
                method: "POST",
                ..good
            },
            MethodRefused,
        ),
        (
            RequestFacts {
                method: "get",
                ..good
            },
            MethodRefused,
        ),
        (
            RequestFacts {
                path: "/v2/orders",
                ..good
            },
            PathRefused,
        ),
        (
            RequestFacts {
                path: "/v1/a/b",
                ..good
            },
            PathRefused,
        ),
        (
            RequestFacts {
                query: Some("all=1"),
                ..good
            },
            QueryRefused,
        ),
        (
            RequestFacts {
                query: Some("page=12345"),
                ..good
            },
            QueryRefused,
        ),
        (
            RequestFacts {
                headers: &[],
                ..good
            },
            HeaderRefused,
        ),
        (
            RequestFacts {
                headers: twice,
                ..good
            },
            HeaderRefused,
        ),
        (
            RequestFacts {
                headers: other,
                ..good
            },
            HeaderRefused,
        ),
        (
            RequestFacts {
                ceiling: SideEffect::Draft,
                ..good
            },
            EgressCode::SideEffect,
        ),
        (
            RequestFacts {
                body: whole(b"x"),
                ..good
            },
            BodyRefused,
        ),
        (
            RequestFacts {
                method: "PUT",
                body: whole(b"0123456789a"),
                ..good
            },
            BodyTooLarge,
        ),
        (
            RequestFacts {
                method: "PUT",
                body: RequestBody::Stream { bytes: Some(11) },
                ..good
            },
            BodyTooLarge,
        ),
    ] {
        assert_judged(&policy, &facts, denied(code));
    }
}

/// H22 and H18 of the corpus: what a server could read in another way is denied before any rule is asked.
#[test]
fn odd_paths_and_second_methods_are_denied() {
    let policy = one("class = \"partner\"\nmethods = [\"GET\", \"POST\", \"DELETE\"]");
    for path in [
        "/v1/../admin",
        "/v1/%2e%2e/admin",
        "//v1",
        "/v1%2Fadmin",
        "/v1;x",
        "/%76%31",
        "/v1\\admin",
        "",
        "v1",
        "*",
    ] {
        assert_judged(&policy, &RequestFacts { path, ..GET }, denied(PathSyntax));
    }
    for name in [
        "X-HTTP-Method-Override",
        "x_http_method_override",
        "X-HTTP-Method",
        "X-Method-Override",
    ] {
        let headers: &[(&str, &[u8])] = &[(name, b"DELETE")];
        assert_judged(
            &policy,
            &RequestFacts { headers, ..GET },
            denied(MethodRefused),
        );
    }
    assert_judged(
        &policy,
        &RequestFacts {
            query: Some("_method=DELETE"),
            ..GET
        },
        denied(MethodRefused),
    );
    let form: &[(&str, &[u8])] = &[(
        "Content-Type",
        b"application/x-www-form-urlencoded; charset=utf-8",
    )];
    let facts = RequestFacts {
        method: "POST",
        headers: form,
        body: whole(b"a=1&_method=DELETE"),
        ..GET
    };
    assert_judged(&policy, &facts, denied(MethodRefused));
    assert_judged(
        &policy,
        &RequestFacts {
            body: whole(b"a=1&method=x"),
            ..facts
        },
        ALLOWED,
    );
}

/// H18 of the corpus: a form that says another method, or in which nobody can say that it does not, is denied, however it
/// is labelled.
#[test]
fn a_form_that_cannot_be_read_is_a_second_method() {
    let policy = one("class = \"partner\"\nmethods = [\"GET\", \"POST\", \"PUT\"]");
    type Headers = &'static [(&'static str, &'static [u8])];
    const NONE: Headers = &[];
    const FORM: Headers = &[("content-type", b"application/x-www-form-urlencoded")];
    const LIST: Headers = &[(
        "content-type",
        b"text/plain, application/x-www-form-urlencoded",
    )];
    const UTF16: Headers = &[(
        "content-type",
        b"application/x-www-form-urlencoded; charset=utf-16",
    )];
    const ZIPPED: Headers = &[
        ("content-type", b"application/x-www-form-urlencoded"),
        ("content-encoding", b"gzip"),
    ];
    const TWO: Headers = &[
        ("content-type", b"text/plain"),
        ("content_type", b"multipart/form-data"),
    ];
    const PARTS: Headers = &[("content-type", b"Multipart/Form-Data; boundary=x")];
    const TEXT: Headers = &[("content-type", b"text/plain")];
    let part = |disposition: &str| {
        format!("--x\r\nContent-Type: a/b\r\ncontent-Disposition: form-data; {disposition}\r\n\r\nDELETE\r\n--x--\r\n")
            .into_bytes()
    };
    for (headers, body) in [
        (FORM, b"_method=DELETE&a=\xff".to_vec()),
        (FORM, b"a=\xff".to_vec()),
        (NONE, b"_method=DELETE".to_vec()),
        (LIST, b"_method=DELETE".to_vec()),
        (UTF16, b"a=1".to_vec()),
        (ZIPPED, b"a=1".to_vec()),
        (TWO, b"a=1".to_vec()),
        (PARTS, part("name=\"_method\"")),
        (PARTS, part("name=_METHOD")),
        (PARTS, part("name=\"%5Fmethod\"")),
        (PARTS, part("name=\"\\_met\\hod\"")),
        (PARTS, part("name*=utf-8''%5fmethod")),
        (PARTS, part("name*0=_met; name*1=hod")),
        (PARTS, part("name=\"=?utf-8?q?=5Fmethod?=\"")),
        (PARTS, part("name=\"X-HTTP-Method-Override\"")),
        (PARTS, [&b"\xff\xff"[..], &part("name=_method")].concat()),
    ] {
        let facts = RequestFacts {
            method: "POST",
            headers,
            body: whole(&body),
            ..GET
        };
        assert!(policy.wants_body(&facts), "{headers:?}");
        assert_judged(&policy, &facts, denied(MethodRefused));
    }
    for headers in [NONE, FORM, PARTS] {
        let facts = RequestFacts {
            method: "POST",
            headers,
            body: RequestBody::Stream { bytes: Some(14) },
            ..GET
        };
        assert_judged(&policy, &facts, denied(MethodRefused));
    }
    for (method, headers, body) in [
        ("POST", NONE, b"a=1".to_vec()),
        ("POST", FORM, b"a=%C3%A9&method=x".to_vec()),
        (
            "POST",
            PARTS,
            part("name=\"file\"; filename=\"the method 100%.bin\""),
        ),
        (
            "POST",
            PARTS,
            [part("name=\"a\""), b"\xff _method".to_vec()].concat(),
        ),
        ("POST", TEXT, b"_method=DELETE".to_vec()),
        // What a server reads as a form is a POST.
        ("PUT", NONE, b"\xff_method=DELETE".to_vec()),
    ] {
        let facts = RequestFacts {
            method,
            headers,
            body: whole(&body),
            ..GET
        };
        assert_judged(&policy, &facts, ALLOWED);
    }
}

/// N15 of the corpus: a denial beats whatever allows, however close that is.
#[test]
fn a_denial_beats_what_allows() {
    let policy = policy(
        r#"["*.example.com"]"#,
        r#"
[[egress.rules]]
name = "api"
host = "api.example.com"
class = "partner"
methods = ["GET", "DELETE"]
[[egress.rules]]
name = "no-admin"
effect = "deny"
host = "*.example.com"
paths = ["/admin/**"]
[[egress.rules]]
name = "no-delete"
effect = "deny"
host = "api.example.com"
methods = ["DELETE"]
tools = ["fetch"]
"#,
    );
    assert_judged(&policy, &GET, ALLOWED);
    assert_judged(
        &policy,
        &RequestFacts {
            path: "/admin/users",
            ..GET
        },
        denied(RuleDenies),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            path: "/admin",
            port: 1,
            ..GET
        },
        denied(RuleDenies),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            host: "x.example.com",
            path: "/admin/",
            ..GET
        },
        denied(RuleDenies),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            method: "DELETE",
            ..GET
        },
        denied(RuleDenies),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            method: "DELETE",
            tool: "write",
            ..GET
        },
        ALLOWED,
    );
    assert_eq!(
        policy
            .judge(&RequestFacts {
                path: "/admin",
                ..GET
            })
            .rule
            .unwrap()
            .name,
        "no-admin"
    );
}

/// C02, C27 of the corpus; R112: a credential is for what its rule says, and comes alone; pages are looked at without any.
#[test]
fn a_credential_is_for_its_requests() {
    let api = one("class = \"partner\"\ncredential = \"orders\"\npaths = [\"/v1/**\"]");
    assert_judged(&api, &GET, ALLOWED);
    assert_judged(
        &api,
        &RequestFacts { path: "/v2", ..GET },
        denied(CredScope),
    );
    assert_judged(
        &api,
        &RequestFacts {
            method: "POST",
            ..GET
        },
        denied(CredScope),
    );
    let pages = one("class = \"public\"\nkind = \"browse\"");
    assert_judged(&pages, &GET, ALLOWED);
    for policy in [&api, &pages] {
        for name in [
            "Authorization",
            "Cookie",
            "X-Api-Key",
            "x_api_key",
            "X-Goog-Api-Key",
            "Proxy-Authorization",
        ] {
            let headers: &[(&str, &[u8])] = &[(name, b"x")];
            assert_judged(policy, &RequestFacts { headers, ..GET }, denied(CredScope));
        }
        for query in ["access_token=x", "api%5Fkey=x", "X-Amz-Signature=x", "%"] {
            let code = if query == "%" {
                MethodRefused
            } else {
                CredScope
            };
            assert_judged(
                policy,
                &RequestFacts {
                    query: Some(query),
                    ..GET
                },
                denied(code),
            );
        }
    }
}

/// C25 of the corpus: on a host where strangers have places, a request means one that the rule names.
#[test]
fn a_place_of_strangers_is_pinned() {
    let policy = policy(
        r#"["github.com", "*.blob.core.windows.net", "acct.blob.core.windows.net", "gist.github.com"]"#,
        r#"
[[egress.rules]]
name = "git"
host = "github.com"
class = "partner"
tenants = ["acme/site"]
methods = ["GET", "POST"]
[[egress.rules]]
name = "store"
host = "acct.blob.core.windows.net"
class = "partner"
tenants = ["acct/box"]
"#,
    );
    let git = RequestFacts {
        host: "github.com",
        ..GET
    };
    for path in ["/acme/site.git/info/refs", "/acme/site/pulls", "/Acme/Site"] {
        assert_judged(&policy, &RequestFacts { path, ..git }, ALLOWED);
    }
    assert_eq!(
        policy
            .judge(&RequestFacts {
                path: "/acme/site.git/info/refs",
                ..git
            })
            .tenant
            .as_deref(),
        Some("acme/site")
    );
    for path in [
        "/evil/site",
        "/acme/other",
        "/acme",
        "/",
        "/acme%20/site",
        "/login/oauth",
    ] {
        assert_judged(&policy, &RequestFacts { path, ..git }, denied(TenantPin));
    }
    let store = RequestFacts {
        host: "acct.blob.core.windows.net",
        ..GET
    };
    assert_judged(
        &policy,
        &RequestFacts {
            path: "/box/key",
            ..store
        },
        ALLOWED,
    );
    assert_judged(
        &policy,
        &RequestFacts {
            path: "/other/key",
            ..store
        },
        denied(TenantPin),
    );
    // Allowed without a rule, which could have said whose is meant.
    assert_judged(
        &policy,
        &RequestFacts {
            host: "evil.blob.core.windows.net",
            path: "/box/key",
            ..GET
        },
        denied(TenantPin),
    );
    assert_judged(
        &policy,
        &RequestFacts {
            host: "gist.github.com",
            path: "/acme/1",
            ..GET
        },
        denied(TenantPin),
    );
}

/// R116: new destinations, large exports and whatever a rule says wait for a person; what no person can allow is denied at once.
#[test]
fn what_has_to_be_approved_is_held() {
    let new = one("class = \"partner\"\napproval = \"new_destination\"");
    assert_judged(&new, &GET, ALLOWED);
    assert_judged(
        &new,
        &RequestFacts {
            destination: Familiarity::New,
            ..GET
        },
        held(NewDestination),
    );
    let always = one("class = \"partner\"\napproval = \"always\"");
    assert_judged(&always, &GET, held(ApprovalRequired));
    assert_judged(
        &always,
        &RequestFacts {
            method: "POST",
            ..GET
        },
        denied(MethodRefused),
    );
    let sized = |bytes| RequestFacts {
        method: "PUT",
        body: RequestBody::Stream { bytes },
        ..GET
    };
    let keys =
        "class = \"partner\"\nmethods = [\"PUT\"]\nmax_body_bytes = 100\nexport_above_bytes = 10\n";
    let never = one(keys);
    assert_judged(&never, &sized(Some(10)), ALLOWED);
    assert_judged(&never, &sized(Some(11)), denied(Export));
    assert_judged(&never, &sized(None), ALLOWED);
    assert_eq!(never.judge(&sized(None)).most_body_bytes, 10);
    let asked = one(&format!("{keys}export = \"approval\""));
    assert_judged(&asked, &sized(Some(10)), ALLOWED);
    assert_judged(&asked, &sized(Some(11)), held(Export));
    assert_judged(&asked, &sized(None), held(Export));
    assert_judged(&asked, &sized(Some(101)), denied(BodyTooLarge));
    let allowed = one(&format!("{keys}export = \"allowed\""));
    assert_judged(&allowed, &sized(Some(100)), ALLOWED);
    assert_eq!(allowed.judge(&sized(None)).most_body_bytes, 100);
}

/// A rule that asks for approval is not got around by another that does not.
#[test]
fn what_one_rule_holds_no_other_lets_go() {
    let policy = policy(
        ONE,
        r#"
[[egress.rules]]
name = "a-free"
host = "api.example.com"
class = "partner"
methods = ["GET", "POST"]
[[egress.rules]]
name = "b-asked"
host = "api.example.com"
class = "partner"
methods = ["POST"]
approval = "always"
"#,
    );
    assert_judged(&policy, &GET, ALLOWED);
    assert_judged(
        &policy,
        &RequestFacts {
            method: "POST",
            ..GET
        },
        held(ApprovalRequired),
    );
}

/// C20, C21 of the corpus: a condition holds for the whole body, read in the only way.
#[test]
fn a_body_says_what_it_has_to() {
    let policy = one(
        "class = \"partner\"\nmethods = [\"POST\"]\nbody.json = { \"/order/currency\" = '\"EUR\"', \"/items/0\" = '1' }",
    );
    let good = r#"{"order":{"currency":"EUR","x":1},"items":[1,2]}"#;
    assert_judged(&policy, &post(good), ALLOWED);
    for other in [
        r#"{"order":{"currency":"USD"},"items":[1]}"#,
        r#"{"order":{"currency":"EUR"},"items":["1"]}"#,
        r#"{"order":{"currency":"EUR"},"items":[]}"#,
        r#"{"order":{},"items":[1]}"#,
        "{}",
        "[]",
        "1",
    ] {
        assert_judged(&policy, &post(other), denied(BodyCondition));
    }
    for unreadable in [
        "",
        "x",
        r#"{"order":{"currency":"EUR","currency":"USD"},"items":[1]}"#,
        r#"{"order":{"currency":"EUR","\u0063urrency":"USD"},"items":[1]}"#,
        r#"{"order":{"currency":"EUR","Currency":"USD"},"items":[1]}"#,
        r#"{"order":{"currency":"EUR"},"items":[1]} {}"#,
        "\u{feff}{\"order\":{\"currency\":\"EUR\"},\"items\":[1]}",
        r#"{"order":{"currency":"EUR"},"items":[1],"n":NaN}"#,
    ] {
        assert_judged(&policy, &post(unreadable), denied(BodyUnreadable));
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_judged(&policy, &post(&deep), denied(BodyUnreadable));
    let stream = RequestFacts {
        body: RequestBody::Stream { bytes: Some(10) },
        ..post(good)
    };
    assert_judged(&policy, &stream, denied(BodyStreamed));
    assert_judged(
        &policy,
        &RequestFacts {
            body: RequestBody::Empty,
            ..post(good)
        },
        denied(BodyCondition),
    );
    let kinds: [&[(&str, &[u8])]; 6] = [
        &[],
        &[("content-type", b"text/plain")],
        &[("content-type", b"application/json; charset=utf-16")],
        &[
            ("content-type", b"application/json"),
            ("Content-Type", b"text/plain"),
        ],
        &[
            ("content-type", b"application/json"),
            ("content-encoding", b"gzip"),
        ],
        &[("content-type", b"multipart/form-data")],
    ];
    for headers in kinds {
        assert_judged(
            &policy,
            &RequestFacts {
                headers,
                ..post(good)
            },
            denied(BodyUnreadable),
        );
    }
    let utf8: &[(&str, &[u8])] = &[("content-type", b"application/vnd.api+json; charset=UTF-8")];
    assert_judged(
        &policy,
        &RequestFacts {
            headers: utf8,
            ..post(good)
        },
        ALLOWED,
    );
}

/// A GraphQL operation is what it does, whatever a client calls it.
#[test]
fn graphql_is_judged_by_what_it_asks_for() {
    let policy = one(
        "class = \"partner\"\nmethods = [\"POST\"]\n[egress.rules.body.graphql]\nkinds = [\"query\"]\nfields = [\"order\", \"__typename\"]",
    );
    let graphql = |query: &str| serde_json::json!({ "query": query }).to_string();
    for good in [
        "{ order(id: 1) { id } }",
        "query Any { a: order { id } __typename }",
        "query A { order { ...F } } fragment F on Order { deleteOrder }",
    ] {
        assert_judged(&policy, &post(&graphql(good)), ALLOWED);
    }
    for other in [
        "mutation { order { id } }",
        "mutation order { deleteOrder }",
        "subscription { order { id } }",
        "{ orders { id } }",
        "{ order: deleteOrder { id } }",
        "{ order { id } deleteOrder }",
        "query A { order { id } } mutation B { deleteOrder }",
    ] {
        assert_judged(&policy, &post(&graphql(other)), denied(BodyCondition));
    }
    let deep = format!("{{ order {} {} }}", "{ a ".repeat(500), "}".repeat(500));
    let long = format!("{{ order {{ {} }} }}", "a ".repeat(20_000));
    for unreadable in [
        "",
        "{",
        "{ ...F } fragment F on Query { deleteOrder }",
        "{ ... on Query { deleteOrder } }",
        "type A { b: C }",
        &deep,
        &long,
    ] {
        assert_judged(&policy, &post(&graphql(unreadable)), denied(BodyUnreadable));
    }
    let good = graphql("{ order { id } }");
    assert_judged(&policy, &post(&format!("[{good},{good}]")), ALLOWED);
    let bad = graphql("mutation { deleteOrder }");
    assert_judged(
        &policy,
        &post(&format!("[{good},{bad}]")),
        denied(BodyCondition),
    );
    for unreadable in [
        "[]".to_owned(),
        r#"{"extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#.to_owned(),
        format!("[{good},1]"),
        good.replace('{', r#"{"Query":"mutation { deleteOrder }","#),
    ] {
        assert_judged(&policy, &post(&unreadable), denied(BodyUnreadable));
    }
    assert_judged(
        &policy,
        &RequestFacts {
            query: Some("query=mutation{deleteOrder}"),
            ..post(&good)
        },
        denied(BodyUnreadable),
    );
}

/// C23 of the corpus: each message is judged, in a batch, as a notification, and however its names are written.
#[test]
fn json_rpc_is_judged_message_by_message() {
    let policy = one(
        "class = \"partner\"\nmethods = [\"POST\"]\n[egress.rules.body.rpc]\nmethods = [\"initialize\", \"tools/call\"]\ntools = [\"search\"]",
    );
    let init = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#;
    let search = r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"search","arguments":{}}}"#;
    for good in [
        init.to_owned(),
        search.to_owned(),
        format!("[{init},{search}]"),
    ] {
        assert_judged(&policy, &post(&good), ALLOWED);
    }
    let delete = search.replace("search", "delete");
    for other in [
        delete.clone(),
        delete.replace(r#""id":2,"#, ""),
        format!("[{init},{delete}]"),
        init.replace("initialize", "tools/list"),
        init.replace("initialize", "Initialize"),
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#.to_owned(),
    ] {
        assert_judged(&policy, &post(&other), denied(BodyCondition));
    }
    for unreadable in [
        "[]".to_owned(),
        "[1]".to_owned(),
        format!("[[{delete}]]"),
        search.replace(r#""2.0""#, r#""1.0""#),
        search.replace(r#""method""#, r#""Method":"tools/call","method""#),
        search.replace(r#""name""#, r#""Name":"delete","name""#),
        search.replace(r#""name""#, "\"na\u{17f}e\":1,\"NAME\":\"delete\",\"name\""),
        search.replace(r#""params""#, r#""paramſ":{"name":"delete"},"params""#),
        search.replace(r#"{"name":"search","arguments":{}}"#, r#"["search"]"#),
        search.replace(r#""tools/call""#, "1"),
    ] {
        assert_judged(&policy, &post(&unreadable), denied(BodyUnreadable));
    }
}

/// A denial of what bodies say holds when any part says it, and when nobody can say whether one does.
#[test]
fn a_denial_of_bodies_holds_in_doubt() {
    let policy = policy(
        ONE,
        r#"
[[egress.rules]]
name = "api"
host = "api.example.com"
class = "partner"
methods = ["GET", "POST"]
[[egress.rules]]
name = "no-delete"
effect = "deny"
host = "api.example.com"
[egress.rules.body.rpc]
tools = ["delete"]
"#,
    );
    let call = |tool: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
    };
    assert_judged(&policy, &GET, ALLOWED);
    assert_judged(&policy, &post(&call("search")), ALLOWED);
    assert_judged(
        &policy,
        &post(&format!("[{},{}]", call("search"), call("delete"))),
        denied(RuleDenies),
    );
    assert_judged(&policy, &post("?"), denied(RuleDenies));
    let stream = RequestFacts {
        body: RequestBody::Stream { bytes: None },
        ..post("")
    };
    assert_judged(&policy, &stream, denied(RuleDenies));
    // A WebSocket would carry messages that nobody reads by this.
    let websocket = |rules: &str| {
        one(&format!(
            "class = \"partner\"\nwebsocket = \"text\"\n{rules}"
        ))
    };
    let upgrade = RequestFacts {
        websocket: true,
        ..GET
    };
    assert_judged(&websocket(""), &upgrade, ALLOWED);
    for body in [
        "json = { \"/op\" = '\"erase\"' }",
        "rpc.tools = [\"delete\"]",
        "graphql.fields = [\"deleteOrder\"]",
    ] {
        let denying = format!(
            "[[egress.rules]]\nname = \"no\"\neffect = \"deny\"\nhost = \"api.example.com\"\nbody.{body}"
        );
        assert_judged(&websocket(&denying), &upgrade, denied(RuleDenies));
        assert_judged(&websocket(&denying), &GET, ALLOWED);
    }
}

/// A body that is known beforehand is the only one that passes, whatever it says; where one is denied by its digest, it is denied in doubt, too.
#[test]
fn a_body_has_one_of_these_digests() {
    let known = Digest::of(b"known");
    let allows = one(&format!(
        "class = \"partner\"\nmethods = [\"POST\"]\nbody.sha256 = [\"{known}\"]"
    ));
    assert!(allows.wants_body(&post("known")));
    let binary = RequestFacts {
        headers: &[("content-type", b"application/octet-stream")],
        ..post("known")
    };
    assert_judged(&allows, &binary, ALLOWED);
    for body in ["know", "known ", "{}"] {
        assert_judged(&allows, &post(body), denied(BodyCondition));
    }
    let streamed = RequestFacts {
        body: RequestBody::Stream { bytes: Some(5) },
        ..binary
    };
    assert_judged(&allows, &streamed, denied(BodyStreamed));
    let empty = RequestFacts {
        body: RequestBody::Empty,
        ..binary
    };
    assert_judged(&allows, &empty, denied(BodyCondition));
    let denies = one(&format!(
        "class = \"partner\"\nmethods = [\"POST\"]\n[[egress.rules]]\nname = \"not\"\neffect = \"deny\"\nhost = \"api.example.com\"\nbody.sha256 = [\"{known}\"]"
    ));
    assert_judged(&denies, &binary, denied(RuleDenies));
    assert_judged(&denies, &post("other"), ALLOWED);
    assert_judged(&denies, &streamed, denied(RuleDenies));
}

/// Base URLs name what may be reached, and are no rules.
#[test]
fn base_urls_only_name() {
    let urls = "[[egress.base_urls]]\nname = \"ai\"\nurl = \"https://api.example.com/v1\"\n";
    let policy = policy(ONE, urls);
    assert_eq!(policy.base_urls().len(), 1);
    assert_eq!(policy.base_urls()[0].base, "/v1");
    assert_judged(&policy, &GET, ALLOWED);
    let posts = RequestFacts {
        method: "POST",
        ..GET
    };
    assert_judged(&policy, &posts, denied(MethodRefused));
}
