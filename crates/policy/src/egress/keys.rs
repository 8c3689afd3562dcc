//! The keys of a rule.

use casemate_model::{DestinationClass, Digest, SideEffect};
use ipnet::IpNet;
use serde_json::Value;

use super::{
    EgressRule, GraphqlKind, PathPattern, RuleApproval, RuleEffect, RuleExport, RuleKind,
    RuleProtocol, WebSocket,
    check::check,
    rule::{QUERY_BYTES, QUESTION_BYTES},
};
use crate::{
    diagnostic::{Fault, Report},
    domain::DomainRule,
    key::{
        Absent, Faults, Form, Key, Kind, Subject, each, key, list, names, number, one_word,
        optional, put, text,
    },
    profile::{Profile, UNLIMITED},
    rules::{self, token, word},
    tree::Node,
    visible::quoted,
    walk::walk_part,
};

/// The largest body that a rule can name, in bytes.
const MOST_BODY_BYTES: u64 = 1 << 40;
/// More writes of one call are not counted one by one.
const MOST_STRICT_REQUESTS: u64 = 1_000;
const MOST_QUERY_BYTES: u64 = 64 * 1024;

/// Reads one rule of `profile`, of which destinations and tools were read before.
pub(crate) fn read_rule(profile: &mut Profile, node: &Node, report: &mut Report<'_>) {
    let mut rule = EgressRule::blank();
    walk_part(node, &mut rule, report);
    check(&rule, profile, node, report);
    profile.egress.push(rule);
}

impl Subject for EgressRule {
    const KEYS: &'static [&'static [Key<Self>]] = &[WHERE, WHAT, HOW_MUCH, WHO, BODY];
}

const WHERE: &[Key<EgressRule>] = &[
    text(
        "name",
        Form::Free("name of letters, digits, `_`, `-` and `.`"),
        |rule, text| rules::egress_rule(text).map(|name| rule.name = name),
        Absent::Refused,
        "What records and people call the rule. Each has its own.",
    ),
    one_word!(
        "effect",
        RuleEffect,
        effect,
        Absent::Words(&[RuleEffect::Allow.as_str()]),
        "Whether it lets requests through, or keeps back what other rules let through. A denial beats every rule that allows, and has only the keys `host`, `ports`, \
         `methods`, `paths`, `tools` and `body`.",
    ),
    one_word!(
        "protocol",
        RuleProtocol,
        protocol,
        Absent::Words(&[RuleProtocol::Http.as_str()]),
        "What is spoken there. By a rule for `postgres` programs log in with its `credential`, as its `user` and to its `databases`; what they do then, the database judges. \
         It has the keys `name`, `protocol`, `host`, `ports`, `class`, `cidr`, `user`, `databases`, `credential`, `credential_requests`, `tools`, `side_effect`, \
         `max_requests` (of logins), `max_bytes` and `max_answer_bytes`.",
    ),
    text(
        "host",
        Form::Free("lower-case host name, or `*.` and one"),
        |rule, text| DomainRule::parse(text).map(|host| rule.host = host),
        Absent::Refused,
        "The destination; `allowed_domains` has to cover it. Of rules that allow, only those for the closest host count: for `a.example.com`, one for that host before \
         one for `*.example.com`.",
    ),
    key(
        "ports",
        Kind::Numbers {
            unit: "port",
            least: 1,
            most: 65_535,
            set: |rule, ports| {
                rule.ports = Some(
                    ports
                        .iter()
                        .filter_map(|port| u16::try_from(*port).ok())
                        .collect(),
                );
            },
        },
        Absent::Open("443, or 5432 for `postgres`; any if it denies"),
        "The ports.",
    ),
    one_word!(
        "class",
        DestinationClass,
        class,
        Absent::Open("`unknown`, to which nothing is sent"),
        "Whom the destination belongs to.",
    ),
    list(
        "cidr",
        Form::Free("network, such as `10.1.0.0/16`"),
        |rule, entries| each(entries, network, &mut rule.cidr),
        Absent::Open("none: addresses are public"),
        "The networks in which the addresses of an `internal` destination are. No other destination has private ones.",
    ),
    list(
        "tenants",
        Form::Free("tenant, as below"),
        |rule, entries| each(entries, token, &mut rule.tenants),
        Absent::Open("none"),
        "Whose places are meant on a host where strangers have places too: see [Tenants](#tenants). There, a rule without any is refused.",
    ),
];

const WHAT: &[Key<EgressRule>] = &[
    list(
        "methods",
        Form::Free("method in upper case"),
        |rule, entries| each(entries, method, rule.methods.insert(Vec::new())),
        Absent::Open("`GET`, `HEAD`; any if it denies"),
        "The methods. A request that asks for another method in a header or its query is refused.",
    ),
    list(
        "paths",
        Form::Free("path, in which `*` is one segment and `**` at the end any number"),
        |rule, entries| each(entries, PathPattern::parse, rule.paths.insert(Vec::new())),
        Absent::Open("any"),
        "The paths. One that servers could read in different ways is always refused.",
    ),
    text(
        "escaped_slash",
        Form::Words(|| vec!["refused", "allowed"]),
        |rule, text| {
            word(text, &[false, true], |word| {
                if word { "allowed" } else { "refused" }
            })
            .map(|word| rule.escaped_slash = word)
        },
        Absent::Words(&["refused"]),
        "Paths with `%2F` in a segment, as registries of npm (`/@scope%2Fname`) and GitLab (`/projects/group%2Fname`) have them. Allow it only where the destination \
         keeps it apart from `/`: in `paths` it is a character of its segment, and it is sent as it came. To a rule that denies it is both.",
    ),
    list(
        "query",
        Form::Free("name, or `name=value`"),
        |rule, entries| each(entries, pair, rule.query.insert(Vec::new())),
        Absent::Open("any"),
        "The names that a query may have; of one with a value, that value only, in this spelling: `service=git-upload-pack`.",
    ),
    number(
        "max_query_bytes",
        "bytes",
        (0, QUERY_BYTES, MOST_QUERY_BYTES),
        |rule, number| put(&mut rule.max_query_bytes, number),
        "The longest query.",
    ),
    key(
        "headers",
        Kind::Pairs {
            form: Form::Free("name in lower case = value"),
            set: set_headers,
        },
        Absent::Open("none"),
        "Headers that a request has to have, once each, and exactly so.",
    ),
    one_word!(
        "websocket",
        WebSocket,
        websocket,
        Absent::Words(&[WebSocket::Off.as_str()]),
        "What may be sent through a WebSocket.",
    ),
    text(
        "plaintext",
        Form::Words(|| vec!["refused", "allowed"]),
        |rule, text| {
            word(text, &[false, true], |word| {
                if word { "allowed" } else { "refused" }
            })
            .map(|word| rule.plaintext = word)
        },
        Absent::Words(&["refused"]),
        "Requests over `http`, which only an `internal` destination can have. They never get a credential.",
    ),
    one_word!(
        "side_effect",
        SideEffect,
        side_effect,
        Absent::Words(&[SideEffect::ExternalSend.as_str()]),
        "What such a request does. A tool cannot send one that does more than the tool itself does.",
    ),
];

const HOW_MUCH: &[Key<EgressRule>] = &[
    number(
        "max_body_bytes",
        "bytes",
        (0, QUESTION_BYTES, MOST_BODY_BYTES),
        |rule, number| put(&mut rule.max_body_bytes, number),
        "The largest body.",
    ),
    number(
        "export_above_bytes",
        "bytes",
        (0, QUESTION_BYTES, MOST_BODY_BYTES),
        |rule, number| put(&mut rule.export_above_bytes, number),
        "A larger body is an export.",
    ),
    one_word!(
        "export",
        RuleExport,
        export,
        Absent::Words(&[RuleExport::Never.as_str()]),
        "What becomes of an export.",
    ),
    number(
        "max_requests",
        "requests",
        (0, UNLIMITED, UNLIMITED),
        |rule, number| put(&mut rule.max_requests, number),
        "Requests that one call may send by this rule. 2^53 stands for no limit.",
    ),
    number(
        "max_bytes",
        "bytes",
        (0, UNLIMITED, UNLIMITED),
        |rule, number| put(&mut rule.max_bytes, number),
        "Bytes that one call may send by this rule, with heads and bodies. 2^53 stands for no limit.",
    ),
    number(
        "max_answer_bytes",
        "bytes",
        (0, UNLIMITED, UNLIMITED),
        |rule, number| put(&mut rule.max_answer_bytes, number),
        "Bytes that one call may be answered by this rule, in bodies and messages; what comes after them is cut off. 2^53 stands for no limit.",
    ),
    one_word!(
        "approval",
        RuleApproval,
        approval,
        Absent::Words(&[RuleApproval::Never.as_str()]),
        "When a request waits for a person. It also does if any other rule says so that lets it through.",
    ),
];

const WHO: &[Key<EgressRule>] = &[
    text(
        "user",
        Form::Free("name of a user"),
        |rule, text| token(text).map(|user| rule.user = Some(user)),
        Absent::Open("none; `postgres` needs one"),
        "As whom programs log in. They have to say it: nothing else is put in its place.",
    ),
    list(
        "databases",
        Form::Free("name of a database"),
        |rule, entries| each(entries, token, &mut rule.databases),
        Absent::Open("none; `postgres` needs one"),
        "To which databases they log in.",
    ),
    list(
        "tools",
        Form::Free("tool of this profile"),
        |rule, entries| each(entries, token, rule.tools.insert(Vec::new())),
        Absent::Open("every tool of the profile"),
        "The tools to which the rule applies.",
    ),
    text(
        "credential",
        Form::Free("handle of a credential"),
        |rule, text| token(text).map(|handle| rule.credential = Some(handle)),
        Absent::Open("none"),
        "The credential that is put in. A request that brings one of its own is refused.",
    ),
    number(
        "credential_requests",
        "requests",
        (1, 1, MOST_STRICT_REQUESTS),
        |rule, number| put(&mut rule.credential_requests, number),
        "Requests of one call that get the credential by a rule whose `side_effect` is `write` or more. Other rules \
         give it to each of their requests. Each that a person approved has it once, beside these.",
    ),
    one_word!(
        "kind",
        RuleKind,
        kind,
        Absent::Words(&[RuleKind::Api.as_str()]),
        "`browse` is for pages: only `GET` and `HEAD`, no body, no credential of anybody's, and not on a host for which another rule has a credential.",
    ),
];

const BODY: &[Key<EgressRule>] = &[
    optional(
        "body",
        "What a body has to say. Each key is a condition; what cannot be read for certain is refused, and so is a body that is not there as a whole.",
    ),
    list(
        "body.sha256",
        Form::Free("digest, `sha256:` and 64 hex digits"),
        |rule, entries| each(entries, digest, rule.body.sha256.insert(Vec::new())),
        Absent::Open("no condition"),
        "The digests of which the whole body has one: what is sent is known beforehand, byte for byte.",
    ),
    key(
        "body.json",
        Kind::Pairs {
            form: Form::Free("JSON pointer = string, number, `true`, `false` or `null` in JSON"),
            set: set_json,
        },
        Absent::Open("no condition"),
        "What has to be there: `\"/currency\" = '\"EUR\"'`.",
    ),
    optional(
        "body.graphql",
        "For GraphQL. All operations of a document are judged, and all requests of a batch.",
    ),
    list(
        "body.graphql.kinds",
        Form::Words(|| names(GraphqlKind::ALL, GraphqlKind::as_str)),
        |rule, entries| {
            each(
                entries,
                |text| word(text, GraphqlKind::ALL, GraphqlKind::as_str),
                rule.body.graphql_kinds.insert(Vec::new()),
            )
        },
        Absent::Open("no condition"),
        "What operations may do.",
    ),
    list(
        "body.graphql.fields",
        Form::Free("name"),
        |rule, entries| each(entries, token, rule.body.graphql_fields.insert(Vec::new())),
        Absent::Open("no condition"),
        "The fields that operations may ask for at their top. This is what restrains; a client gives operations whatever name it likes.",
    ),
    list(
        "body.graphql.operations",
        Form::Free("name"),
        |rule, entries| {
            each(
                entries,
                token,
                rule.body.graphql_operations.insert(Vec::new()),
            )
        },
        Absent::Open("no condition"),
        "The names that operations may have.",
    ),
    optional(
        "body.rpc",
        "For JSON-RPC and MCP. All messages of a batch are judged.",
    ),
    list(
        "body.rpc.methods",
        Form::Free("method"),
        |rule, entries| each(entries, token, rule.body.rpc_methods.insert(Vec::new())),
        Absent::Open("no condition"),
        "The methods that messages may have.",
    ),
    list(
        "body.rpc.tools",
        Form::Free("tool"),
        |rule, entries| each(entries, token, rule.body.rpc_tools.insert(Vec::new())),
        Absent::Open("no condition"),
        "The tools that `tools/call` of MCP may name.",
    ),
];

fn pair(text: &str) -> Result<String, Fault> {
    let text = token(text)?;
    if text.starts_with('=') || text.contains(['&', ';', '#']) {
        return Err(Fault::new(
            format!("{} is no pair of a query", quoted(&text)),
            "write a name, or a name, `=` and its value as requests have them, with `%26` for `&`",
        ));
    }
    Ok(text)
}

fn digest(text: &str) -> Result<Digest, Fault> {
    text.parse().map_err(|_| {
        Fault::new(
            format!("{} is not a digest", quoted(text)),
            "write `sha256:` and 64 small hex digits",
        )
    })
}

fn network(text: &str) -> Result<IpNet, Fault> {
    let hint = match text.parse::<IpNet>() {
        Ok(network) if network.addr() == network.network() && network.prefix_len() > 0 => {
            return Ok(network);
        }
        Ok(network) if network.prefix_len() > 0 => {
            format!("write {}", quoted(&network.trunc().to_string()))
        }
        Ok(_) => "name the networks of the destination: this one is everybody's".to_owned(),
        Err(_) => "write an address and the length of its prefix, as in `10.1.0.0/16`".to_owned(),
    };
    Err(Fault::new(
        format!("{} is not a network", quoted(text)),
        hint,
    ))
}

fn method(text: &str) -> Result<String, Fault> {
    /// They are about the connection, or show a request to whom it is not for.
    const NEVER: &[&str] = &["CONNECT", "TRACE", "TRACK"];
    let good = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if good && !NEVER.contains(&text) {
        return Ok(text.to_owned());
    }
    let hint = if good {
        "leave it out: nobody may send it"
    } else {
        "write it in upper case, as in `GET`"
    };
    Err(Fault::new(
        format!("{} is not a method", quoted(text)),
        hint,
    ))
}

fn set_headers(rule: &mut EgressRule, pairs: &[(&str, &str)]) -> Faults {
    let mut faults = Vec::new();
    for (index, (name, value)) in pairs.iter().enumerate() {
        let good = name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let visible = value
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if good && visible && value.trim() == *value {
            rule.headers.insert((*name).to_owned(), (*value).to_owned());
        } else {
            faults.push((
                index,
                Fault::new(
                    format!(
                        "{} is not the name of a header with its value",
                        quoted(name)
                    ),
                    "write the name in lower case, and the value in printable ASCII",
                ),
            ));
        }
    }
    faults
}

fn set_json(rule: &mut EgressRule, pairs: &[(&str, &str)]) -> Faults {
    let mut faults = Vec::new();
    for (index, (pointer, text)) in pairs.iter().enumerate() {
        match serde_json::from_str(text) {
            Ok(Value::Array(_) | Value::Object(_)) | Err(_) => faults.push((index, Fault::new(
                format!("{} is not a value in JSON that can be compared", quoted(text)),
                "write a string with its quotes, as in '\"EUR\"', a number, `true`, `false` or `null`",
            ))),
            Ok(_) if !pointer.starts_with('/') => faults.push((index, Fault::new(
                format!("{} is not a JSON pointer", quoted(pointer)),
                "begin it with `/`, as in `/order/currency`",
            ))),
            Ok(value) => {
                rule.body.json.insert((*pointer).to_owned(), value);
            }
        }
    }
    faults
}
