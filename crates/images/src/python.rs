//! The interpreter that an image is for.

use std::io;

use crate::{BuildError, Python, Recipe, program, staging::Staging};

/// Says what it is; nothing of the host's packages is imported.
const WHO: &str = "import platform, sys; print(platform.python_implementation(), \
                   '%d.%d' % sys.version_info[:2], platform.machine())";

/// Asks the recipe's interpreter what it is.
pub(crate) fn measure(staging: &Staging, recipe: &Recipe) -> Result<Python, BuildError> {
    let path = recipe.python.clone();
    let mut command = program::command(staging, &path)?;
    command.args(["-I", "-S", "-B", "-c", WHO]);
    let no_python = |source| BuildError::NoPython {
        path: path.clone(),
        source,
    };
    let ended = match program::run(staging, "python", &mut command, "python.log") {
        Err(BuildError::Run { source, .. }) => return Err(no_python(source)),
        ended => ended?,
    };
    let found = ended.said.trim().to_owned();
    let words: Vec<&str> = found.split(' ').collect();
    match words.as_slice() {
        ["CPython", version, machine] if *version == recipe.python_version => Ok(Python {
            path: path.clone(),
            version: (*version).to_owned(),
            machine: (*machine).to_owned(),
        }),
        [_, _, _] if ended.status.success() => Err(BuildError::OtherPython {
            path,
            found,
            wanted: recipe.python_version.clone(),
        }),
        _ => Err(no_python(io::Error::other(ended.log()))),
    }
}
