//! Small wheels, and source distributions, for tests.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use casemate_model::Digest;
use serde_json::json;

/// Writes a zip file of `[name, content, mode]` entries from standard input; the same entries are the same bytes.
const ZIP: &str = r"
import json, sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as archive:
    for name, content, mode in json.load(sys.stdin):
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, content)
";

/// A wheel of version 1.0.
pub(crate) struct Wheel {
    pub(super) name: &'static str,
    tag: &'static str,
    needs: Vec<&'static str>,
    entries: Vec<(String, String, u32)>,
}

impl Wheel {
    /// A package with one module.
    pub(crate) fn of(name: &'static str) -> Self {
        let module = format!("{name}/__init__.py");
        let wheel = Self {
            name,
            tag: "py3-none-any",
            needs: Vec::new(),
            entries: Vec::new(),
        };
        wheel.file(
            &module,
            "def f(): return {'a', 'b', 'c'} & frozenset(('a', 'd'))\n",
        )
    }

    /// With another file.
    pub(super) fn file(self, path: &str, content: &str) -> Self {
        self.entry(path, content, 0o100_644)
    }

    /// With an entry of this type and mode.
    pub(super) fn entry(mut self, path: &str, content: &str, mode: u32) -> Self {
        self.entries
            .push((path.to_owned(), content.to_owned(), mode));
        self
    }

    /// With a script, which pip gives the path of an interpreter of this host.
    pub(super) fn script(self, name: &str) -> Self {
        let path = format!("{}-1.0.data/scripts/{name}", self.name);
        self.entry(&path, "#!python\n", 0o100_755)
    }

    /// Which needs another package.
    pub(super) fn needs(mut self, package: &'static str) -> Self {
        self.needs.push(package);
        self
    }

    /// For another interpreter or machine.
    pub(super) fn tagged(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// Writes it into `directory`, and returns its digest.
    pub(crate) fn write(&self, directory: &Path) -> String {
        let Self {
            name, tag, needs, ..
        } = self;
        let info = format!("{name}-1.0.dist-info");
        let mut metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n");
        for package in needs {
            metadata.push_str(&format!("Requires-Dist: {package}\n"));
        }
        let head =
            format!("Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n");
        let mut entries = self.entries.clone();
        let mut record: String = entries
            .iter()
            .map(|entry| format!("{},,\n", entry.0))
            .collect();
        record.push_str(&format!(
            "{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        ));
        for (file, content) in [("METADATA", metadata), ("WHEEL", head), ("RECORD", record)] {
            entries.push((format!("{info}/{file}"), content, 0o100_644));
        }
        let path = directory.join(format!("{name}-1.0-{tag}.whl"));
        zip(&path, &json!(entries).to_string());
        Digest::of(&fs::read(path).unwrap()).to_string()
    }
}

fn zip(path: &Path, entries: &str) {
    let mut python = Command::new("/usr/bin/python3")
        .args(["-I", "-c", ZIP])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    stdin.write_all(entries.as_bytes()).unwrap();
    drop(stdin);
    assert!(python.wait().unwrap().success());
}

/// Writes a source distribution of version 1.0 whose build would run `setup`, and returns its digest.
pub(super) fn source_distribution(name: &str, setup: &str, directory: &Path) -> String {
    let path = directory.join(format!("{name}-1.0.zip"));
    let entries = json!([
        [format!("{name}-1.0/setup.py"), setup, 0o100_644],
        [
            format!("{name}-1.0/PKG-INFO"),
            format!("Name: {name}\nVersion: 1.0\n"),
            0o100_644
        ],
    ]);
    zip(&path, &entries.to_string());
    Digest::of(&fs::read(path).unwrap()).to_string()
}
