//! Files and ports of sessions: with the rights of their programs, for their owners.

use casemate_model::{InputDigest, SessionId, Text};
use casemate_ports::{Chunk, Connection, Entry, FileFault, KeeperError, Owner, SessionKeeper};
use tokio::sync::mpsc;

use super::{SessionError, SessionStores, Sessions, lodge::Stay};

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 4_095;

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Writes a file: whole, or not at all.
    ///
    /// # Errors
    /// When there is no such session, the path cannot be, or the file cannot be written.
    pub async fn write_file(
        &self,
        owner: &Owner,
        session: SessionId,
        path: Text,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<InputDigest, SessionError> {
        check(&path, Empty::Refused)?;
        let live = self.named(owner, session).await?;
        let done = self
            .keeper
            .write_file(session, owner.clone(), path, content)
            .await;
        match done {
            Ok(digest) => Ok(digest),
            Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
        }
    }

    /// Reads a file: its size, and its content.
    ///
    /// # Errors
    /// As [`Sessions::write_file`].
    pub async fn read_file(
        &self,
        owner: &Owner,
        session: SessionId,
        path: Text,
    ) -> Result<(u64, mpsc::Receiver<Vec<u8>>), SessionError> {
        check(&path, Empty::Refused)?;
        let live = self.named(owner, session).await?;
        match self.keeper.read_file(session, owner.clone(), path).await {
            Ok(file) => Ok(file),
            Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
        }
    }

    /// Lists a directory; the empty path is `/workspace` itself.
    ///
    /// # Errors
    /// As [`Sessions::write_file`].
    pub async fn list_files(
        &self,
        owner: &Owner,
        session: SessionId,
        path: Text,
    ) -> Result<Vec<Entry>, SessionError> {
        check(&path, Empty::Root)?;
        let live = self.named(owner, session).await?;
        match self.keeper.list_files(session, owner.clone(), path).await {
            Ok(entries) => Ok(entries),
            Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
        }
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// As [`Sessions::write_file`].
    pub async fn remove_file(
        &self,
        owner: &Owner,
        session: SessionId,
        path: Text,
    ) -> Result<(), SessionError> {
        check(&path, Empty::Refused)?;
        let live = self.named(owner, session).await?;
        match self.keeper.remove_file(session, owner.clone(), path).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
        }
    }

    /// Connects to a port on which a program of the session listens.
    ///
    /// # Errors
    /// When there is no such session, or nothing listens.
    pub async fn connect(
        &self,
        owner: &Owner,
        session: SessionId,
        port: u16,
    ) -> Result<Connection, SessionError> {
        if port == 0 {
            return Err(SessionError::Invalid("there is no port 0".to_owned()));
        }
        let live = self.named(owner, session).await?;
        match self.keeper.connect(session, owner.clone(), port).await {
            Ok(connection) => Ok(connection),
            Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
        }
    }
}

/// What the empty path means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    /// Nothing.
    Refused,
    /// The workspace itself.
    Root,
}

/// Refuses a path that leads out of a workspace or names nothing, before anybody has to resolve it.
fn check(path: &Text, empty: Empty) -> Result<(), SessionError> {
    let bytes = path.as_bytes();
    let parts = || bytes.split(|byte| *byte == b'/');
    let bad = match bytes {
        [] => empty == Empty::Refused,
        _ => {
            bytes.len() > MAX_PATH_BYTES
                || bytes.contains(&0)
                || parts().any(|part| matches!(part, b"" | b"." | b".."))
        }
    };
    if bad {
        return Err(SessionError::Keeper(KeeperError::File {
            path: path.clone(),
            fault: FileFault::BadPath,
        }));
    }
    Ok(())
}
