//! Reading a secret: from a file or standard input, never from the command line.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::Path,
};

use anyhow::{Context as _, anyhow};
use casemate_identity::{Form, Secret, limits::MAX_SECRET_BYTES};
use zeroize::Zeroizing;

use crate::report::Failure;

/// Reads the secret in `file`, or on standard input.
pub(super) fn read(file: Option<&Path>, form: Form) -> Result<Secret, Failure> {
    let bytes = match file {
        Some(path) => {
            let opened = File::open(path).with_context(|| format!("cannot open {path:?}"));
            whole(opened.map_err(Failure::usage)?)
        }
        // There is nothing to be read.
        None if form == Form::Nothing => Ok(Zeroizing::default()),
        None if io::stdin().is_terminal() => {
            return Err(
                Failure::usage(anyhow!("the secret would be shown while it is typed"))
                    .hint("pass it on standard input or with --secret-file"),
            );
        }
        None => whole(io::stdin().lock()),
    };
    Secret::read(&bytes.map_err(Failure::usage)?, form).map_err(Failure::usage)
}

/// A byte more than there may be, and the break at its end: what is longer is not read on.
fn whole(from: impl Read) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let most = MAX_SECRET_BYTES + 2;
    // Room for everything at once: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let mut from = from.take(most as u64);
    from.read_to_end(&mut bytes)
        .context("cannot read the secret")?;
    Ok(bytes)
}
