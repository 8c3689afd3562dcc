//! Files and ports of sessions: with the rights of their programs, for their owners.

use casemate_model::{InputDigest, SessionId, Text};
use casemate_policy::Access;
use casemate_ports::{
    CHANNEL_CAPACITY, Chunk, Connection, Entry, FileFault, KeeperError, SessionKeeper,
};
use tokio::sync::mpsc;

use super::{
    Live, SessionError, SessionStores, Sessions,
    access::{Intent, conclude},
    error::Room,
    lodge::Stay,
};
use crate::{Caller, Done, deed::Subject, meter::Meter};

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 4_095;

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// Writes a file: whole, or not at all. That it is to be written is on disk before, its digest after.
    ///
    /// # Errors
    /// When there is no such session, its profile does not allow it, the path cannot be, or the file cannot
    /// be written.
    pub async fn write_file(
        &self,
        caller: &Caller,
        session: SessionId,
        path: Text,
        content: mpsc::Receiver<Chunk>,
    ) -> Result<Done<InputDigest>, SessionError> {
        let intent = Intent::within(caller, Access::WriteFile(&path), session).about(of(&path));
        check(session, &path, Empty::Refused)?;
        let (live, mut open) = self.permit(intent, session).await?;
        let leash = match self.leash(open.deed.decision, caller, &live) {
            Ok(leash) => leash,
            Err(stopped) => return conclude(open, Err(stopped)),
        };
        let content = leash.hold(content);
        let writing = self
            .keeper
            .write_file(session, caller.owner(), path, content);
        let written = match writing.await {
            Ok(digest) => {
                open.deed.subject.bytes = Some(digest.bytes);
                open.deed.subject.sha256 = Some(digest.sha256);
                Ok(digest)
            }
            Err(error) => match leash.stopped(&live) {
                Some(stopped) => Err(stopped),
                None => Err(self.file_error(&live, error).await),
            },
        };
        conclude(open, written)
    }

    /// Reads a file: its size, and its content. That it is read is on disk before a byte of it is given.
    ///
    /// # Errors
    /// As [`Sessions::write_file`], and when the output that the session, agent or tenant may still have is
    /// less than the file.
    pub async fn read_file(
        &self,
        caller: &Caller,
        session: SessionId,
        path: Text,
    ) -> Result<Done<(u64, mpsc::Receiver<Vec<u8>>)>, SessionError> {
        let intent = Intent::within(caller, Access::ReadFile, session).about(of(&path));
        check(session, &path, Empty::Refused)?;
        let (live, open) = self.permit(intent, session).await?;
        let leash = match self.leash(open.deed.decision, caller, &live) {
            Ok(leash) => leash,
            Err(stopped) => return conclude(open, Err(stopped)),
        };
        let reading = self.keeper.read_file(session, caller.owner(), path);
        let read = match reading.await {
            Ok((bytes, content)) => {
                let meter = self.meter(&live);
                let taken = meter.map_or(Ok(()), |mut meter| meter.take_whole(bytes));
                match taken {
                    Ok(()) => Ok((bytes, leash.hold(content))),
                    Err(quota) => Err(SessionError::Quota { session, quota }),
                }
            }
            Err(error) => Err(self.file_error(&live, error).await),
        };
        conclude(open, read)
    }

    /// Lists a directory; the empty path is `/workspace` itself.
    ///
    /// # Errors
    /// As [`Sessions::write_file`].
    pub async fn list_files(
        &self,
        caller: &Caller,
        session: SessionId,
        path: Text,
    ) -> Result<Done<Vec<Entry>>, SessionError> {
        let intent = Intent::within(caller, Access::ListFiles, session).about(of(&path));
        check(session, &path, Empty::Root)?;
        let (live, open) = self.permit(intent, session).await?;
        let listing = self.keeper.list_files(session, caller.owner(), path);
        let listed = match listing.await {
            Ok(entries) => Ok(entries),
            Err(error) => Err(self.file_error(&live, error).await),
        };
        conclude(open, listed)
    }

    /// Removes a file, a link or an empty directory.
    ///
    /// # Errors
    /// As [`Sessions::write_file`].
    pub async fn remove_file(
        &self,
        caller: &Caller,
        session: SessionId,
        path: Text,
    ) -> Result<Done<()>, SessionError> {
        let intent = Intent::within(caller, Access::RemoveFile, session).about(of(&path));
        check(session, &path, Empty::Refused)?;
        let (live, open) = self.permit(intent, session).await?;
        let removing = self.keeper.remove_file(session, caller.owner(), path);
        let removed = match removing.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.file_error(&live, error).await),
        };
        conclude(open, removed)
    }

    /// Connects to a port on which a program of the session listens. What comes from it counts as output.
    ///
    /// # Errors
    /// When there is no such session, its profile does not allow it, or nothing listens.
    pub async fn connect(
        &self,
        caller: &Caller,
        session: SessionId,
        port: u16,
    ) -> Result<Done<Connection>, SessionError> {
        if port == 0 {
            return Err(SessionError::Invalid("there is no port 0".to_owned()));
        }
        let subject = Subject {
            port: Some(port),
            ..Subject::default()
        };
        let intent = Intent::within(caller, Access::Connect, session).about(subject);
        let (live, open) = self.permit(intent, session).await?;
        let leash = match self.leash(open.deed.decision, caller, &live) {
            Ok(leash) => leash,
            Err(stopped) => return conclude(open, Err(stopped)),
        };
        let meter = self.meter(&live);
        let used_up = meter.as_ref().and_then(Meter::used_up);
        let connected = match used_up {
            Some(quota) => Err(SessionError::Quota { session, quota }),
            None => match self.keeper.connect(session, caller.owner(), port).await {
                Ok(connection) => Ok(leash.hold_connection(metered(connection, meter))),
                Err(error) => Err(self.judge(&live, Stay::Named, error).await.into()),
            },
        };
        conclude(open, connected)
    }

    /// Counts what is given back of a session.
    fn meter(&self, live: &Live) -> Option<Meter> {
        let profile = self.under(live)?;
        let session = (&live.output, Self::called(live));
        let now_ms = self.clock.now_ms();
        Some(self.meters.meter(&live.owner, session, &profile, now_ms))
    }

    /// What a keeper's answer about a file means.
    pub(super) async fn file_error(&self, live: &Live, error: KeeperError) -> SessionError {
        match self.judge(live, Stay::Named, error).await {
            KeeperError::File { path, fault } => SessionError::File {
                session: live.id,
                path,
                fault,
                room: self
                    .under(live)
                    .and_then(|profile| Room::of(fault, &profile.sandbox.limits)),
            },
            error => error.into(),
        }
    }
}

fn of(path: &Text) -> Subject {
    Subject {
        path: Some(path.clone()),
        ..Subject::default()
    }
}

/// The connection, cut off when a quota is used up.
fn metered(connection: Connection, meter: Option<Meter>) -> Connection {
    let Some(mut meter) = meter else {
        return connection;
    };
    let Connection { to, mut from } = connection;
    let (sender, counted) = mpsc::channel(CHANNEL_CAPACITY);
    tokio::spawn(async move {
        while let Some(mut bytes) = tokio::select! {
            bytes = from.recv() => bytes,
            () = sender.closed() => None,
        } {
            let whole = bytes.len();
            let taken = meter.take(whole as u64);
            bytes.truncate(usize::try_from(taken).unwrap_or(usize::MAX));
            let cut = bytes.len() < whole;
            if sender.send(bytes).await.is_err() || cut {
                return;
            }
        }
    });
    Connection { to, from: counted }
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
fn check(session: SessionId, path: &Text, empty: Empty) -> Result<(), SessionError> {
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
        return Err(SessionError::File {
            session,
            path: path.clone(),
            fault: FileFault::BadPath,
            room: None,
        });
    }
    Ok(())
}
