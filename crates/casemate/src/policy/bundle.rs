//! Bundles as they are used here: read, checked, and made into an engine.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use casemate_bundle::{Bundle, PolicyStore, Watch};
use casemate_gateway::Policies;
use casemate_model::{Digest, Text, one_line};
use casemate_policy::{
    BundleFault, BundleParts, Engine, Governing, Manifest, PolicyFile, Profile, RoutePolicy,
    Syntax, Trial, render_diagnostics,
};

use crate::{
    report::{self, Failure},
    state,
};

/// How the bundle in force is named on the command line.
pub(crate) const ACTIVE: &str = "active";

/// A bundle, and what it comes to.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) bundle: Bundle,
    pub(crate) engine: Arc<Engine>,
    pub(crate) trials: Vec<(String, Vec<Trial>)>,
}

/// Where bundles are kept.
pub(crate) fn store() -> Result<PolicyStore, Failure> {
    let root = state::path()?;
    // Makes the directory, with the rights that it has to have.
    casemate_store::StateDir::open(&root).map_err(Failure::failed)?;
    PolicyStore::open(&state::policy_in(&root)).map_err(Failure::failed)
}

/// Reads a bundle: a directory, `active`, or the digest of a stored one or at least 8 of its first hex digits.
pub(crate) fn load(name: &Path) -> Result<Loaded, Failure> {
    let bundle = if name.is_dir() {
        Bundle::read(name).map_err(Failure::invalid)?
    } else {
        let store = store()?;
        let digest = find(&store, &name.to_string_lossy())?;
        store.load(digest).map_err(Failure::failed)?
    };
    compiled(bundle).map_err(|faults| {
        let count = faults.len();
        explain(name, &faults);
        Failure::invalid(anyhow::anyhow!(
            "the bundle {} has {count} error{}",
            Text::from(name.as_os_str().to_owned()),
            if count == 1 { "" } else { "s" }
        ))
    })
}

/// The digest that somebody means.
pub(crate) fn find(store: &PolicyStore, name: &str) -> Result<Digest, Failure> {
    if name == ACTIVE {
        let current = store.current().map_err(Failure::failed)?;
        return current.map(|current| current.digest).ok_or_else(|| {
            Failure::invalid(anyhow::anyhow!("no bundle is in force"))
                .hint("`casemate policy activate DIR` brings one into force")
        });
    }
    let start = name.strip_prefix("sha256:").unwrap_or(name);
    let listed = store.list().map_err(Failure::failed)?;
    let mut found = listed.iter().map(|listed| listed.digest).filter(|digest| {
        let hex = digest.to_string();
        start.len() >= 8 && hex.trim_start_matches("sha256:").starts_with(start)
    });
    match (found.next(), found.next()) {
        (Some(digest), None) => Ok(digest),
        (Some(_), Some(_)) => Err(Failure::usage(anyhow::anyhow!(
            "`{}` is the start of several digests",
            name.escape_debug()
        ))),
        (None, _) => Err(Failure::invalid(anyhow::anyhow!(
            "`{}` is neither a directory, `active`, nor the digest of a stored bundle",
            name.escape_debug()
        ))
        .hint("`casemate policy list` shows them")),
    }
}

/// Checks everything in a bundle, and makes its engine.
pub(crate) fn compiled(bundle: Bundle) -> Result<Loaded, Vec<(BundleFault, Vec<u8>)>> {
    let mut faults = Vec::new();
    let mut profiles = Vec::new();
    for (file, bytes) in bundle.section("profiles") {
        match Profile::parse(bytes, syntax_of(file)) {
            Ok(profile) => profiles.push(profile),
            Err(found) => faults.extend(of_file(file, bytes, found)),
        }
    }
    let mut manifests = Vec::new();
    for (file, bytes) in bundle.section("tools") {
        match Manifest::parse(bytes, syntax_of(file)) {
            Ok(manifest) => manifests.push(manifest),
            Err(found) => faults.extend(of_file(file, bytes, found)),
        }
    }
    let mut trials = Vec::new();
    for (file, bytes) in bundle.section("tests") {
        let file = policy_file(file, bytes);
        match Trial::read(&file) {
            Ok(read) => trials.push((file.name, read)),
            Err(fault) => faults.push((fault, file.text)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let policies = bundle.section("policies");
    let policies: Vec<_> = policies
        .map(|(file, bytes)| policy_file(file, bytes))
        .collect();
    let engine = Engine::compile(BundleParts {
        digest: bundle.digest(),
        profiles,
        manifests,
        policies: policies.clone(),
    });
    match engine {
        Ok(engine) => Ok(Loaded {
            bundle,
            engine: Arc::new(engine),
            trials,
        }),
        Err(faults) => Err(faults
            .into_iter()
            .map(|fault| {
                let file = policies.iter().find(|file| file.name == fault.file);
                let text = file.map(|file| file.text.clone()).unwrap_or_default();
                (fault, text)
            })
            .collect()),
    }
}

fn policy_file(name: &str, bytes: &[u8]) -> PolicyFile {
    PolicyFile {
        name: name.to_owned(),
        text: bytes.to_vec(),
    }
}

/// The bundle takes no other names.
fn syntax_of(file: &str) -> Syntax {
    Syntax::of(Path::new(file)).unwrap_or(Syntax::Toml)
}

fn of_file(
    file: &str,
    bytes: &[u8],
    found: Vec<casemate_policy::Diagnostic>,
) -> impl Iterator<Item = (BundleFault, Vec<u8>)> {
    let (file, bytes) = (file.to_owned(), bytes.to_vec());
    found.into_iter().map(move |diagnostic| {
        let fault = BundleFault {
            file: file.clone(),
            diagnostic,
        };
        (fault, bytes.clone())
    })
}

/// Prints everything that is wrong with a bundle.
fn explain(bundle: &Path, faults: &[(BundleFault, Vec<u8>)]) {
    for (fault, text) in faults {
        let file = Text::from(bundle.join(&fault.file).into_os_string()).to_string();
        let rendered = render_diagnostics(&file, text, std::slice::from_ref(&fault.diagnostic));
        report::write(format_args!("{rendered}"));
    }
}

/// What has to hold of the policies in a state directory before they rule; otherwise why not, in one line.
pub(crate) type Gate = fn(&Path, &Governing) -> Result<(), String>;

/// How long nothing is tried again after it failed: each try may start a process.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The policies of the bundle in force. Each question looks whether it still is.
#[derive(Debug)]
pub(crate) struct ActivePolicies {
    root: PathBuf,
    store: PolicyStore,
    /// What rules until a bundle is in force, if anything does.
    before: Option<Arc<Governing>>,
    gate: Gate,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    watch: Watch,
    governing: Result<Arc<Governing>, String>,
    /// When that was found out.
    at: Instant,
}

impl ActivePolicies {
    /// Looks at what is in force in the state directory at `root`.
    pub(crate) fn open(root: &Path, before: Option<Governing>, gate: Gate) -> anyhow::Result<Self> {
        // Makes the directory, with the rights that it has to have.
        casemate_store::StateDir::open(root)?;
        let store = PolicyStore::open(&state::policy_in(root))?;
        let watch = store.watch()?;
        let mut policies = Self {
            root: root.to_owned(),
            store,
            before: before.map(Arc::new),
            gate,
            seen: Mutex::new(Seen {
                watch,
                governing: Err("nobody has looked yet".to_owned()),
                at: Instant::now(),
            }),
        };
        let seen = policies
            .seen
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        seen.governing = read(
            root,
            &policies.store,
            policies.before.as_ref(),
            gate,
            &seen.watch,
        );
        Ok(policies)
    }
}

/// The policies of what a watch saw.
fn read(
    root: &Path,
    store: &PolicyStore,
    before: Option<&Arc<Governing>>,
    gate: Gate,
    watch: &Watch,
) -> Result<Arc<Governing>, String> {
    let Some(current) = watch.current() else {
        return before
            .cloned()
            .ok_or_else(|| "no bundle is in force".to_owned());
    };
    let bundle = store
        .load(current.digest)
        .map_err(|error| one_line(&error))?;
    let loaded = compiled(bundle).map_err(|faults| {
        let first = faults.first().map(|(fault, _)| fault.to_string());
        format!(
            "the bundle in force is broken: {}",
            first.unwrap_or_default()
        )
    })?;
    let governing = RoutePolicy::all_of(&loaded.engine);
    gate(root, &governing)?;
    Ok(Arc::new(governing))
}

impl Policies for ActivePolicies {
    fn current(&self) -> Result<Arc<Governing>, String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // What could not be told may be by now.
        let again = seen.governing.is_err() && seen.at.elapsed() >= RETRY_PAUSE;
        if seen.watch.changed() || again {
            let refreshed = seen.watch.refresh();
            seen.governing = match refreshed {
                Ok(false) if seen.governing.is_ok() => seen.governing.clone(),
                Ok(_) => read(
                    &self.root,
                    &self.store,
                    self.before.as_ref(),
                    self.gate,
                    &seen.watch,
                ),
                // Whatever cannot be told is a no (I1).
                Err(error) => Err(one_line(&error)),
            };
            seen.at = Instant::now();
        }
        seen.governing.clone()
    }
}
