//! The files of paused sessions: `agents/<agent>/paused-<…>`, in pieces that are sealed each for its place.
//!
//! A piece is the id of its key, its nonce, the length of what follows and the ciphertext. It is bound to the agent, the session, the
//! image, its number, and to whether it is the last: nothing can be cut off, left out, put elsewhere or come from an earlier pause.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read as _, Write as _},
    path::PathBuf,
};

use casemate_model::{Sealed, SessionId};
use zeroize::Zeroizing;

use crate::{
    Keys, StateDir, StoreError,
    crypto::{NONCE_BYTES, TAG_BYTES, bind, fill_randomly},
    dir::Dir,
    keys::no_new_key,
};

const PREFIX: &str = "paused-";
const PURPOSE: &str = "casemate/paused/v1";

/// The bytes of a piece before it is sealed; the last one may have fewer.
const PIECE_BYTES: usize = 4 << 20;

/// The bytes of the id of a data key.
const KEY_ID_BYTES: usize = 36;

const HEADER_BYTES: usize = KEY_ID_BYTES + NONCE_BYTES + 4;

/// Where the files of paused sessions are.
#[derive(Clone, Debug)]
pub struct PausedFiles {
    state: StateDir,
}

/// What each piece is bound to.
#[derive(Debug)]
struct Place {
    agent: String,
    session: SessionId,
    image: String,
    pieces: u64,
}

impl Place {
    /// What the next piece is bound to.
    fn next(&mut self, is_last: bool) -> Vec<u8> {
        let number = self.pieces;
        self.pieces += 1;
        bind(
            PURPOSE,
            &[
                self.session.to_string().as_bytes(),
                self.image.as_bytes(),
                &number.to_be_bytes(),
                &[u8::from(is_last)],
            ],
        )
    }
}

/// Files that are being written. Dropped before [`PausedWriter::finish`], nothing of them stays.
#[derive(Debug)]
pub struct PausedWriter<'k> {
    keys: &'k Keys,
    dir: Dir,
    file: File,
    place: Place,
    piece: Zeroizing<Vec<u8>>,
    finished: bool,
}

/// Files that are being read.
#[derive(Debug)]
pub struct PausedReader<'k> {
    keys: &'k Keys,
    path: PathBuf,
    file: File,
    left: u64,
    place: Place,
}

impl PausedFiles {
    /// Those below `state`.
    #[must_use]
    pub const fn new(state: StateDir) -> Self {
        Self { state }
    }

    /// Files of a session, under a new name.
    ///
    /// # Errors
    /// When there is no randomness for a name, or the file cannot be made.
    pub fn create<'k>(
        &self,
        keys: &'k Keys,
        agent: &str,
        session: SessionId,
    ) -> Result<PausedWriter<'k>, StoreError> {
        let mut random = [0; 16];
        fill_randomly(&mut random).map_err(no_new_key)?;
        let image = format!("{PREFIX}{:032x}", u128::from_be_bytes(random));
        let dir = self.state.agent_dir(agent)?;
        let file = dir.create_new(&image)?;
        Ok(PausedWriter {
            keys,
            dir,
            file,
            place: Place {
                agent: agent.to_owned(),
                session,
                image,
                pieces: 0,
            },
            piece: Zeroizing::new(Vec::with_capacity(PIECE_BYTES)),
            finished: false,
        })
    }

    /// The files of this name; nothing if they are gone.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn open<'k>(
        &self,
        keys: &'k Keys,
        agent: &str,
        session: SessionId,
        image: &str,
    ) -> Result<Option<PausedReader<'k>>, StoreError> {
        if !is_image(image) {
            return Ok(None);
        }
        let dir = self.state.agent_dir(agent)?;
        let Some((file, left)) = dir.open_file(image)? else {
            return Ok(None);
        };
        Ok(Some(PausedReader {
            keys,
            path: dir.path(image),
            file,
            left,
            place: Place {
                agent: agent.to_owned(),
                session,
                image: image.to_owned(),
                pieces: 0,
            },
        }))
    }

    /// Removes the files of this name.
    ///
    /// # Errors
    /// When they cannot be removed.
    pub fn remove(&self, agent: &str, image: &str) -> Result<(), StoreError> {
        match is_image(image) {
            true => self.state.agent_dir(agent)?.remove_file(image),
            false => Ok(()),
        }
    }

    /// Removes what no paused session has, such as files that were half written. Says whether each of those that are kept is there.
    ///
    /// # Errors
    /// When the directory cannot be read, or something not removed.
    pub fn sweep(&self, agent: &str, kept: &HashSet<String>) -> Result<Vec<String>, StoreError> {
        let dir = self.state.agent_dir(agent)?;
        let (found, left): (Vec<_>, Vec<_>) = dir
            .names()?
            .into_iter()
            .filter(|name| is_image(name))
            .partition(|name| kept.contains(name));
        for name in left {
            dir.remove_file(&name)?;
        }
        Ok(found)
    }
}

fn is_image(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

impl PausedWriter<'_> {
    /// Writes more.
    ///
    /// # Errors
    /// When it cannot be sealed or written.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            // Not before more is known to come: it may be the last.
            if self.piece.len() == PIECE_BYTES {
                self.seal(false)?;
                // Whoever waits in this thread waits for one piece at a time, not for all of them at the end.
                let path = self.dir.path(&self.place.image);
                self.file
                    .sync_data()
                    .map_err(StoreError::io("sync", path))?;
            }
            let room = PIECE_BYTES.saturating_sub(self.piece.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Makes all of it durable, and gives its name.
    ///
    /// # Errors
    /// When it cannot be sealed, written or synced; then it is not there.
    pub fn finish(mut self) -> Result<String, StoreError> {
        self.seal(true)?;
        let path = self.dir.path(&self.place.image);
        self.file.sync_all().map_err(StoreError::io("sync", path))?;
        self.dir.sync()?;
        self.finished = true;
        Ok(self.place.image.clone())
    }

    fn seal(&mut self, is_last: bool) -> Result<(), StoreError> {
        let aad = self.place.next(is_last);
        let sealed = self.keys.seal(&self.place.agent, &aad, &self.piece)?;
        self.piece.clear();
        let path = self.dir.path(&self.place.image);
        let length = u32::try_from(sealed.ciphertext.len()).unwrap_or(u32::MAX);
        let header = [sealed.key.as_bytes(), &sealed.nonce, &length.to_be_bytes()].concat();
        self.file
            .write_all(&header)
            .and_then(|()| self.file.write_all(&sealed.ciphertext))
            .map_err(StoreError::io("write", path))
    }
}

impl Drop for PausedWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            // The next sweep takes what cannot be removed now.
            drop(self.dir.remove_file(&self.place.image));
        }
    }
}

impl PausedReader<'_> {
    /// The next bytes; nothing after the last. Whoever stops before has not seen all of it.
    ///
    /// # Errors
    /// [`StoreError::KeyErased`] when its key was destroyed, [`StoreError::Unseal`] when it is not what was written, and when it
    /// cannot be read.
    pub fn read(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        if self.left == 0 && self.place.pieces > 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        self.take(&mut header)?;
        let (key, rest) = header.split_at(KEY_ID_BYTES);
        let (nonce, length) = rest.split_at(NONCE_BYTES);
        let length = <[u8; 4]>::try_from(length).map_or(u32::MAX, u32::from_be_bytes);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let mut ciphertext = match length <= PIECE_BYTES + TAG_BYTES {
            true => vec![0; length],
            false => return Err(self.broken()),
        };
        self.take(&mut ciphertext)?;
        let sealed = Sealed {
            key: String::from_utf8_lossy(key).into_owned(),
            nonce: nonce.to_vec(),
            ciphertext,
        };
        let aad = self.place.next(self.left == 0);
        self.keys.unseal(&self.place.agent, &aad, &sealed).map(Some)
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<(), StoreError> {
        self.left = match self.left.checked_sub(buffer.len() as u64) {
            Some(left) => left,
            None => return Err(self.broken()),
        };
        let read = self.file.read_exact(buffer);
        read.map_err(StoreError::io("read", &self.path))
    }

    fn broken(&self) -> StoreError {
        let source = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        StoreError::io("read", &self.path)(source)
    }
}
