//! Profiles that are good, and how they come in.

use std::{fs, io, os::unix::fs::symlink, path::Path, thread};

use casemate_model::{ControlName, Digest, IsolationTier, Limits, RiskClass};
use casemate_policy::{
    DomainRule, Filesystem, Image, MAX_PROFILE_BYTES, Profile, ProfileError, SessionMode,
    SourceError, Syntax,
};

use serde_json::{Map, Value, json};

use crate::build::{SEED, seed_profile};

/// The seeds' profile in the other language, with everything optional left out as well.
const SEED_TOML: &str = r#"
route = "support_refund_assistant"
risk_class = "medium"
identity.allowed_issuers = ["https://identity.example.com"]
identity.required_audience = "support-agent-runtime"
identity.required_scopes = ["orders:read", "refunds:draft"]

[sandbox]
filesystem = "read_only"
workspace = "/runs/${run_id}"
limits = { max_runtime_ms = 60_000, max_output_bytes = 0x30D40 }
[sandbox.network]
allowed_domains = ["api.example.com", "docs.example.com"]
block_private_networks = true
require_tls = true

[tools]
allowed = ["orders.lookup", "refunds.draft_refund", "policies.current_refund_policy"]
approval_required = ["refunds.issue_refund", "email.send_customer"]

[observability]
required_trace_fields = ["trace_id", "actor", "tool", "policy_decision", "stop_reason"]
redact = ["access_token", "refresh_token", "customer_email", "payment_token"]
"#;

/// R144–R149: the seeds' profile loads unchanged, every field of it.
#[test]
fn the_seeds_profile_loads_unchanged() {
    let profile = seed_profile();
    assert_eq!(profile.route, "support_refund_assistant");
    assert_eq!(profile.risk_class, RiskClass::Medium);
    assert_eq!(
        profile.identity.allowed_issuers,
        ["https://identity.example.com"]
    );
    assert_eq!(profile.identity.required_audience, "support-agent-runtime");
    assert_eq!(
        profile.identity.required_scopes,
        ["orders:read", "refunds:draft"]
    );
    assert_eq!(profile.sandbox.filesystem, Filesystem::ReadOnly);
    assert_eq!(profile.sandbox.workspace, "/runs/${run_id}");
    let domains = &profile.sandbox.network.allowed_domains;
    let domains: Vec<_> = domains.iter().map(DomainRule::as_str).collect();
    assert_eq!(domains, ["api.example.com", "docs.example.com"]);
    let limits = Limits {
        wall_ms: 60_000,
        output_bytes: 200_000,
        ..Limits::default()
    };
    assert_eq!(profile.sandbox.limits, limits);
    assert_eq!(
        profile.tools.allowed,
        [
            "orders.lookup",
            "refunds.draft_refund",
            "policies.current_refund_policy"
        ]
    );
    assert_eq!(
        profile.tools.approval_required,
        ["refunds.issue_refund", "email.send_customer"]
    );
    assert_eq!(
        profile.observability.required_trace_fields,
        [
            "trace_id",
            "actor",
            "tool",
            "policy_decision",
            "stop_reason"
        ]
    );
    assert_eq!(
        profile.observability.redact,
        [
            "access_token",
            "refresh_token",
            "customer_email",
            "payment_token"
        ]
    );
}

/// What a profile does not say is the strict choice.
#[test]
fn what_is_left_out_has_its_default() {
    let profile = seed_profile();
    assert_eq!(profile.identity.allowed_tenants, ["local"]);
    assert_eq!(profile.sandbox.tier, IsolationTier::Namespace);
    assert_eq!(profile.sandbox.require.len(), 11);
    for control in [
        ControlName::Seccomp,
        ControlName::NetworkNamespace,
        ControlName::WallClock,
    ] {
        assert!(profile.sandbox.require.contains(&control), "{control}");
    }
    assert_eq!(profile.sandbox.environment, None);
    assert_eq!(profile.sandbox.input_file_types, None);
    assert!(profile.tools.scopes.is_empty());
}

/// Every optional key, set to something else than its default.
#[test]
fn what_is_said_is_taken() {
    let text = SEED_TOML
        .replace(
            "[tools]",
            "[tools]\nscopes = { \"orders.lookup\" = \"orders:read\" }",
        )
        .replace(
            "[sandbox]",
            "allowed_tenants = [\"a\", \"b\"]\n[sandbox]\ntier = \"vm\"\nrequire = [\"memory\"]\n\
             environment = []\ninput_file_types = [\".csv\"]",
        )
        .replace("identity.", "")
        .replacen("allowed_issuers", "[identity]\nallowed_issuers", 1)
        .replace(
            "max_output_bytes = 0x30D40",
            "max_output_bytes = 1, max_memory_bytes = 2, max_cpu_milli = 3, max_processes = 4, \
             max_open_files = 5, max_file_bytes = 6, max_disk_bytes = 7, max_disk_files = 8",
        );
    let profile = Profile::parse(text.as_bytes(), Syntax::Toml).unwrap();
    assert_eq!(profile.identity.allowed_tenants, ["a", "b"]);
    assert_eq!(profile.sandbox.tier, IsolationTier::Vm);
    assert_eq!(profile.sandbox.require, [ControlName::Memory]);
    assert_eq!(
        profile.sandbox.environment,
        Some(vec![]),
        "an empty list is not no list"
    );
    assert_eq!(
        profile.sandbox.input_file_types,
        Some(vec![".csv".to_owned()])
    );
    assert_eq!(profile.tools.scopes["orders.lookup"], "orders:read");
    let Limits {
        wall_ms,
        cpu_milli,
        memory_bytes,
        processes,
        open_files,
        file_bytes,
        disk_bytes,
        disk_files,
        output_bytes,
    } = profile.sandbox.limits;
    assert_eq!(
        [
            wall_ms,
            output_bytes,
            memory_bytes,
            cpu_milli,
            processes,
            open_files,
            file_bytes,
            disk_bytes,
            disk_files
        ],
        [60_000, 1, 2, 3, 4, 5, 6, 7, 8]
    );
}

/// R150: one meaning in both languages, one digest per text.
#[test]
fn both_languages_mean_the_same_and_the_digest_names_the_text() {
    let (json, toml) = (
        seed_profile(),
        Profile::parse(SEED_TOML.as_bytes(), Syntax::Toml).unwrap(),
    );
    let meaning = |profile: &Profile| {
        let Profile {
            route,
            risk_class,
            identity,
            sandbox,
            tools,
            observability,
            ..
        } = profile;
        format!("{route} {risk_class} {identity:?} {sandbox:?} {tools:?} {observability:?}")
    };
    assert_eq!(meaning(&json), meaning(&toml));
    assert_eq!(json.source(), SEED);
    assert_eq!(json.digest(), seed_profile().digest());
    assert_ne!(json.digest(), toml.digest());
    let spaced = [SEED, b"\n"].concat();
    let spaced = Profile::parse(&spaced, Syntax::Json).unwrap();
    assert_ne!(
        json.digest(),
        spaced.digest(),
        "not even a space can change unseen"
    );
}

/// Every key of the seeds' profile, as a JSON pointer.
fn pointers(at: &str, value: &Value, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let pointer = format!("{at}/{key}");
        pointers(&pointer, value, found);
        found.push(pointer);
    }
}

/// R144–R149: each key by itself is needed, takes its own kind of value only, and tolerates no neighbour.
#[test]
fn every_key_of_the_seed_is_checked() {
    let seed: Value = serde_json::from_slice(SEED).unwrap();
    let mut keys = Vec::new();
    pointers("", &seed, &mut keys);
    assert_eq!(keys.len(), 22);
    for pointer in keys {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let spoiled = |spoil: &dyn Fn(&mut Map<String, Value>)| {
            let mut profile = seed.clone();
            spoil(
                profile
                    .pointer_mut(parent)
                    .unwrap()
                    .as_object_mut()
                    .unwrap(),
            );
            let text = serde_json::to_vec(&profile).unwrap();
            let errors = Profile::parse(&text, Syntax::Json).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            errors.into_iter().next().unwrap()
        };
        let missing = spoiled(&|section| {
            section.remove(name);
        });
        assert_eq!(missing.path, path);
        assert!(missing.message.ends_with("is missing"), "{missing}");
        for odd in [
            json!(null),
            json!(-1.5),
            json!([[]]),
            json!("\u{1}"),
            json!({"a": {}}),
        ] {
            // `{"a": {}}` is a section, of which several things can be wrong.
            if odd.is_object() && seed.pointer(&pointer).unwrap().is_object() {
                continue;
            }
            let wrong = spoiled(&|section| {
                section.insert(name.to_owned(), odd.clone());
            });
            assert!(wrong.path.starts_with(&path), "{wrong}");
        }
        let unknown = spoiled(&|section| {
            section.insert(format!("{name}_"), json!("x"));
        });
        assert_eq!(unknown.path, format!("{path}_"));
        assert!(unknown.hint.contains(name), "{}", unknown.hint);
    }
}

/// The profile of `casemate run` parses and says what the contract says.
#[test]
fn the_built_in_profile_is_valid() {
    let profile = Profile::builtin().unwrap();
    assert_eq!(profile.route, "run");
    assert_eq!(profile.identity.allowed_issuers, ["casemate:local"]);
    assert_eq!(profile.identity.required_audience, "casemate-run");
    assert_eq!(profile.identity.required_scopes, ["code:execute"]);
    assert_eq!(profile.tools.allowed, ["python", "shell"]);
    assert!(profile.tools.approval_required.is_empty());
    assert!(profile.sandbox.network.allowed_domains.is_empty());
    let defaults = Limits::default();
    assert_eq!(
        defaults.first_above(&profile.sandbox.limits),
        None,
        "room for the defaults"
    );
    assert_eq!(profile.observability, seed_profile().observability);
}

/// R21, R32, R65: sandboxes and quotas of a profile that says nothing of them, and of one that does.
#[test]
fn sessions_and_quotas_have_defaults_and_are_taken() {
    let profile = seed_profile();
    assert_eq!(profile.sandbox.session, SessionMode::Call);
    assert_eq!(profile.sandbox.image, Image::Host);
    assert_eq!(profile.sandbox.session_idle_ms, 900_000);
    assert_eq!(profile.sandbox.session_max_ms, 86_400_000);
    assert_eq!((profile.sandbox.pool.min, profile.sandbox.pool.max), (1, 8));
    assert_eq!(profile.quotas.session.calls, 8);
    assert_eq!(profile.quotas.tenant.queued, 16_384);
    let digest = Digest::of(b"an image");
    let text = SEED_TOML.replace(
        "limits = {",
        &format!(
            "session = \"context\"\nimage = \"{digest}\"\nsession_idle_ms = 5000\n\
             pool = {{ min = 9, max = 9 }}\nlimits = {{"
        ),
    ) + "\n[quotas.session]\ncalls = 2\nqueued = 0\n[quotas.agent]\noutput_bytes = 7\n";
    let profile = Profile::parse(text.as_bytes(), Syntax::Toml).unwrap();
    assert_eq!(profile.sandbox.session, SessionMode::Context);
    assert_eq!(profile.sandbox.image, Image::Exactly(digest));
    assert_eq!(profile.sandbox.session_idle_ms, 5_000);
    assert_eq!(profile.sandbox.pool.min, 9);
    assert_eq!(profile.quotas.session.calls, 2);
    assert_eq!(profile.quotas.session.queued, 0);
    assert_eq!(profile.quotas.session.processes, 1_024, "the rest stays");
    assert_eq!(profile.quotas.agent.output_bytes, 7);
}

/// R21: whoever serves without a profile of their own gets a sandbox for each thread, within its quotas.
#[test]
fn the_built_in_profile_of_serve_is_valid() {
    let profile = Profile::builtin_serve().unwrap();
    assert_eq!(profile.route, "serve");
    assert_eq!(profile.sandbox.session, SessionMode::Thread);
    let limits = profile.sandbox.limits;
    assert!(limits.memory_bytes <= profile.quotas.session.memory_bytes);
    assert!(limits.processes <= profile.quotas.session.processes);
    assert!(limits.cpu_milli <= profile.quotas.session.cpu_milli);
}

#[test]
fn windows_line_ends_are_no_difference() {
    let text = SEED_TOML.replace('\n', "\r\n");
    Profile::parse(text.as_bytes(), Syntax::Toml).unwrap();
    let text = String::from_utf8(SEED.to_vec())
        .unwrap()
        .replace('\n', "\r\n");
    Profile::parse(text.as_bytes(), Syntax::Json).unwrap();
}

#[test]
fn a_file_is_read_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("p.json");
    let toml = dir.path().join("p.toml");
    fs::write(&json, SEED).unwrap();
    fs::write(&toml, SEED_TOML).unwrap();
    let link = dir.path().join("link.json");
    symlink(&json, &link).unwrap();
    for path in [&json, &toml, &link] {
        assert_eq!(
            Profile::load(path).unwrap().route,
            "support_refund_assistant"
        );
    }
}

/// A file that cannot be read as a profile is an error that says why; a pipe does not hang.
#[test]
fn unreadable_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    assert!(matches!(
        Profile::load(&path("missing.json")),
        Err(ProfileError::Source(SourceError::Read { source, .. })) if source.kind() == io::ErrorKind::NotFound
    ));
    for name in ["p", "p.yaml", "p.JSON", ".json"] {
        fs::write(path(name), SEED).unwrap();
        let error = Profile::load(&path(name)).unwrap_err();
        assert!(
            matches!(error, ProfileError::Source(SourceError::Syntax { .. })),
            "{name}: {error}"
        );
    }
    fs::create_dir(path("dir.json")).unwrap();
    let fifo = path("fifo.json");
    std::process::Command::new("mkfifo")
        .arg(&fifo)
        .status()
        .unwrap();
    for path in [&path("dir.json"), &fifo, Path::new("/dev/zero")] {
        let link = dir
            .path()
            .join(format!("{}.toml", path.file_name().unwrap().display()));
        symlink(path, &link).unwrap();
        let error = Profile::load(&link).unwrap_err();
        assert!(
            matches!(error, ProfileError::Source(SourceError::NotAFile { .. })),
            "{error}"
        );
    }
    let loops = path("loop.json");
    symlink(&loops, &loops).unwrap();
    assert!(matches!(
        Profile::load(&loops),
        Err(ProfileError::Source(SourceError::Read { .. }))
    ));
}

#[test]
fn an_oversized_file_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.json");
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    let error = Profile::load(&path).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the profile {} has 1 error", path.display())
    );
    let text = error.rendered().unwrap();
    assert!(text.starts_with("error: larger than 256 KiB\n"), "{text}");

    let exact = [SEED, &vec![b' '; MAX_PROFILE_BYTES - SEED.len()]].concat();
    assert!(Profile::parse(&exact, Syntax::Json).is_ok());
    let over = [&exact[..], b" "].concat();
    assert_eq!(Profile::parse(&over, Syntax::Json).unwrap_err().len(), 1);
}

/// The deepest texts that fit into a profile do not overflow the stack of an ordinary thread.
#[test]
fn bottomless_nesting_is_refused() {
    let keys = "a.".repeat(78) + "a = ";
    let tables: String = (0..80).map(|_| format!("{{ {keys}")).collect();
    let texts = [
        ("[".repeat(MAX_PROFILE_BYTES), Syntax::Json),
        (r#"{"a":"#.repeat(MAX_PROFILE_BYTES / 5), Syntax::Json),
        ("[".repeat(500) + &"]".repeat(500), Syntax::Json),
        ("[".repeat(33) + &"]".repeat(33), Syntax::Json),
        (r#"{"a":"#.repeat(33) + "1" + &"}".repeat(33), Syntax::Json),
        (
            "a = ".to_owned() + &"[".repeat(MAX_PROFILE_BYTES - 4),
            Syntax::Toml,
        ),
        (
            "a = ".to_owned() + &"[".repeat(79) + &"]".repeat(79),
            Syntax::Toml,
        ),
        (
            "a = ".to_owned() + &"[".repeat(32) + &"]".repeat(32),
            Syntax::Toml,
        ),
        (
            "a.".repeat(MAX_PROFILE_BYTES / 2 - 4) + "a = 1",
            Syntax::Toml,
        ),
        ("a.".repeat(32) + "a = 1", Syntax::Toml),
        (format!("[{}a]\n{keys}1", "a.".repeat(78)), Syntax::Toml),
        (
            format!("[{}a]\n{keys}{tables}1{}", "a.".repeat(78), "}".repeat(80)),
            Syntax::Toml,
        ),
    ];
    for (text, syntax) in texts {
        let head: String = text.chars().take(20).collect();
        let work = move || Profile::parse(text.as_bytes(), syntax);
        let thread = thread::Builder::new()
            .stack_size(2 << 20)
            .spawn(work)
            .unwrap();
        let diagnostics = thread.join().unwrap().unwrap_err();
        assert!(!diagnostics.is_empty(), "{head}");
    }
}

/// Many dotted keys side by side are no depth: each is explained for itself.
#[test]
fn long_is_not_deep() {
    let text: String = (0..200).map(|n| format!("key_{n}.a.b = 1\n")).collect();
    let errors = Profile::parse(text.as_bytes(), Syntax::Toml).unwrap_err();
    assert!(
        errors
            .iter()
            .any(|error| error.message == "unknown key `key_0`"),
        "{}",
        errors[0]
    );
}
