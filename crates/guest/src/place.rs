//! A place for one call: from its first process's clone to the end of the call.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use casemate_confine::{Neighbours, open_way, restrict};
use casemate_frames::{FromGuest, PROTOCOL_VERSION, PlaceReport, ToGuest};
use casemate_sys::{bring_loopback_up, enter_network, keep_descriptors, set_no_dump};
use rustix::{
    fs::{Mode, OFlags},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    process::{Pid, Resource, Rlimit, prlimit, setrlimit},
};

use crate::{
    connect, files,
    interpreter::Interpreter,
    keeper::{Keeper, write_all},
    relay,
    scene::{self, Inputs},
};

/// What the first process of a place is given.
pub(crate) struct Ends {
    /// To the keeper, for the call.
    pub(crate) control: OwnedFd,
    /// To the keeper, until the place is ready.
    pub(crate) setup: OwnedFd,
    pub(crate) network: PlaceNetwork,
    /// The `tasks` files of the place's cgroups.
    pub(crate) tasks: Vec<OwnedFd>,
    /// To the interpreter, and where its parent says how it ended.
    pub(crate) interpreter: Option<(OwnedFd, OwnedFd)>,
}

/// In which network a place is.
pub(crate) enum PlaceNetwork {
    /// In the session's, as its first process.
    Session,
    /// In one of its own, made with it, with a way out.
    Own {
        /// For these ports of destinations.
        ports: Vec<u16>,
        /// Whether the address of the services of platforms leads there too.
        platform: bool,
    },
    /// In this one.
    Joined(OwnedFd),
}

/// The whole life of a place's first process.
pub(crate) fn live(mut ends: Ends) -> io::Result<()> {
    if let PlaceNetwork::Joined(namespace) = &ends.network {
        enter_network(namespace.as_fd())?;
        // Nothing else of it is needed.
        ends.network = PlaceNetwork::Session;
    }
    ends = renumber(ends)?;
    for file in ends.tasks.drain(..) {
        rustix::io::write(file, b"0")?;
    }
    set_no_dump()?;
    rustix::process::setsid()?;
    let way_out = scene::set()?;
    let own_network = match &ends.network {
        PlaceNetwork::Own { ports, platform } => {
            bring_loopback_up()?;
            let mut fds = Vec::from(scene::authority()?);
            fds.extend(open_way(ports, *platform)?);
            fds
        }
        _ => Vec::new(),
    };
    let mut keeper = Keeper::new(ends.control);
    take_inputs(&mut keeper)?;
    let restricted = restrict(Neighbours::Signals).map_err(|error| error.source)?;
    let report = PlaceReport::Place {
        landlock: landlock_code(restricted.landlock),
    };
    let mut fds = vec![restricted.listener.as_fd(), way_out.as_fd()];
    fds.extend(own_network.iter().map(|fd| fd.as_fd()));
    send(&ends.setup, &report.encode(), &fds)?;
    // Before anything of a tool's runs here.
    drop((ends.setup, restricted.listener, way_out, own_network));
    let interpreter = match ends.interpreter {
        Some((socket, exit)) => Some(Interpreter::greet(socket, exit)?),
        None => None,
    };
    keeper.send(&FromGuest::Hello(PROTOCOL_VERSION))?;
    serve(keeper, interpreter)
}

/// Keeps only what a place has, whatever its parent had open.
fn renumber(ends: Ends) -> io::Result<Ends> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    let with_interpreter = ends.interpreter.is_some();
    let mut kept = vec![ends.control, ends.setup];
    if let Some((socket, exit)) = ends.interpreter {
        kept.extend([socket, exit]);
    }
    kept.extend(ends.tasks);
    let mut kept = keep_descriptors(kept)?.into_iter();
    let mut next = || kept.next().ok_or(io::ErrorKind::InvalidData);
    let (control, setup) = (next()?, next()?);
    let interpreter = if with_interpreter {
        Some((next()?, next()?))
    } else {
        None
    };
    Ok(Ends {
        control,
        setup,
        network: ends.network,
        interpreter,
        tasks: kept.collect(),
    })
}

/// Takes the call's inputs, up to the word that there are no more.
fn take_inputs(keeper: &mut Keeper) -> io::Result<()> {
    let mut inputs = None;
    let mut file = None;
    loop {
        match keeper.wait()? {
            ToGuest::Input(name) => {
                let inputs = match &mut inputs {
                    Some(inputs) => inputs,
                    None => inputs.insert(Inputs::new()?),
                };
                file = Some(inputs.create(&name)?);
            }
            ToGuest::Stdin(chunk) => match &file {
                Some(file) => write_all(file.as_fd(), &chunk)?,
                None => return Err(io::ErrorKind::InvalidData.into()),
            },
            ToGuest::Seal => break,
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    drop(file);
    inputs.map_or(Ok(()), Inputs::seal)
}

/// Does the one thing that the place is for.
fn serve(mut keeper: Keeper, interpreter: Option<Interpreter>) -> io::Result<()> {
    loop {
        match keeper.wait()? {
            ToGuest::Limits(limits) => {
                let interpreter = interpreter.as_ref().map(Interpreter::pid);
                limit(&limits, interpreter)?;
            }
            ToGuest::Cell(cell) => {
                let interpreter = interpreter.ok_or(io::ErrorKind::InvalidData)?;
                return relay::run_cell(keeper, interpreter, cell);
            }
            other => {
                if let Some(interpreter) = &interpreter {
                    relay::dismiss(interpreter)?;
                }
                drop(interpreter);
                return match other {
                    ToGuest::Exec(exec) => relay::run_program(keeper, exec),
                    ToGuest::File(request) => files::serve(keeper, &request),
                    ToGuest::Connect(port) => connect::serve(keeper, port),
                    _ => Err(io::ErrorKind::InvalidData.into()),
                };
            }
        }
    }
}

/// The resources that a call can be limited in.
const LIMITED: &[Resource] = &[
    Resource::As,
    Resource::Core,
    Resource::Cpu,
    Resource::Fsize,
    Resource::Memlock,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Nofile,
    Resource::Nproc,
    Resource::Rtprio,
];

/// Sets resource limits for what is started here, and for the interpreter.
fn limit(limits: &[(u8, u64)], interpreter: Option<Pid>) -> io::Result<()> {
    for (number, value) in limits {
        let known = |resource: &&Resource| **resource as u32 == u32::from(*number);
        let resource = *LIMITED
            .iter()
            .find(known)
            .ok_or(io::ErrorKind::InvalidData)?;
        let limit = Rlimit {
            current: Some(*value),
            maximum: Some(*value),
        };
        setrlimit(resource, limit)?;
        if let Some(pid) = interpreter {
            prlimit(Some(pid), resource, limit)?;
        }
    }
    Ok(())
}

const fn landlock_code(status: casemate_sys::LandlockStatus) -> u8 {
    match status {
        casemate_sys::LandlockStatus::Full => 2,
        casemate_sys::LandlockStatus::Partial => 1,
        casemate_sys::LandlockStatus::None => 0,
    }
}

/// The most descriptors that go with one message: those of a place with a network of its own.
const MAX_FDS: usize = 24;

/// Sends a message with descriptors.
pub(crate) fn send(
    socket: &OwnedFd,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::INVAL);
    }
    sendmsg(
        socket,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}
