//! What programs find in a sandbox beside their own files: the host's programs, and an image.

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    rc::Rc,
};

use casemate_images::{Hold, ImageError, ImageStore, MOUNT_POINT};
use casemate_model::Digest;
use rustix::process::geteuid;

use crate::{
    construct::take,
    plan::{Image, SHOWN},
};

/// The interpreter of the host's userland.
const HOST_PYTHON: &str = "/usr/bin/python3";

/// What programs of the host's userland usually import.
const HOST_PRELOAD: &[&str] = &[
    "argparse",
    "collections",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "functools",
    "hashlib",
    "io",
    "itertools",
    "json",
    "math",
    "os",
    "pathlib",
    "random",
    "re",
    "shutil",
    "statistics",
    "string",
    "subprocess",
    "tempfile",
    "textwrap",
    "typing",
    "urllib.parse",
    "uuid",
];

/// The userland of sandboxes, and the interpreter that is warm in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Userland {
    /// The tree that is shown at `/opt/image`.
    pub(crate) tree: Option<PathBuf>,
    /// Keeps the tree from being removed.
    _held: Option<Rc<Hold>>,
    /// The interpreter, if one is to be warm.
    pub(crate) python: Option<PathBuf>,
    /// The modules that it imports beforehand.
    pub(crate) preload: Vec<String>,
    /// Variables of every program.
    pub(crate) env: BTreeMap<String, String>,
}

impl Userland {
    /// The host's own.
    pub(crate) fn host() -> Self {
        Self {
            python: Some(HOST_PYTHON.into()),
            preload: HOST_PRELOAD.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// The host's with an image out of the store at `images`, which is not removed meanwhile.
    ///
    /// # Errors
    /// When there is no such image.
    pub(crate) fn with_image(images: &Path, digest: &Digest) -> Result<Self, ImageError> {
        let store = ImageStore::open(images)?;
        let held = store.hold(digest)?;
        let image = store.get(digest)?;
        let manifest = image.manifest;
        let mut env = manifest.env;
        env.insert(
            "PYTHONPATH".into(),
            format!("{MOUNT_POINT}/{}", manifest.site),
        );
        Ok(Self {
            tree: Some(image.tree),
            _held: Some(Rc::new(held)),
            python: Some(manifest.python.path),
            preload: manifest.preload,
            env,
        })
    }

    /// The image's tree, out of the host's mounts, where that is needed: a sandbox of root's is another user, who cannot
    /// reach it.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn take_tree(&self) -> io::Result<Option<OwnedFd>> {
        match &self.tree {
            Some(tree) if geteuid().is_root() => take(tree, SHOWN).map(Some),
            _ => Ok(None),
        }
    }

    /// The image as a plan has it, given what [`Userland::take_tree`] took.
    pub(crate) fn image(&self, taken: Option<&OwnedFd>) -> Image<'_> {
        match (&self.tree, taken) {
            (None, _) => Image::None,
            (Some(_), Some(_)) => Image::Taken,
            (Some(tree), None) => Image::At(tree),
        }
    }
}
