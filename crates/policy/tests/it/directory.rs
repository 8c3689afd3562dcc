//! A bundle's files, wherever they come from.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use casemate_model::Digest;
use casemate_policy::{BundleParts, Engine, Manifest, PolicyFile, Profile, Syntax, Trial};

/// Files by their path within a bundle.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The files of the library of ready profiles.
pub(crate) fn library() -> Files {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policies"))
}

/// The files of a bundle's directory.
pub(crate) fn read(directory: &Path) -> Files {
    let mut files = Files::new();
    for part in ["profiles", "tools", "policies", "tests"] {
        for entry in fs::read_dir(directory.join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            files.insert(format!("{part}/{name}"), fs::read(&path).unwrap());
        }
    }
    files
}

/// An engine of these files and their tests, or everything that is wrong with them, one line each.
pub(crate) fn compile(files: &Files) -> Result<(Engine, Vec<Trial>), String> {
    let mut parts = BundleParts {
        digest: Digest::of(b"bundle"),
        ..BundleParts::default()
    };
    let (mut wrong, mut tests) = (String::new(), Vec::new());
    let mut say = |line: String| writeln!(wrong, "{line}").unwrap();
    for (name, text) in files {
        let syntax = Syntax::of(Path::new(name));
        let (part, _) = name.split_once('/').unwrap();
        match part {
            "profiles" => match Profile::parse(text, syntax.unwrap()) {
                Ok(profile) => parts.profiles.push(profile),
                Err(found) => found
                    .iter()
                    .for_each(|found| say(format!("{name}:{found}"))),
            },
            "tools" => match Manifest::parse(text, syntax.unwrap()) {
                Ok(manifest) => parts.manifests.push(manifest),
                Err(found) => found
                    .iter()
                    .for_each(|found| say(format!("{name}:{found}"))),
            },
            "policies" => parts.policies.push(PolicyFile {
                name: name.clone(),
                text: text.clone(),
            }),
            "tests" => tests.push(PolicyFile {
                name: name.clone(),
                text: text.clone(),
            }),
            _ => panic!("{name}"),
        }
    }
    let engine = Engine::compile(parts);
    if let Err(faults) = &engine {
        faults.iter().for_each(|fault| say(fault.to_string()));
    }
    let mut trials = Vec::new();
    for file in &tests {
        match Trial::read(file) {
            Ok(read) => trials.extend(read),
            Err(fault) => say(fault.to_string()),
        }
    }
    match engine {
        Ok(engine) if wrong.is_empty() => Ok((engine, trials)),
        _ => Err(wrong),
    }
}
