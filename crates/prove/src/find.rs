//! Where a solver can be.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use crate::{SolverError, program::Program};

/// How many programs are tried before none is found.
const MAX_TRIED: usize = 32;

/// The places in which a solver is looked for.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The one that the operator names: used or refused, never passed over.
    pub named: Option<PathBuf>,
    /// Directories with programs, the first wins.
    pub path: Vec<PathBuf>,
    /// Interpreters beside those.
    pub pythons: Vec<PathBuf>,
}

impl Places {
    /// `CASEMATE_CVC5`, `PATH`, the system's Python, and those of pyenv, the newest first.
    #[must_use]
    pub fn of_this_process() -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let pyenv = env::var_os("PYENV_ROOT")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pyenv")));
        let mut pythons = vec![PathBuf::from("/usr/bin/python3")];
        pythons.extend(pyenv.iter().flat_map(|root| versions(root)));
        Self {
            named: env::var_os("CASEMATE_CVC5")
                .filter(|named| !named.is_empty())
                .map(PathBuf::from),
            path: env::split_paths(&path).collect(),
            pythons,
        }
    }

    /// The first solver here, or the one at `explicit`.
    pub(crate) async fn find(&self, explicit: Option<&Path>) -> Result<Program, SolverError> {
        if let Some(named) = explicit.or(self.named.as_deref()) {
            return Program::identify(named).await;
        }
        let mut tried = Vec::new();
        for candidate in self.candidates() {
            match Program::identify(&candidate).await {
                Ok(program) => return Ok(program),
                Err(why) => tried.push(why.to_string()),
            }
        }
        Err(SolverError::Missing { tried })
    }

    /// Existing files, each once. A relative directory would mean another program elsewhere.
    fn candidates(&self) -> Vec<PathBuf> {
        let named = |name: &'static str| {
            self.path
                .iter()
                .filter(|dir| dir.is_absolute())
                .map(move |dir| dir.join(name))
        };
        let mut seen = BTreeSet::new();
        named("cvc5")
            .chain(named("python3"))
            .chain(self.pythons.iter().cloned())
            .filter(|file| file.is_file() && seen.insert(file.clone()))
            .take(MAX_TRIED)
            .collect()
    }
}

/// The interpreters under `<root>/versions`, the newest first.
fn versions(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root.join("versions")) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name();
            let numbers: Vec<u32> = name
                .to_string_lossy()
                .split('.')
                .map_while(|part| part.parse().ok())
                .collect();
            (numbers, entry.path().join("bin/python3"))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, python)| python).collect()
}
