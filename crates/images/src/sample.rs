//! Small images for tests, without pip.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use casemate_model::Digest;
use tempfile::TempDir;

use crate::{
    Image, ImageStore, Manifest, Python,
    build::{add, write_index},
    manifest::FORMAT,
    settle,
};

/// A store in a directory of its own.
pub(crate) fn store() -> (TempDir, ImageStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = ImageStore::open(&dir.path().join("state/images")).unwrap();
    (dir, store)
}

/// Files of a small image.
pub(crate) fn fill(tree: &Path) {
    fs::create_dir_all(tree.join("site-packages/pkg")).unwrap();
    fs::write(tree.join("site-packages/pkg/__init__.py"), "x = 1\n").unwrap();
    fs::write(tree.join("site-packages/pkg/data"), "").unwrap();
    fs::write(tree.join("site-packages/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(
        tree.join("site-packages/tool"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("pkg/data", tree.join("site-packages/link")).unwrap();
}

/// An image named `name` that differs from others by `variant`.
pub(crate) fn image(store: &ImageStore, name: &str, variant: &str) -> Image {
    image_of(store, name, |tree| {
        fill(tree);
        fs::write(tree.join("variant"), variant).unwrap();
    })
}

pub(crate) fn image_of(store: &ImageStore, name: &str, fill: impl FnOnce(&Path)) -> Image {
    let staging = store.stage().unwrap();
    let built = staging.make("image").unwrap();
    let tree = staging.make("image/tree").unwrap();
    fill(&tree);
    settle::seal(&tree).unwrap();
    let manifest = Manifest {
        format: FORMAT,
        name: name.parse().unwrap(),
        python: Python {
            path: "/usr/bin/python3".into(),
            version: "3.11".to_owned(),
            machine: "x86_64".to_owned(),
        },
        site: "site-packages".to_owned(),
        preload: Vec::new(),
        env: [("A".to_owned(), "1".to_owned())].into(),
        packages: Vec::new(),
        recipe: Digest::of(b"recipe"),
        tree: write_index(&built, &tree).unwrap(),
    };
    add(store, &staging, &built, &manifest).unwrap()
}
