//! The store: which images there are.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use casemate_model::Digest;
use rustix::fs::FlockOperation;

use crate::{
    Finding, ImageError, ImageName, Manifest,
    dir::{self, Lock},
    manifest::FORMAT,
    name::{Reference, digest_of, directory_of},
    staging::{self, Staging},
    verify,
};

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const INDEX: &str = "index";
pub(crate) const TREE: &str = "tree";
/// Where the digests of the names are.
const NAMES: &str = "names";
/// The name of a file in [`NAMES`] that is not complete yet; no image can have it. Written under the store's lock.
const UNFINISHED: &str = ".new";

/// How the names of the files begin that are locked while something is built under a name.
const TURN: &str = ".turn-";

/// How long to wait for another build under the same name.
const MAX_TURN_MS: u64 = 60 * 60 * 1_000;
/// The largest manifest.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// The largest file in [`NAMES`].
const MAX_NAME_FILE_BYTES: u64 = 128;

/// A directory of images.
#[derive(Clone, Debug)]
pub struct ImageStore {
    path: PathBuf,
}

/// An image whose manifest is genuine.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its digest.
    pub digest: Digest,
    /// The name under which it was built.
    pub name: ImageName,
    /// What it is for.
    pub manifest: Manifest,
    /// The tree: an absolute path.
    pub tree: PathBuf,
}

/// An image in a list.
#[derive(Debug)]
pub struct Listed {
    /// Its digest.
    pub digest: Digest,
    /// The names that mean it: none, if a newer one was built under its name.
    pub names: Vec<ImageName>,
    /// The image, or what is wrong with it.
    pub image: Result<Image, ImageError>,
}

/// An image that cannot be removed while this value lives.
#[derive(Debug)]
pub struct Hold {
    _handle: File,
}

impl ImageStore {
    /// The store in the directory `dir`, which is made if it is missing. The directory, or what it is a link to, has to be
    /// this user's, and nobody else may write to it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(dir: &Path) -> Result<Self, ImageError> {
        let path = dir::open(dir)?;
        let store = Self { path };
        dir::open(&store.names_dir())?;
        Ok(store)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn names_dir(&self) -> PathBuf {
        self.path.join(NAMES)
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.path.join(directory_of(digest))
    }

    /// Every image, by name and digest.
    ///
    /// # Errors
    /// When the store cannot be read. What is wrong with one image is said in its place.
    pub fn list(&self) -> Result<Vec<Listed>, ImageError> {
        let names = self.names()?;
        let listed = |digest| Listed {
            digest,
            names: names
                .iter()
                .filter(|(_, meant)| **meant == digest)
                .map(|(name, _)| name.clone())
                .collect(),
            image: self.get(&digest),
        };
        let mut images: Vec<_> = self.digests()?.into_iter().map(listed).collect();
        images.sort_by(|one, other| one.key().cmp(&other.key()));
        Ok(images)
    }

    /// The digests of all images.
    fn digests(&self) -> Result<Vec<Digest>, ImageError> {
        let failed = || ImageError::io("list", &self.path);
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let digest = entry.file_name().to_str().and_then(digest_of);
            if let Some(digest) = digest
                && entry.file_type().map_err(failed())?.is_dir()
            {
                digests.push(digest);
            }
        }
        Ok(digests)
    }

    /// What each name means.
    fn names(&self) -> Result<BTreeMap<ImageName, Digest>, ImageError> {
        let failed = || ImageError::io("list", self.names_dir());
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(self.names_dir()).map_err(failed())? {
            let file = entry.map_err(failed())?.file_name();
            let name: Option<ImageName> = file.to_str().and_then(|name| name.parse().ok());
            if let Some(name) = name
                && let Ok(digest) = self.meant(&name)
            {
                names.insert(name, digest);
            }
        }
        Ok(names)
    }

    /// The digest that a name means.
    fn meant(&self, name: &ImageName) -> Result<Digest, ImageError> {
        let path = self.names_dir().join(name.as_str());
        let content = match dir::read(&path, MAX_NAME_FILE_BYTES) {
            Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let name = name.clone();
                return Err(ImageError::UnknownName { name });
            }
            content => content?,
        };
        let digest = std::str::from_utf8(&content)
            .ok()
            .and_then(|text| text.strip_suffix('\n')?.parse().ok());
        digest.ok_or(ImageError::NameFile { path })
    }

    /// The digest that a word means: a name, a digest, or at least [`MIN_PREFIX_DIGITS`](crate::MIN_PREFIX_DIGITS) of its
    /// first hex digits, with or without `sha256:`.
    ///
    /// # Errors
    /// When it means no image, or several.
    pub fn resolve(&self, word: &str) -> Result<Digest, ImageError> {
        let digits = match word.parse().map_err(ImageError::Word)? {
            Reference::Name(name) => return self.meant(&name),
            Reference::Digits(digits) => digits,
        };
        let mut found = self.digests()?;
        found.retain(|digest| directory_of(digest).starts_with(&digits));
        found.sort_unstable();
        match found.as_slice() {
            [] => Err(ImageError::UnknownDigest { digits }),
            [digest] => Ok(*digest),
            _ => Err(ImageError::Ambiguous { digits, found }),
        }
    }

    /// The image that a word means, as in [`Self::resolve`].
    ///
    /// # Errors
    /// When it means none or several, or the image cannot be read.
    pub fn find(&self, word: &str) -> Result<Image, ImageError> {
        self.get(&self.resolve(word)?)
    }

    /// The image with this digest. Its manifest is checked; [`Self::verify`] checks its files.
    ///
    /// # Errors
    /// When there is none, or its manifest is not the one that was hashed.
    pub fn get(&self, digest: &Digest) -> Result<Image, ImageError> {
        let digest = *digest;
        let place = self.place(&digest);
        let bytes = match dir::read(&place.join(MANIFEST), MAX_MANIFEST_BYTES) {
            Err(ImageError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !place.exists() =>
            {
                let digits = directory_of(&digest);
                return Err(ImageError::UnknownDigest { digits });
            }
            bytes => bytes?,
        };
        if Digest::of(&bytes) != digest {
            return Err(ImageError::ManifestChanged { digest });
        }
        let manifest = read_manifest(&bytes, digest)?;
        Ok(Image {
            digest,
            name: manifest.name.clone(),
            manifest,
            tree: place.join(TREE),
        })
    }

    /// Everything in an image that is not as it was built: nothing, if it is genuine.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be read.
    pub fn verify(&self, digest: &Digest) -> Result<Vec<Finding>, ImageError> {
        let place = self.place(digest);
        if !place.exists() {
            let digits = directory_of(digest);
            return Err(ImageError::UnknownDigest { digits });
        }
        verify::findings(&place, digest)
    }

    /// Keeps an image from being removed.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn hold(&self, digest: &Digest) -> Result<Hold, ImageError> {
        let _handle = self.claim(digest, FlockOperation::NonBlockingLockShared)?;
        let _handle = _handle.ok_or(ImageError::Leaving { digest: *digest })?;
        Ok(Hold { _handle })
    }

    /// A handle on an image's directory with a lock, or nothing if others' locks are in the way.
    fn claim(&self, digest: &Digest, lock: FlockOperation) -> Result<Option<File>, ImageError> {
        let place = self.place(digest);
        let unknown = || ImageError::UnknownDigest {
            digits: directory_of(digest),
        };
        let handle = match dir::handle(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(unknown()),
            handle => handle.map_err(ImageError::io("open", &place))?,
        };
        let locked = dir::try_lock(&handle, lock).map_err(ImageError::io("lock", &place))?;
        if locked == Lock::Busy {
            return Ok(None);
        }
        // It may have been removed between the opening and the lock.
        let opened = handle
            .metadata()
            .map_err(ImageError::io("look at", &place))?;
        match fs::symlink_metadata(&place) {
            Ok(found) if found.ino() == opened.ino() && found.dev() == opened.dev() => {
                Ok(Some(handle))
            }
            _ => Err(unknown()),
        }
    }

    /// Removes the image that a word means, as in [`Self::resolve`], and the names that mean it. It need not be genuine.
    ///
    /// # Errors
    /// When the word means none or several, or the image is held.
    pub fn remove(&self, word: &str) -> Result<Digest, ImageError> {
        let lock = dir::lock(&self.path)?;
        let digest = self.resolve(word)?;
        let handle = self.claim(&digest, FlockOperation::NonBlockingLockExclusive);
        let handle = match handle {
            // A name whose image is gone: the name can still be removed.
            Err(ImageError::UnknownDigest { .. }) => None,
            handle => Some(handle?.ok_or(ImageError::InUse { digest })?),
        };
        for (name, meant) in self.names()? {
            if meant == digest {
                let path = self.names_dir().join(name.as_str());
                fs::remove_file(&path).map_err(ImageError::io("remove", path))?;
            }
        }
        dir::sync(&self.names_dir())?;
        // From here on nobody sees it, and whatever is left the next build removes.
        let leaving = staging::leaving(&self.path)?;
        if handle.is_some() {
            let place = self.place(&digest);
            fs::rename(&place, &leaving).map_err(ImageError::io("remove", place))?;
            dir::sync(&self.path)?;
        }
        drop(lock);
        dir::remove_tree(&leaving)?;
        Ok(digest)
    }

    /// Waits until no other process builds what is missing under this name. Dropping the handle ends it.
    pub(crate) fn turn(&self, name: &ImageName) -> Result<File, ImageError> {
        let path = self.names_dir().join(format!("{TURN}{name}"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(ImageError::io("open", &path))?;
        dir::wait(&file, &path, MAX_TURN_MS)?;
        Ok(file)
    }

    /// A place to build in. What builds that died left behind is removed.
    pub(crate) fn stage(&self) -> Result<Staging, ImageError> {
        let lock = dir::lock(&self.path)?;
        let staging = Staging::new(&self.path)?;
        drop(lock);
        Ok(staging)
    }

    /// Makes a complete, durable image visible, and its name mean it.
    pub(crate) fn publish(&self, built: &Path, manifest: &[u8]) -> Result<Image, ImageError> {
        let digest = Digest::of(manifest);
        let name = read_manifest(manifest, digest)?.name;
        let _lock = dir::lock(&self.path)?;
        let place = self.place(&digest);
        if place.exists() {
            // Built before: the same, unless somebody changed it.
            if !self.verify(&digest)?.is_empty() {
                return Err(ImageError::Damaged { digest });
            }
        } else {
            fs::rename(built, &place).map_err(ImageError::io("create", &place))?;
            dir::sync(&self.path)?;
        }
        self.set_name(&name, &digest)?;
        self.get(&digest)
    }

    fn set_name(&self, name: &ImageName, digest: &Digest) -> Result<(), ImageError> {
        let unfinished = self.names_dir().join(UNFINISHED);
        write_durably(&unfinished, format!("{digest}\n").as_bytes())?;
        let path = self.names_dir().join(name.as_str());
        fs::rename(&unfinished, &path).map_err(ImageError::io("create", path))?;
        dir::sync(&self.names_dir())
    }
}

impl Listed {
    fn key(&self) -> (Option<&ImageName>, Digest) {
        let name = self.image.as_ref().ok().map(|image| &image.name);
        (name, self.digest)
    }
}

impl Image {
    /// Where a sandbox finds the Python packages.
    #[must_use]
    pub fn site(&self) -> PathBuf {
        Path::new(crate::MOUNT_POINT).join(&self.manifest.site)
    }
}

fn read_manifest(bytes: &[u8], digest: Digest) -> Result<Manifest, ImageError> {
    /// What manifests of every format have.
    #[derive(serde::Deserialize)]
    struct Any {
        format: u32,
    }
    let failed = |source| ImageError::Manifest { digest, source };
    let Any { format } = serde_json::from_slice(bytes).map_err(failed)?;
    if format != FORMAT {
        let known = FORMAT;
        return Err(ImageError::Format {
            digest,
            format,
            known,
        });
    }
    serde_json::from_slice(bytes).map_err(failed)
}

/// Writes a file and waits until it is on disk.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> Result<(), ImageError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(ImageError::io("write", path))
}

#[cfg(test)]
mod tests;
