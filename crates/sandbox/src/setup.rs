//! The first process of a sandbox, from its clone to the guest: makes the place, gives up every
//! privilege, executes the guest. It talks to the keeper over a socket that closes with the guest's start.

use std::{
    ffi::CString,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use casemate_confine::{Neighbours, Restricted};
use casemate_model::Digest;
use casemate_ports::WaySockets;
use casemate_sys::{LandlockStatus, close_on_exec_from, enter_cgroup_namespace, exec_fd, exit_now};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Resource, Rlimit, Signal},
};

use crate::{
    construct::{Construction, Copied, Source},
    gvisor::Launch,
    image,
    plan::{SANDBOX_ID, Step},
};

/// What the new process needs to know.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) steps: Vec<Step>,
    pub(crate) inputs: Vec<Source>,
    pub(crate) tree: Option<OwnedFd>,
    pub(crate) limits: Vec<(Resource, Rlimit)>,
    pub(crate) identity: Identity,
    pub(crate) kernel: Kernel,
}

/// Under which kernel the guest runs, and with it every program.
#[derive(Debug)]
pub(crate) enum Kernel {
    /// The host's.
    Host,
    /// gVisor's, which says on this pipe why it does not start.
    Gvisor(Launch, OwnedFd),
}

impl Kernel {
    /// Who the first process is in its user namespace: gVisor wants to be root there.
    pub(crate) const fn user(&self) -> u32 {
        match self {
            Self::Host => SANDBOX_ID,
            Self::Gvisor(..) => 0,
        }
    }
}

/// Who the new process is on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The keeper's own user, who has no privileges: nobody else can be had.
    Own,
    /// A user and group of its own, above all real ones: the keeper is root.
    Fresh(u32),
}

/// What the new process tells the keeper.
#[derive(Debug)]
pub(crate) enum Report {
    /// The place is made; the descriptors are of `/workspace/out` and of the sockets of its way out, if it has one.
    Built(Vec<Copied>, OwnedFd, Vec<OwnedFd>),
    /// Every restriction is in force; the descriptor is seccomp's listener.
    Restricted(LandlockStatus, OwnedFd),
    /// A step failed.
    Failed(String, io::Error),
}

/// The whole life of the new process. Nothing of the keeper's may run in it: it never returns.
pub(crate) fn become_guest(
    blueprint: &Blueprint,
    tasks: &[OwnedFd],
    setup: &OwnedFd,
    control: &OwnedFd,
) -> ! {
    let start = || match &blueprint.kernel {
        Kernel::Host => restrict(blueprint, setup, control)
            .and_then(|()| start_guest(blueprint))
            .map(|error| Failure("execute the guest".into(), error)),
        Kernel::Gvisor(launch, said) => start_gvisor(blueprint, launch, control, said)
            .map(|error| Failure("execute gVisor".into(), error)),
    };
    let life = || match build(blueprint, tasks, setup).and_then(|()| start()) {
        Ok(failure) | Err(failure) => fail(setup, &failure),
    };
    let _ = catch_unwind(AssertUnwindSafe(life));
    exit_now(1)
}

/// A step that failed, and why.
pub(crate) struct Failure(pub(crate) String, pub(crate) io::Error);

/// Names the step of an error.
pub(crate) trait During<T> {
    fn during(self, step: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &str) -> Result<T, Failure> {
        self.map_err(|error| Failure(step.into(), error.into()))
    }
}

/// Enters the cgroups, waits until its user is mapped, becomes it: `user`, in its user namespace.
pub(crate) fn enter(
    tasks: &[OwnedFd],
    setup: &OwnedFd,
    identity: Identity,
    user: u32,
) -> Result<(), Failure> {
    join(tasks)?;
    await_go(setup).during("map the user")?;
    if let Identity::Fresh(_) = identity {
        become_user(user).during("become the sandbox's user")?;
    }
    settle()
}

/// Enters cgroups, through the files that are meant for that.
pub(crate) fn join(tasks: &[OwnedFd]) -> Result<(), Failure> {
    for file in tasks {
        rustix::io::write(file, b"0").during("enter the cgroup")?;
    }
    Ok(())
}

/// What every first process does when its user and its cgroups are those that they will be.
pub(crate) fn settle() -> Result<(), Failure> {
    // Not before: a change of user clears it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during("die with the keeper")?;
    enter_cgroup_namespace().during("enter a cgroup namespace")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

fn build(blueprint: &Blueprint, tasks: &[OwnedFd], setup: &OwnedFd) -> Result<(), Failure> {
    enter(tasks, setup, blueprint.identity, blueprint.kernel.user())?;
    let mut construction = Construction::new(&blueprint.inputs, blueprint.tree.as_ref());
    for step in &blueprint.steps {
        let done = construction.perform(step);
        done.map_err(|error| Failure(step.to_string(), error))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let out = rustix::fs::open(c"/workspace/out", flags, Mode::empty())
        .during("open the output directory")?;
    let (copied, way) = construction.finish();
    let fds: Vec<_> = [out].into_iter().chain(way).collect();
    send(setup, &encode_built(&copied), &fds).during("report")
}

fn become_user(user: u32) -> rustix::io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(user),
        rustix::fs::Gid::from_raw(user),
    );
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // A change of user takes this away, and without it the process that makes the network namespace cannot be
    // joined. Nobody else is this user.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
}

/// Gives up every privilege for good. What the keeper measures is true from here on.
fn restrict(blueprint: &Blueprint, setup: &OwnedFd, control: &OwnedFd) -> Result<(), Failure> {
    set_limits(blueprint, |resource| resource != Resource::Fsize)?;
    streams(control, None)?;
    let Restricted { landlock, listener } = casemate_confine::restrict(Neighbours::None)
        .map_err(|error| Failure(error.step.into(), error.source))?;
    let report = [RESTRICTED, landlock_code(landlock)];
    send(setup, &report, &[listener]).during("report")
}

/// Makes the control socket standard input, `said` standard error, and nothing else come along.
fn streams(control: &OwnedFd, said: Option<&OwnedFd>) -> Result<(), Failure> {
    rustix::process::setsid().during("make a session")?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during("open /dev/null")?;
    rustix::stdio::dup2_stdin(control).during("pass the control socket")?;
    rustix::stdio::dup2_stdout(&null).during("close standard output")?;
    rustix::stdio::dup2_stderr(said.unwrap_or(&null)).during("close standard error")?;
    close_on_exec_from(3).during("close descriptors")
}

/// Executes gVisor, which needs the privileges of this user namespace to lock its kernel in; returns why that failed.
fn start_gvisor(
    blueprint: &Blueprint,
    launch: &Launch,
    control: &OwnedFd,
    said: &OwnedFd,
) -> Result<io::Error, Failure> {
    set_limits(blueprint, |_| true)?;
    streams(control, Some(said))?;
    rustix::thread::set_no_new_privs(true).during("set no_new_privs")?;
    Ok(exec_fd(launch.executable.as_fd(), &launch.argv, &[]))
}

/// Executes the guest, while the keeper decides and records; returns why that failed.
fn start_guest(blueprint: &Blueprint) -> Result<io::Error, Failure> {
    let image = image::sealed().during("copy the guest")?;
    // Not before: the guest's image is a file.
    set_limits(blueprint, |resource| resource == Resource::Fsize)?;
    Ok(exec_fd(
        image.as_fd(),
        &[CString::from(c"casemate-guest")],
        &[],
    ))
}

fn set_limits(blueprint: &Blueprint, wanted: impl Fn(Resource) -> bool) -> Result<(), Failure> {
    let limits = blueprint
        .limits
        .iter()
        .filter(|(resource, _)| wanted(*resource));
    for (resource, limit) in limits {
        rustix::process::setrlimit(*resource, *limit).during("set resource limits")?;
    }
    Ok(())
}

const BUILT: u8 = b'B';
const RESTRICTED: u8 = b'R';
const FAILED: u8 = b'F';

const GO: [u8; 1] = *b"G";

/// Tells the new process that its user and group are mapped.
pub(crate) fn send_go(setup: &OwnedFd) -> io::Result<()> {
    send(setup, &GO, &[])
}

pub(crate) fn await_go(setup: &OwnedFd) -> io::Result<()> {
    let mut byte = [0];
    let (count, _) = rustix::net::recv(setup, &mut byte, RecvFlags::empty())?;
    if count == 1 && byte == GO {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the keeper went away",
        ))
    }
}

/// Tells the keeper what failed.
pub(crate) fn fail(setup: &OwnedFd, Failure(step, error): &Failure) {
    let mut message = vec![FAILED];
    message.extend(error.raw_os_error().unwrap_or(0).to_le_bytes());
    message.extend(step.as_bytes());
    // Errors of ours have no number: their words go along.
    if error.raw_os_error().is_none() {
        message.extend(format!(": {error}").as_bytes());
    }
    let _ = send(setup, &message, &[]);
}

const fn landlock_code(status: LandlockStatus) -> u8 {
    match status {
        LandlockStatus::Full => 2,
        LandlockStatus::Partial => 1,
        LandlockStatus::None => 0,
    }
}

fn encode_built(copied: &[Copied]) -> Vec<u8> {
    let mut message = vec![BUILT];
    for input in copied {
        message.extend(input.bytes.to_le_bytes());
        message.extend(input.sha256.as_bytes());
    }
    message
}

/// The most descriptors that come with one message.
const MAX_DESCRIPTORS: usize = 1 + WaySockets::MAX_DESCRIPTORS;

fn send(setup: &OwnedFd, message: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(
        setup,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// The most inputs of a sandbox: their digests must fit in one message.
pub(crate) const MAX_INPUTS: usize = 1024;

/// The longest report without inputs: a step that failed, and why.
const MAX_FAILURE_BYTES: usize = 1024;

/// Takes the next report of a sandbox with so many inputs; nothing at the end, which is the start of the guest.
pub(crate) fn receive(setup: BorrowedFd<'_>, inputs: usize) -> io::Result<Option<Report>> {
    let mut message = vec![0; MAX_FAILURE_BYTES + inputs.min(MAX_INPUTS) * 40];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let buffers = &mut [IoSliceMut::new(&mut message)];
    let received = loop {
        match recvmsg(setup, buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
            // Told once, and before its last words: it ended without having heard ours.
            Err(Errno::CONNRESET) => {}
            result => break result?,
        }
    };
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = rights.flatten().collect();
    message.truncate(received.bytes);
    if message.is_empty() {
        return Ok(None);
    }
    decode(&message, fds)
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an unknown report"))
}

/// What a message without a descriptor says.
pub(crate) fn decode_message(message: &[u8]) -> Option<Report> {
    decode(message, Vec::new())
}

fn decode(message: &[u8], fds: Vec<OwnedFd>) -> Option<Report> {
    let mut fds = fds.into_iter();
    let (kind, payload) = message.split_first()?;
    match *kind {
        BUILT => {
            let copied = payload.chunks(40).map(|entry| {
                let (bytes, digest) = entry.split_first_chunk()?;
                let sha256 = Digest::from_bytes(digest.try_into().ok()?);
                Some(Copied {
                    bytes: u64::from_le_bytes(*bytes),
                    sha256,
                })
            });
            let copied = copied.collect::<Option<_>>()?;
            Some(Report::Built(copied, fds.next()?, fds.collect()))
        }
        RESTRICTED => {
            let status = match payload {
                [2] => LandlockStatus::Full,
                [1] => LandlockStatus::Partial,
                _ => LandlockStatus::None,
            };
            Some(Report::Restricted(status, fds.next()?))
        }
        FAILED => {
            let (errno, step) = payload.split_first_chunk()?;
            let error = match i32::from_le_bytes(*errno) {
                0 => io::Error::other("not possible here"),
                errno => io::Error::from_raw_os_error(errno),
            };
            Some(Report::Failed(
                String::from_utf8_lossy(step).into_owned(),
                error,
            ))
        }
        _ => None,
    }
}
