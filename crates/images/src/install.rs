//! From a recipe to a directory of packages, by pip: fetch, check, unpack.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    BuildError, ImageError, Package, Recipe, index,
    pip::{self, Configuration, Pip},
    program,
    recipe::normal,
    staging::Staging,
};

const WHEELS: &str = "wheels";
const LOG: &str = "pip.log";

/// Fetches a wheel of every package, and checks that the recipe names each.
pub(crate) fn fetch(
    staging: &Staging,
    pip: &Pip,
    recipe: &Recipe,
) -> Result<Vec<Package>, BuildError> {
    let wheels = staging.make(WHEELS)?;
    let list = staging.path("requirements.txt");
    fs::write(&list, requirements(recipe)).map_err(ImageError::io("write", &list))?;
    let mut command = pip.command(staging, Configuration::Users)?;
    // With the hashes of every package required, a package that the list lacks is an error of pip's.
    command
        .args([
            "download",
            "--require-hashes",
            "--only-binary=:all:",
            "--progress-bar=off",
        ])
        .arg("--dest")
        .arg(&wheels)
        .arg("--requirement")
        .arg(&list);
    let ended = program::run(staging, "pip", &mut command, LOG)?;
    if !ended.status.success() {
        return Err(pip::explain(&ended));
    }
    check(&wheels, recipe)
}

fn requirements(recipe: &Recipe) -> String {
    let mut list = String::new();
    for package in &recipe.packages {
        list.push_str(&format!("{}=={}", package.name, package.version));
        for wheel in &package.wheels {
            list.push_str(&format!(" --hash={wheel}"));
        }
        list.push('\n');
    }
    list
}

/// Hashes what was fetched: pip has done so too, and nothing is taken on its word alone.
fn check(wheels: &Path, recipe: &Recipe) -> Result<Vec<Package>, BuildError> {
    let mut wanted: BTreeMap<String, _> = recipe
        .packages
        .iter()
        .map(|package| (normal(&package.name), package))
        .collect();
    let mut packages = Vec::new();
    for (path, file) in files(wheels)? {
        let (found, _) = index::hash_file(&path).map_err(ImageError::io("read", &path))?;
        let stem = file.strip_suffix(".whl");
        let name = stem.and_then(|stem| stem.split('-').next()).map(normal);
        let package = name
            .and_then(|name| wanted.remove(&name))
            .filter(|package| package.wheels.contains(&found))
            .ok_or_else(|| BuildError::Unexpected {
                file: file.clone(),
                found,
            })?;
        packages.push(Package {
            name: package.name.clone(),
            version: package.version.clone(),
            wheel: file,
            sha256: found,
        });
    }
    if let Some(package) = wanted.into_values().next() {
        let package = package.name.clone();
        return Err(BuildError::Missing { package });
    }
    packages.sort_by_key(|package| normal(&package.name));
    Ok(packages)
}

fn files(wheels: &Path) -> Result<Vec<(PathBuf, String)>, ImageError> {
    let failed = || ImageError::io("list", wheels);
    let mut files = Vec::new();
    for entry in fs::read_dir(wheels).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push((entry.path(), name));
    }
    Ok(files)
}

/// Unpacks the wheels into the directory `site`, without any index or network.
pub(crate) fn unpack(
    staging: &Staging,
    pip: &Pip,
    packages: &[Package],
    site: &Path,
) -> Result<(), BuildError> {
    let wheels = staging.path(WHEELS);
    let mut command = pip.command(staging, Configuration::None)?;
    command
        .args([
            "install",
            "--no-index",
            "--no-deps",
            "--no-compile",
            "--ignore-installed",
        ])
        .args([
            "--no-warn-script-location",
            "--no-warn-conflicts",
            "--root-user-action=ignore",
        ])
        .args(["--progress-bar=off", "--only-binary=:all:"])
        .arg("--target")
        .arg(site)
        .args(packages.iter().map(|package| wheels.join(&package.wheel)));
    let ended = program::run(staging, "pip", &mut command, LOG)?;
    if !ended.status.success() {
        let log = ended.log();
        return Err(BuildError::Failed {
            program: "pip",
            log,
        });
    }
    fs::remove_dir_all(&wheels).map_err(ImageError::io("remove", wheels))?;
    Ok(())
}
