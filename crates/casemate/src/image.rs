//! `casemate image`: directory trees for sandboxes.

mod build;
mod list;
mod verify;

use casemate_images::ImageStore;
use casemate_store::StateDir;

use crate::{
    cli::ImageCommand,
    exit::Exit,
    report::{self, Failure},
    state,
};

pub(crate) fn run(command: ImageCommand) -> Result<Exit, Failure> {
    match command {
        ImageCommand::Build { recipe, json } => build::run(&recipe, json.into()),
        ImageCommand::List { json } => list::run(json.into()),
        ImageCommand::Verify { image, json } => verify::run(image.as_deref(), json.into()),
        ImageCommand::Rm { image } => remove(&image),
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Lines,
    Json,
}

impl From<bool> for Format {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Lines }
    }
}

/// The store of this user, made if it is missing.
fn store() -> Result<ImageStore, Failure> {
    let root = state::path()?;
    StateDir::open(&root).map_err(Failure::failed)?;
    ImageStore::open(&state::images_in(&root)).map_err(Failure::failed)
}

/// The store of this user, if there is one.
fn existing_store() -> Result<Option<ImageStore>, Failure> {
    if state::images_in(&state::path()?).exists() {
        store().map(Some)
    } else {
        Ok(None)
    }
}

fn remove(word: &str) -> Result<Exit, Failure> {
    let Some(store) = existing_store()? else {
        return Err(nothing(word));
    };
    let digest = store.remove(word).map_err(Failure::invalid)?;
    report::print(format_args!("removed {digest}\n"))?;
    Ok(Exit::Success)
}

/// There is no image at all.
fn nothing(word: &str) -> Failure {
    Failure::invalid(anyhow::anyhow!("there is no image `{word}`, nor any other"))
        .hint("`casemate image build FILE` makes one")
}
