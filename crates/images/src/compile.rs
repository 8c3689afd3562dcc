//! Python's compiled files, made beforehand, because nobody can write them into an image later.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    num::NonZero,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use crate::{BuildError, ImageError, MOUNT_POINT, Recipe, program, staging::Staging};

const SCRIPT: &str = include_str!("compile.py");

/// Compiles every source below `site`, which is in `tree`. The result does not depend on how many run at once: each
/// interpreter gets one entry of `site`, whole and in order.
pub(crate) fn compile(
    staging: &Staging,
    recipe: &Recipe,
    tree: &Path,
    site: &str,
) -> Result<(), BuildError> {
    let script = staging.path("compile.py");
    fs::write(&script, SCRIPT).map_err(ImageError::io("write", &script))?;
    let units = Mutex::new(units(tree, site)?.into_iter().enumerate());
    let next = || units.lock().ok()?.next();
    let worker = || {
        while let Some((number, sources)) = next() {
            one(staging, recipe, tree, &script, number, &sources)?;
        }
        Ok(())
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let ended = running.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| {
                let source = std::io::Error::other("a thread panicked");
                Err(BuildError::Run {
                    program: "python",
                    source,
                })
            })
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

/// The sources of each entry of `site`, relative to `tree`, each with a NUL after it.
fn units(tree: &Path, site: &str) -> Result<Vec<Vec<u8>>, ImageError> {
    let mut units: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    for path in sources(&tree.join(site))? {
        let Ok(relative) = path.strip_prefix(tree) else {
            continue;
        };
        let unit = units.entry(relative.iter().take(2).collect()).or_default();
        unit.extend_from_slice(relative.as_os_str().as_bytes());
        unit.push(0);
    }
    Ok(units.into_values().collect())
}

/// The Python sources below `site`, sorted.
fn sources(site: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let mut sources = Vec::new();
    let mut directories = vec![site.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = || ImageError::io("list", &directory);
        for entry in fs::read_dir(&directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let kind = entry.file_type().map_err(failed())?;
            let path = entry.path();
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && path.extension() == Some(OsStr::new("py")) {
                sources.push(path);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

fn one(
    staging: &Staging,
    recipe: &Recipe,
    tree: &Path,
    script: &Path,
    number: usize,
    sources: &[u8],
) -> Result<(), BuildError> {
    let list = staging.path(&format!("sources-{number}"));
    fs::write(&list, sources).map_err(ImageError::io("write", &list))?;
    let mut command = program::command(staging, &recipe.python)?;
    // Not isolated (-I): PYTHONHASHSEED is to be heard. The environment is ours, and so is the directory.
    command
        .args(["-s", "-S", "-B"])
        .arg(script)
        .arg(&list)
        .arg(tree)
        .arg(MOUNT_POINT);
    let log = format!("compile-{number}.log");
    let ended = program::run(staging, "python", &mut command, &log)?;
    if ended.status.success() {
        Ok(())
    } else {
        let log = ended.log();
        Err(BuildError::Failed {
            program: "python",
            log,
        })
    }
}
