//! The first process of a sandbox that lasts: makes places for calls, and buries the dead.
//!
//! It has the privileges of its user namespace that making namespaces and mounts takes, which are none outside. It reads what
//! the keeper says and nothing else: no program of the sandbox can reach it.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
};

use casemate_frames::{
    MAX_SESSION_BYTES, Network, PlaceReport, SESSION_READY, SessionOrder, Waiting,
};
use casemate_sys::{
    Forked, Namespaces, SignalEvents, clone_process, exit_now, set_no_dump, wait_any,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags,
        SocketType, recvmsg, socketpair,
    },
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    keeper,
    place::{self, Ends, PlaceNetwork, send},
};

/// Serves the keeper's orders on standard input until it goes away.
pub(crate) fn serve() -> io::Result<()> {
    set_no_dump()?;
    let keeper = keeper::on_stdin()?;
    let children = SignalEvents::of_children()?;
    let mut session = Session {
        keeper,
        interpreter: None,
    };
    send(&session.keeper, SESSION_READY, &[])?;
    loop {
        let (ordered, lost) = session.wait(&children)?;
        children.clear()?;
        while let Ok(Some(_)) = wait_any() {}
        if lost {
            session.interpreter = None;
        }
        if ordered && !session.obey()? {
            return Ok(());
        }
    }
}

struct Session {
    keeper: OwnedFd,
    /// To the warm interpreter.
    interpreter: Option<OwnedFd>,
}

impl Session {
    /// Whether there is an order, and whether the interpreter is gone.
    fn wait(&self, children: &SignalEvents) -> io::Result<(bool, bool)> {
        let mut fds = vec![
            PollFd::new(&self.keeper, PollFlags::IN),
            PollFd::new(children, PollFlags::IN),
        ];
        if let Some(interpreter) = &self.interpreter {
            // It never says anything: this is its end.
            fds.push(PollFd::new(interpreter, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
        Ok((ready(0), ready(2)))
    }

    /// Carries out one order; false at the end of them.
    fn obey(&mut self) -> io::Result<bool> {
        let mut message = [0; MAX_SESSION_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let buffers = &mut [IoSliceMut::new(&mut message)];
        let received = recvmsg(&self.keeper, buffers, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(false);
        }
        let order = SessionOrder::decode(message.get(..received.bytes).unwrap_or_default())?;
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(io::ErrorKind::InvalidData);
        match order {
            SessionOrder::Interpreter => self.interpreter = Some(next()?),
            SessionOrder::Place(waiting, network) => {
                let (control, setup) = (next()?, next()?);
                let network = match network {
                    Network::Session => PlaceNetwork::Session,
                    Network::Own { ports, platform } => PlaceNetwork::Own { ports, platform },
                    Network::Joined => PlaceNetwork::Joined(next()?),
                };
                let tasks: Vec<OwnedFd> = fds.collect();
                if let Err(error) = self.make_place(control, &setup, network, tasks, waiting) {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let report = PlaceReport::Failed { errno };
                    // A keeper that does not want it any more has closed it.
                    let _ = send(&setup, &report.encode(), &[]);
                }
            }
        }
        Ok(true)
    }

    fn make_place(
        &self,
        control: OwnedFd,
        setup: &OwnedFd,
        network: PlaceNetwork,
        tasks: Vec<OwnedFd>,
        waiting: Waiting,
    ) -> io::Result<()> {
        let (warm, word) = match (&self.interpreter, waiting) {
            (_, Waiting::Nothing) => (None, &b""[..]),
            (None, _) => return Err(Errno::NOTCONN.into()),
            (Some(interpreter), Waiting::Lean) => (Some(interpreter), &b"L"[..]),
            (Some(interpreter), Waiting::Ready) => (Some(interpreter), &b"R"[..]),
        };
        let link = warm.map(|_| link()).transpose()?;
        let (ours, theirs) = link.unzip();
        let namespaces = match network {
            PlaceNetwork::Own { .. } => Namespaces::PLACE_WITH_NETWORK,
            PlaceNetwork::Session | PlaceNetwork::Joined(_) => Namespaces::PLACE,
        };
        let forked = clone_process(namespaces, None)?;
        let process = match forked {
            Forked::Child => {
                let setup_copy = setup.try_clone()?;
                let ends = Ends {
                    control,
                    setup: setup_copy,
                    network,
                    tasks,
                    interpreter: ours,
                };
                let failed = place::live(ends).err();
                if let Some(errno) = failed.and_then(|error| error.raw_os_error()) {
                    // Heard only before it was ready.
                    let _ = send(setup, &PlaceReport::Failed { errno }.encode(), &[]);
                }
                exit_now(0)
            }
            Forked::Parent(_, process) => process,
        };
        if let (Some(warm), Some((socket, exit))) = (warm, theirs) {
            let mut fds = vec![process.as_fd(), socket.as_fd(), exit.as_fd(), setup.as_fd()];
            fds.extend(tasks.iter().map(|file| file.as_fd()));
            send(warm, word, &fds)?;
        }
        Ok(())
    }
}

/// Ends of a link to an interpreter: socket, and pipe for its end.
type Link = (OwnedFd, OwnedFd);

fn link() -> io::Result<(Link, Link)> {
    let kind = SocketType::STREAM;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let (exit, exit_write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(((ours, exit), (theirs, exit_write)))
}
