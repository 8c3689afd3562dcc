//! `casemate image build`: an image from a recipe.

use std::path::Path;

use casemate_images::{BuildError, Made, Recipe, Step, build_missing};
use serde_json::json;

use crate::{
    exit::Exit,
    image::{Format, store},
    report::{self, Failure},
};

pub(crate) fn run(recipe: &Path, format: Format) -> Result<Exit, Failure> {
    let recipe = Recipe::read(recipe).map_err(refused)?;
    let packages = recipe.packages.len();
    let made = build_missing(&store()?, &recipe, &mut |step| tell(step, packages));
    let made = made.map_err(refused)?;
    let image = made.image();
    match format {
        Format::Json => {
            let line = json!({
                "image": image.digest,
                "name": image.name,
                "built": matches!(made, Made::Now(_)),
                "packages": image.manifest.packages.len(),
                "bytes": image.manifest.tree.bytes,
                "tree": image.tree,
            });
            report::print(format_args!("{line}\n"))?;
        }
        Format::Lines => {
            let done = match made {
                Made::Before(_) => "there already",
                Made::Now(_) => "built",
            };
            report::print(format_args!("{} {}: {done}\n", image.name, image.digest))?;
        }
    }
    Ok(Exit::Success)
}

fn tell(step: Step, packages: usize) {
    let line = match step {
        Step::Fetch => format!("fetching {packages} packages"),
        Step::Unpack => "unpacking".to_owned(),
        Step::Compile => "compiling".to_owned(),
        Step::Store => "hashing".to_owned(),
        _ => return,
    };
    report::line(&line);
}

/// What is wrong with the recipe, or with what it names, is for its author.
fn refused(error: BuildError) -> Failure {
    match error {
        BuildError::ReadRecipe { .. } => Failure::usage(error),
        BuildError::Syntax { .. }
        | BuildError::Recipe { .. }
        | BuildError::OtherPython { .. }
        | BuildError::HashMismatch { .. }
        | BuildError::NotLocked { .. }
        | BuildError::NoWheel { .. }
        | BuildError::Unexpected { .. }
        | BuildError::Tree(_) => Failure::invalid(error),
        _ => Failure::failed(error),
    }
}
