//! Building an image, from a recipe to a place in the store.

use std::path::Path;

use casemate_model::Digest;

use crate::{
    BuildError, Image, ImageError, ImageStore, Manifest, Recipe, Tree,
    compile::compile,
    index::{self, Entry, Kind},
    install,
    manifest::FORMAT,
    pip::Pip,
    python, settle,
    staging::Staging,
    store::{INDEX, MANIFEST, TREE, write_durably},
};

/// Where a tree has its Python packages.
const SITE: &str = "site-packages";

/// What a build does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Fetch the wheels and check their digests.
    Fetch,
    /// Unpack them.
    Unpack,
    /// Compile the Python sources.
    Compile,
    /// Hash everything and put it into the store.
    Store,
}

/// An image, and when it was made.
#[derive(Clone, Debug)]
pub enum Made {
    /// It was there.
    Before(Image),
    /// It was built.
    Now(Image),
}

impl Made {
    /// The image.
    #[must_use]
    pub const fn image(&self) -> &Image {
        match self {
            Self::Before(image) | Self::Now(image) => image,
        }
    }
}

/// The newest image under the recipe's name, if it was built from this recipe; else builds it, or waits for whoever builds
/// under this name already.
///
/// # Errors
/// When it cannot be built. Then the store is as it was.
pub fn build_missing(
    store: &ImageStore,
    recipe: &Recipe,
    step: &mut dyn FnMut(Step),
) -> Result<Made, BuildError> {
    if let Some(image) = existing(store, recipe)? {
        return Ok(Made::Before(image));
    }
    let _turn = store.turn(&recipe.name)?;
    match existing(store, recipe)? {
        Some(image) => Ok(Made::Before(image)),
        None => build(store, recipe, step).map(Made::Now),
    }
}

fn existing(store: &ImageStore, recipe: &Recipe) -> Result<Option<Image>, BuildError> {
    let wanted = recipe.digest()?;
    match store.find(recipe.name.as_str()) {
        Ok(image) => Ok(Some(image).filter(|image| image.manifest.recipe == wanted)),
        Err(
            ImageError::UnknownName { .. }
            | ImageError::UnknownDigest { .. }
            | ImageError::Format { .. },
        ) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Builds the image of a recipe, adds it to the store, and makes its name mean it.
///
/// # Errors
/// When it cannot be built. Then the store is as it was.
pub fn build(
    store: &ImageStore,
    recipe: &Recipe,
    step: &mut dyn FnMut(Step),
) -> Result<Image, BuildError> {
    let staging = store.stage()?;
    let python = python::measure(&staging, recipe)?;
    let pip = Pip::find(&staging, recipe)?;
    let built = staging.make("image")?;
    let tree = staging.make("image/tree")?;
    let site = staging.make("image/tree/site-packages")?;

    step(Step::Fetch);
    let packages = install::fetch(&staging, &pip, recipe)?;
    step(Step::Unpack);
    install::unpack(&staging, &pip, &packages, &site)?;
    settle::strip(&site)?;
    step(Step::Compile);
    compile(&staging, recipe, &tree, SITE)?;
    settle::seal(&tree)?;

    step(Step::Store);
    let tree = write_index(&built, &tree)?;
    let manifest = Manifest {
        format: FORMAT,
        name: recipe.name.clone(),
        python,
        site: SITE.to_owned(),
        preload: recipe.preload.clone(),
        env: recipe.env.clone(),
        packages,
        recipe: recipe.digest()?,
        tree,
    };
    add(store, &staging, &built, &manifest)
}

/// Writes the index of `tree` into `built`.
pub(crate) fn write_index(built: &Path, tree: &Path) -> Result<Tree, BuildError> {
    debug_assert!(tree.starts_with(built) && tree.ends_with(TREE));
    let entries = index::entries(tree).map_err(BuildError::Tree)?;
    let index = index::write(&entries)?;
    write_durably(&built.join(INDEX), &index)?;
    Ok(Tree {
        index: Digest::of(&index),
        entries: entries.len() as u64,
        bytes: entries.iter().map(bytes).sum(),
    })
}

const fn bytes(entry: &Entry) -> u64 {
    match &entry.kind {
        Kind::File { bytes, .. } => *bytes,
        Kind::Directory {} | Kind::Link { .. } => 0,
    }
}

/// Puts what is complete in `built` into the store.
pub(crate) fn add(
    store: &ImageStore,
    staging: &Staging,
    built: &Path,
    manifest: &Manifest,
) -> Result<Image, BuildError> {
    let mut bytes =
        serde_json::to_vec_pretty(manifest).map_err(|source| BuildError::Json { source })?;
    bytes.push(b'\n');
    write_durably(&built.join(MANIFEST), &bytes)?;
    staging.sync()?;
    Ok(store.publish(built, &bytes)?)
}
