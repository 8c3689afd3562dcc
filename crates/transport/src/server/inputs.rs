//! The inputs of a place, held in memory that has no name until the keeper has copied them.

use std::{
    fs::File,
    io::{self, Seek as _, Write as _},
};

use bytes::Bytes;
use casemate_model::Text;
use casemate_ports::{FileFault, InputFile, KeeperError};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::time::timeout;

use super::{Held, request::unexpected};
use crate::{
    fault::Fault,
    inbox::Inbox,
    limits::{MAX_INPUTS, UPLOAD_TIMEOUT},
    to_keeper::ToKeeper,
};

/// Takes `count` inputs off the stream. Together they may have `most` bytes, and `held` counts them.
pub(super) async fn read(
    inbox: &mut Inbox<ToKeeper>,
    count: usize,
    most: u64,
    held: &mut Held,
) -> Result<Vec<InputFile>, Fault> {
    if count > MAX_INPUTS {
        let problem = format!("{count} inputs are more than {MAX_INPUTS}");
        return Err(KeeperError::Spec(problem).into());
    }
    let mut inputs = Vec::new();
    let mut left = most;
    while inputs.len() < count {
        let Some(ToKeeper::Input(name)) = next(inbox).await? else {
            return Err(unexpected());
        };
        let name = Text::from(Vec::from(name));
        let mut file = memory(&name)?;
        loop {
            match next(inbox).await? {
                Some(ToKeeper::Data(bytes)) => {
                    left = take(&name, &bytes, left, held)?;
                    write(&name, &mut file, &bytes)?;
                }
                Some(ToKeeper::End) => break,
                Some(_) => return Err(unexpected()),
                None => return Err(Fault::CutOff),
            }
        }
        file.rewind().map_err(failed(&name))?;
        inputs.push(InputFile { name, file });
    }
    Ok(inputs)
}

async fn next(inbox: &mut Inbox<ToKeeper>) -> Result<Option<ToKeeper>, Fault> {
    match timeout(UPLOAD_TIMEOUT, inbox.next()).await {
        Ok(frame) => Ok(frame?),
        Err(_) => Err(Fault::TimedOut),
    }
}

fn take(name: &Text, bytes: &Bytes, left: u64, held: &mut Held) -> Result<u64, KeeperError> {
    let len = bytes.len() as u64;
    let fault = |fault| KeeperError::File {
        path: name.clone(),
        fault,
    };
    let left = left
        .checked_sub(len)
        .ok_or_else(|| fault(FileFault::TooLarge))?;
    if held.grow(len) {
        Ok(left)
    } else {
        Err(fault(FileFault::NoSpace))
    }
}

fn memory(name: &Text) -> Result<File, KeeperError> {
    let made = memfd_create("input", MemfdFlags::CLOEXEC);
    made.map(File::from)
        .map_err(|errno| failed(name)(errno.into()))
}

fn write(name: &Text, file: &mut File, bytes: &[u8]) -> Result<(), KeeperError> {
    file.write_all(bytes).map_err(failed(name))
}

fn failed(name: &Text) -> impl Fn(io::Error) -> KeeperError {
    move |source| KeeperError::Build {
        step: format!("hold the input `{name}`"),
        source,
    }
}
