//! The schema of a profile, as data: the reader walks these tables and the reference page is made from them.

mod budgets;
mod oversight;
mod quotas;

use casemate_model::{
    Capability, ControlName, DestinationClass, IsolationTier, Limits, Response, RiskClass, Tier,
};

use crate::{
    diagnostic::Fault,
    domain::DomainRule,
    egress::{MAX_BASE_URLS, MAX_EGRESS_RULES, read_base_url, read_rule},
    key::{
        Absent, Faults, Form, Key, Kind, Subject, each, key, list, names, number, one_word,
        optional, put, section, text,
    },
    mcp::{MAX_MCP_SERVERS, read_mcp_server},
    profile::{Filesystem, Profile, ToolRules},
    rules::{file_type, nearest, route, token, variable, word, workspace},
    session::{SessionMode, image, pool_min},
    visible::quoted,
};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

const fn limit(
    path: &'static str,
    unit: &'static str,
    at: fn(&mut Limits) -> &mut u64,
    meaning: &'static str,
) -> Key<Profile> {
    let of: fn(&mut Profile) -> &mut Limits = |profile| &mut profile.sandbox.limits;
    key(
        path,
        Kind::Limit { unit, of, at },
        Absent::Standard,
        meaning,
    )
}

/// What a sandbox must enforce when a profile does not say.
const REQUIRED_CONTROLS: &[&str] = &[
    ControlName::UserNamespace.as_str(),
    ControlName::PidNamespace.as_str(),
    ControlName::MountNamespace.as_str(),
    ControlName::NetworkNamespace.as_str(),
    ControlName::IpcNamespace.as_str(),
    ControlName::ReadOnlyRoot.as_str(),
    ControlName::NoCapabilities.as_str(),
    ControlName::NoNewPrivileges.as_str(),
    ControlName::Seccomp.as_str(),
    ControlName::WallClock.as_str(),
    ControlName::Output.as_str(),
];

impl Subject for Profile {
    const KEYS: &'static [&'static [Key<Self>]] = &[
        CALLERS_AND_SANDBOX,
        quotas::HEAD,
        quotas::SESSION,
        quotas::AGENT,
        quotas::TENANT,
        TOOLS,
        EGRESS,
        MCP,
        oversight::APPROVALS,
        budgets::HEAD,
        budgets::CALL,
        budgets::THREAD,
        budgets::AGENT_DAY,
        budgets::TENANT_DAY,
        budgets::COST_AND_FAILURES,
        oversight::MODES,
        OBSERVABILITY,
    ];
}

const CALLERS_AND_SANDBOX: &[Key<Profile>] = &[
    text(
        "route",
        Form::Free("name of letters, digits, `_`, `-` and `.`"),
        |profile, text| route(text).map(|route| profile.route = route),
        Absent::Refused,
        "The entry point that this profile is for. A call on another route is refused.",
    ),
    one_word!(
        "risk_class",
        RiskClass,
        risk_class,
        Absent::Refused,
        "How much harm the route can do.",
    ),
    text(
        "tier",
        Form::Words(|| names(Tier::ALL, Tier::as_str)),
        |profile, text| word(text, Tier::ALL, Tier::as_str).map(|tier| profile.tier = Some(tier)),
        Absent::Open("as little as its tools need; a bundle's profiles have to say it"),
        "What kind of work the route contains, least first. A tool that needs a stronger tier is refused: nothing moves to \
         one because a tool was convenient.",
    ),
    section("identity", "Who may call."),
    list(
        "identity.allowed_issuers",
        Form::Free("issuer"),
        |profile, entries| each(entries, token, &mut profile.identity.allowed_issuers),
        Absent::Refused,
        "Issuers whose claims count. A local user's issuer is `casemate:local`.",
    ),
    text(
        "identity.required_audience",
        Form::Free("audience"),
        |profile, text| token(text).map(|audience| profile.identity.required_audience = audience),
        Absent::Refused,
        "The audience that the caller's claims must be for.",
    ),
    list(
        "identity.required_scopes",
        Form::Free("scope"),
        |profile, entries| each(entries, token, &mut profile.identity.required_scopes),
        Absent::Refused,
        "Scopes that every call needs, whichever its tool.",
    ),
    list(
        "identity.allowed_tenants",
        Form::Free("tenant"),
        |profile, entries| each(entries, token, &mut profile.identity.allowed_tenants),
        Absent::Words(&["local"]),
        "Tenants that may call. A caller can only ever call in its own tenant.",
    ),
    section("sandbox", "Where programs run."),
    one_word!(
        "sandbox.filesystem",
        Filesystem,
        sandbox.filesystem,
        Absent::Refused,
        "What programs may write to: only the call's own scratch space, or the workspace too.",
    ),
    text(
        "sandbox.workspace",
        Form::Free("absolute path; `${run_id}` is the only variable"),
        |profile, text| workspace(text).map(|path| profile.sandbox.workspace = path),
        Absent::Refused,
        "Where a run's files are.",
    ),
    one_word!(
        "sandbox.tier",
        IsolationTier,
        sandbox.tier,
        Absent::Words(&[IsolationTier::Namespace.as_str()]),
        "The weakest boundary that will do, weakest first. A host that cannot give it refuses the call.",
    ),
    list(
        "sandbox.require",
        Form::Words(|| names(ControlName::ALL, ControlName::as_str)),
        |profile, entries| {
            profile.sandbox.require.clear();
            each(
                entries,
                |text| word(text, ControlName::ALL, ControlName::as_str),
                &mut profile.sandbox.require,
            )
        },
        Absent::Words(REQUIRED_CONTROLS),
        "What must really be enforced, not in part. A list replaces the default whole.",
    ),
    list(
        "sandbox.environment",
        Form::Free("name of a variable"),
        |profile, entries| {
            let names = profile.sandbox.environment.insert(Vec::new());
            each(entries, variable, names)
        },
        Absent::Open("any name that is neither reserved nor a secret's"),
        "Environment variables that a caller may declare. Nothing is inherited.",
    ),
    list(
        "sandbox.input_file_types",
        Form::Free("end of a file name, such as `.csv`"),
        |profile, entries| {
            let types = profile.sandbox.input_file_types.insert(Vec::new());
            each(entries, file_type, types)
        },
        Absent::Open("any"),
        "How the names of input files may end. Upper and lower case differ.",
    ),
    one_word!(
        "sandbox.session",
        SessionMode,
        sandbox.session,
        Absent::Words(&[SessionMode::Call.as_str()]),
        "How long a sandbox lives: for one call; for a thread, whose files stay from call to call; or for a thread \
         with a stateful Python interpreter, whose variables stay too.",
    ),
    text(
        "sandbox.image",
        Form::Free("`host`, or the name or digest of a stored image"),
        |profile, text| image(text).map(|image| profile.sandbox.image = image),
        Absent::Words(&["host"]),
        "The userland: the host's own, or an image of `casemate image build` on it.",
    ),
    number(
        "sandbox.session_idle_ms",
        "milliseconds",
        (1_000, 15 * MINUTE_MS, 7 * DAY_MS),
        |profile, number| put(&mut profile.sandbox.session_idle_ms, number),
        "A session ends after so long without a call.",
    ),
    number(
        "sandbox.session_max_ms",
        "milliseconds",
        (1_000, DAY_MS, 30 * DAY_MS),
        |profile, number| put(&mut profile.sandbox.session_max_ms, number),
        "A session ends when it is so old; a paused one is not, and begins anew when it is resumed.",
    ),
    number(
        "sandbox.session_paused_ms",
        "milliseconds",
        (1_000, 7 * DAY_MS, 30 * DAY_MS),
        |profile, number| put(&mut profile.sandbox.session_paused_ms, number),
        "A paused session ends after so long.",
    ),
    number(
        "sandbox.session_paused_bytes",
        "bytes",
        (4_096, 1 << 30, 1 << 40),
        |profile, number| put(&mut profile.sandbox.session_paused_bytes, number),
        "What the files of all paused sessions of an agent may take on disk; one that would take more is not paused.",
    ),
    optional(
        "sandbox.pool",
        "How many complete, unused sandboxes stand ready for an agent, if its sessions come from one.",
    ),
    number(
        "sandbox.pool.max",
        "sandboxes",
        (1, 8, 4_096),
        |profile, number| put(&mut profile.sandbox.pool.max, number),
        "At most.",
    ),
    number(
        "sandbox.pool.min",
        "sandboxes",
        (0, 1, 4_096),
        |profile, number| pool_min(&mut profile.sandbox.pool, number),
        "At rest.",
    ),
    number(
        "sandbox.pool.idle_ms",
        "milliseconds",
        (100, MINUTE_MS, DAY_MS),
        |profile, number| put(&mut profile.sandbox.pool.idle_ms, number),
        "After so long without use it shrinks to `min`.",
    ),
    optional(
        "sandbox.violations",
        "What follows when a program does what no ordinary program does: [the lists](../violations.md). No caller can ask for \
         less.",
    ),
    one_word!(
        "sandbox.violations.system_calls",
        Response,
        sandbox.violations.system_calls,
        Absent::Words(&[Response::Kill.as_str()]),
        "After a system call of the list: the sandbox is destroyed, with its session; or the call is refused and on record.",
    ),
    one_word!(
        "sandbox.violations.honey_files",
        Response,
        sandbox.violations.honey_files,
        Absent::Words(&[Response::Kill.as_str()]),
        "After a file is opened that is there for nobody, such as `/etc/shadow`: the same.",
    ),
    optional(
        "sandbox.scan",
        "What is looked for in source before it runs: [what can be found](../violations.md). It is recorded of each call.",
    ),
    list(
        "sandbox.scan.forbidden",
        Form::Words(|| names(Capability::ALL, Capability::as_str)),
        |profile, entries| {
            profile.sandbox.scan_forbidden.clear();
            each(
                entries,
                |text| word(text, Capability::ALL, Capability::as_str),
                &mut profile.sandbox.scan_forbidden,
            )
        },
        Absent::Words(&[]),
        "A call whose source does one of these is refused; and, if there is any, a call whose source is not understood.",
    ),
    section(
        "sandbox.network",
        "Where calls may send something. No program has a network: it has a proxy, which sends what the rules of `egress` let through.",
    ),
    list(
        "sandbox.network.allowed_domains",
        Form::Free("lower-case host name, or `*.` and one"),
        |profile, entries| {
            each(
                entries,
                DomainRule::parse,
                &mut profile.sandbox.network.allowed_domains,
            )
        },
        Absent::Refused,
        "Destinations. `*.example.com` is every host below `example.com`, but not that one.",
    ),
    key(
        "sandbox.network.classes",
        Kind::Pairs {
            form: Form::Free(
                "host name of `allowed_domains` = `internal`, `partner`, `customer` or `public`",
            ),
            set: set_classes,
        },
        Absent::Open("`public` for every allowed destination"),
        "Whom destinations belong to. The closest name counts; whatever is not allowed is `unknown`, and refused.",
    ),
    key(
        "sandbox.network.block_private_networks",
        Kind::Always {
            why: "private networks and metadata services stay out of reach in every profile",
        },
        Absent::Refused,
        "Private addresses and metadata services are blocked.",
    ),
    key(
        "sandbox.network.require_tls",
        Kind::Always {
            why: "nothing leaves a sandbox in the clear",
        },
        Absent::Refused,
        "Connections are TLS, and certificates are checked. Only an egress rule can except an `internal` destination.",
    ),
    section(
        "sandbox.limits",
        "What a call gets that asks for nothing, and the most that it can ask for.",
    ),
    Key {
        absent: Absent::Refused,
        ..limit(
            "sandbox.limits.max_runtime_ms",
            "milliseconds",
            |limits| &mut limits.wall_ms,
            "Wall-clock time.",
        )
    },
    Key {
        absent: Absent::Refused,
        ..limit(
            "sandbox.limits.max_output_bytes",
            "bytes",
            |limits| &mut limits.output_bytes,
            "Standard output and standard error together; what is beyond is dropped.",
        )
    },
    limit(
        "sandbox.limits.max_memory_bytes",
        "bytes",
        |limits| &mut limits.memory_bytes,
        "Memory of the whole process tree; files in the sandbox count.",
    ),
    limit(
        "sandbox.limits.max_cpu_milli",
        "thousandths of a core",
        |limits| &mut limits.cpu_milli,
        "CPU share.",
    ),
    limit(
        "sandbox.limits.max_processes",
        "processes",
        |limits| &mut limits.processes,
        "Processes and threads alive at once.",
    ),
    limit(
        "sandbox.limits.max_open_files",
        "files",
        |limits| &mut limits.open_files,
        "Open files of one process.",
    ),
    limit(
        "sandbox.limits.max_file_bytes",
        "bytes",
        |limits| &mut limits.file_bytes,
        "Size of one file.",
    ),
    limit(
        "sandbox.limits.max_disk_bytes",
        "bytes",
        |limits| &mut limits.disk_bytes,
        "Size of `/workspace`.",
    ),
    limit(
        "sandbox.limits.max_disk_files",
        "files",
        |limits| &mut limits.disk_files,
        "Files and directories in `/workspace`.",
    ),
];

const TOOLS: &[Key<Profile>] = &[
    section("tools", "What may be called. Any other tool is refused."),
    list(
        "tools.allowed",
        Form::Free("tool"),
        |profile, entries| each(entries, token, &mut profile.tools.allowed),
        Absent::Refused,
        "Tools that need no approval.",
    ),
    list(
        "tools.approval_required",
        Form::Free("tool"),
        |profile, entries| each(entries, token, &mut profile.tools.approval_required),
        Absent::Refused,
        "Tools of which a person approves every call. A tool that is in both lists needs approval.",
    ),
    key(
        "tools.scopes",
        Kind::Pairs {
            form: Form::Free("tool = scope"),
            set: set_scopes,
        },
        Absent::Open("none beside `identity.required_scopes`"),
        "The scope that a tool needs beside `identity.required_scopes`.",
    ),
];

/// After the tools, which rules name.
const EGRESS: &[Key<Profile>] = &[
    optional(
        "egress",
        "What may leave a sandbox, request by request. A destination of `allowed_domains` without a rule of its own may be looked at: `GET` and `HEAD` on port 443.",
    ),
    key(
        "egress.rules",
        Kind::Each {
            form: "list of sections: see [`egress.rules[]`](#egressrules)",
            most: MAX_EGRESS_RULES,
            read: read_rule,
        },
        Absent::Open("none"),
        "The rules. Their order means nothing.",
    ),
    key(
        "egress.base_urls",
        Kind::Each {
            form: "list of sections: see [`egress.base_urls[]`](#egressbase_urls)",
            most: MAX_BASE_URLS,
            read: read_base_url,
        },
        Absent::Open("none"),
        "Names of the proxy that stand for destinations, for clients that take a base URL and no proxy. They allow nothing: what is sent there is judged by the rules.",
    ),
];

const MCP: &[Key<Profile>] = &[
    optional(
        "mcp",
        "Servers of the Model Context Protocol whose tools callers get as tools of the route.",
    ),
    key(
        "mcp.servers",
        Kind::Each {
            form: "list of sections: see [`mcp.servers[]`](#mcpservers)",
            most: MAX_MCP_SERVERS,
            read: read_mcp_server,
        },
        Absent::Open("none"),
        "The servers. Each runs in the sandbox of its call, with what that may do and no more.",
    ),
];

const OBSERVABILITY: &[Key<Profile>] = &[
    section("observability", "What is recorded, and what is not."),
    list(
        "observability.required_trace_fields",
        Form::Free("field"),
        |profile, entries| {
            each(
                entries,
                token,
                &mut profile.observability.required_trace_fields,
            )
        },
        Absent::Refused,
        "Fields that every trace has.",
    ),
    list(
        "observability.redact",
        Form::Free("field"),
        |profile, entries| each(entries, token, &mut profile.observability.redact),
        Absent::Refused,
        "Fields whose values are never shown.",
    ),
];

/// A scope for a tool that is not there would be a slip that leaves the meant tool with less to ask for.
fn set_scopes(profile: &mut Profile, pairs: &[(&str, &str)]) -> Faults {
    let ToolRules {
        allowed,
        approval_required,
        scopes,
    } = &mut profile.tools;
    let tools = || {
        allowed
            .iter()
            .chain(&*approval_required)
            .map(String::as_str)
    };
    let mut faults = Vec::new();
    for (index, (tool, scope)) in pairs.iter().enumerate() {
        let known = tools().any(|name| name == *tool);
        match token(scope) {
            Ok(scope) if known => {
                scopes.insert((*tool).to_owned(), scope);
            }
            Ok(_) => faults.push((index, unknown_tool(tool, nearest(tool, tools())))),
            Err(fault) => faults.push((index, fault)),
        }
    }
    faults
}

/// A class for a host that is not allowed would be a slip that leaves the meant one in the wrong class.
fn set_classes(profile: &mut Profile, pairs: &[(&str, &str)]) -> Faults {
    let network = &mut profile.sandbox.network;
    let mut faults = Vec::new();
    for (index, (host, class)) in pairs.iter().enumerate() {
        let rule = DomainRule::parse(host);
        match (rule, word(class, CLASSES, DestinationClass::as_str)) {
            (Ok(rule), Ok(class))
                if network
                    .allowed_domains
                    .iter()
                    .any(|known| known.covers(&rule)) =>
            {
                network.classes.insert(rule, class);
            }
            (Ok(_), Ok(_)) => faults.push((
                index,
                Fault::new(
                    format!("{} is not in `allowed_domains`", quoted(host)),
                    "allow it, or leave it out",
                ),
            )),
            (Err(fault), _) | (_, Err(fault)) => faults.push((index, fault)),
        }
    }
    faults
}

/// The classes that a profile can give.
const CLASSES: &[DestinationClass] = &[
    DestinationClass::Internal,
    DestinationClass::Partner,
    DestinationClass::Customer,
    DestinationClass::Public,
];

fn unknown_tool(tool: &str, meant: Option<&str>) -> Fault {
    Fault::new(
        format!("{} is in neither list of tools", quoted(tool)),
        match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write it as one of the lists does".to_owned(),
        },
    )
}
