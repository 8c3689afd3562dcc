//! Bundles and stores to work with.

use std::{collections::BTreeMap, fs, path::Path};

use casemate_bundle::{
    Activation, ActivationKind, Bundle, MANIFEST, PolicyKey, PolicyStore, PolicyStoreError, Role,
};
use casemate_model::Digest;
use tempfile::TempDir;

pub(crate) fn key(seed: u8) -> PolicyKey {
    PolicyKey::from_seed(&[seed; 32], "casemate.test/publisher").unwrap()
}

pub(crate) fn files(name: &str, version: u64) -> BTreeMap<String, Vec<u8>> {
    let manifest = format!("name = \"{name}\"\nversion = {version}\n");
    let file = |path: &str, content: &str| (path.to_owned(), content.as_bytes().to_vec());
    BTreeMap::from([
        file(MANIFEST, &manifest),
        file("profiles/a.toml", "a = 1\n"),
        file("profiles/b.json", "{}"),
        file("tools/t.toml", ""),
        file(
            "policies/base.cedar",
            "permit(principal, action, resource);\n",
        ),
        file("tests/t.toml", "x = 1\n"),
    ])
}

/// A bundle that nobody signed.
pub(crate) fn unsigned(name: &str, version: u64) -> Bundle {
    Bundle::from_files(files(name, version), None).unwrap()
}

/// A bundle that the trusted publisher signed.
pub(crate) fn bundle(name: &str, version: u64) -> Bundle {
    signed(unsigned(name, version))
}

pub(crate) fn signed(bundle: Bundle) -> Bundle {
    let note = key(1).sign(&bundle);
    bundle.with_signature(Some(note))
}

pub(crate) fn write(dir: &Path, files: &BTreeMap<String, Vec<u8>>) {
    for (path, bytes) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A store that trusts the publisher, in a temporary directory.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: PolicyStore,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = PolicyStore::open(&dir.path().join("policy")).unwrap();
        store.trust(Role::Publisher, key(1).public()).unwrap();
        Self { dir, store }
    }

    /// A store in which these versions of `p` came into force one after the other.
    pub(crate) fn with(versions: &[u64]) -> Self {
        let fixture = Self::new();
        for version in versions {
            fixture.put(&bundle("p", *version)).unwrap();
        }
        fixture
    }

    pub(crate) fn now(&self) -> Option<Digest> {
        let current = self.store.current().unwrap();
        current.map(|activation| activation.digest)
    }

    /// Stages and activates a bundle on top of what is in force.
    pub(crate) fn put(&self, bundle: &Bundle) -> Result<Activation, PolicyStoreError> {
        self.store.stage(bundle)?;
        let at_ms = bundle.version() * 1_000;
        let kind = ActivationKind::Activate;
        self.store
            .activate(bundle.digest(), self.now(), at_ms, kind)
    }

    pub(crate) fn back(&self, to: Option<&Bundle>) -> Result<Activation, PolicyStoreError> {
        let to = to.map(Bundle::digest);
        self.store.rollback(to, self.now().unwrap(), 9)
    }
}
