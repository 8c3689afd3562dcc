//! The first process of a nursery, and of the sandboxes that it makes.
//!
//! A nursery is a sandbox of its own, in which no tool's code ever runs: user, pid, mount, network, IPC and host-name
//! namespaces with the root that all sandboxes of one owner and kind share. Sandboxes are made inside of it, so that the template
//! interpreter, which is inside too and has no privilege there, can send copies of itself into them: the kernel lets
//! a process enter the user namespaces that its own user made, and no others.

use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    panic::{AssertUnwindSafe, catch_unwind},
};

use casemate_sys::{
    Forked, Namespaces, SignalEvents, bring_loopback_up, clone_process, close_on_exec_from,
    drop_capabilities, exec_fd, exec_path, exit_now, fork_process, keep_capabilities,
    keep_descriptors, wait_any,
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Mode, OFlags, SeekFrom},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::Pid,
    thread::CapabilitySet,
};

use super::wire::{Order, answer, receive, send};
use crate::{
    construct::Construction,
    image,
    plan::{SANDBOX_ID, Step},
    setup::{During as _, Failure, Identity, enter, fail, join, settle},
};

/// What a nursery needs to know.
#[derive(Debug)]
pub(super) struct Blueprint {
    /// How the shared root is made.
    pub(super) root: Vec<Step>,
    /// The image's tree, if there is an image.
    pub(super) tree: Option<OwnedFd>,
    /// How the storage of one sandbox is made.
    pub(super) storage: Vec<Step>,
    pub(super) identity: Identity,
    /// Whether the calls have ways out, and so networks of their own.
    pub(super) has_ways: bool,
    /// The template interpreter, if there is one.
    pub(super) template: Option<Template>,
}

/// A template interpreter to start.
#[derive(Debug)]
pub(super) struct Template {
    pub(super) path: CString,
    pub(super) argv: Vec<CString>,
    pub(super) env: Vec<CString>,
    /// What it reads as descriptor 4.
    pub(super) program: OwnedFd,
}

/// What the first process of a sandbox keeps to make places for calls; none of it reaches outside of the sandbox's own
/// user namespace.
const KEPT: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SETPCAP);

/// And what the networks of calls with ways out take: their addresses, and the low ports of their listeners.
const KEPT_FOR_WAYS: CapabilitySet = KEPT
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// The whole life of a nursery. Nothing of the keeper's may run in it: it never returns.
pub(super) fn become_nursery(
    blueprint: &Blueprint,
    tasks: &[OwnedFd],
    setup: OwnedFd,
    orders: OwnedFd,
) -> ! {
    let life = || {
        if let Err(failure) = live(blueprint, tasks, setup, orders) {
            // Its keeper has gone, or it failed before it was ready and has said so.
            drop(failure);
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(life));
    exit_now(1)
}

fn live(
    blueprint: &Blueprint,
    tasks: &[OwnedFd],
    setup: OwnedFd,
    orders: OwnedFd,
) -> Result<(), Failure> {
    let ready = ready(blueprint, tasks, &setup);
    let template = ready.inspect_err(|failure| fail(&setup, failure))?;
    let program = template.map(|template| template.program.try_clone());
    let program = program.transpose().during("keep the template's program")?;
    // Everything else is the keeper's.
    let kept = [Some(setup), Some(orders), program].into_iter().flatten();
    let mut kept = keep_descriptors(kept.collect())
        .during("close the keeper's descriptors")?
        .into_iter();
    let (Some(setup), Some(orders)) = (kept.next(), kept.next()) else {
        return Err(Failure("keep descriptors".into(), Errno::BADF.into()));
    };
    let mut template = match (template, kept.next()) {
        (Some(template), Some(program)) => {
            let started = Running::start(template, program).during("start the interpreter");
            Some(started.inspect_err(|failure| fail(&setup, failure))?)
        }
        _ => None,
    };
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during("open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).during("close standard input")?;
    rustix::stdio::dup2_stdout(&null).during("close standard output")?;
    send(setup.as_fd(), READY, &[]).during("report")?;
    drop(setup);
    let guest = image::sealed().during("copy the guest")?;
    serve(blueprint, &orders, template.as_mut(), &guest).during("serve the keeper")
}

/// What a nursery says when it takes orders.
pub(super) const READY: &[u8] = b"N";

fn ready<'b>(
    blueprint: &'b Blueprint,
    tasks: &[OwnedFd],
    setup: &OwnedFd,
) -> Result<Option<&'b Template>, Failure> {
    enter(tasks, setup, blueprint.identity, SANDBOX_ID)?;
    perform(&blueprint.root, blueprint.tree.as_ref())?;
    Ok(blueprint.template.as_ref())
}

fn perform(steps: &[Step], tree: Option<&OwnedFd>) -> Result<(), Failure> {
    let mut construction = Construction::new(&[], tree);
    for step in steps {
        let done = construction.perform(step);
        done.map_err(|error| Failure(step.to_string(), error))?;
    }
    Ok(())
}

fn serve(
    blueprint: &Blueprint,
    orders: &OwnedFd,
    mut template: Option<&mut Running<'_>>,
    guest: &OwnedFd,
) -> io::Result<()> {
    let children = SignalEvents::of_children()?;
    loop {
        let mut fds = [
            PollFd::new(orders, PollFlags::IN),
            PollFd::new(&children, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ordered, _] = fds.map(|fd| !fd.revents().is_empty());
        children.clear()?;
        while let Ok(Some(_)) = wait_any() {}
        if !ordered {
            continue;
        }
        let Some(message) = receive(orders.as_fd())? else {
            return Ok(());
        };
        match Order::parse(&message.bytes)? {
            Order::Make => answer(orders, &make(blueprint, message.fds, guest))?,
            Order::Warm => {
                let fds: Vec<_> = message.fds.iter().map(|fd| fd.as_fd()).collect();
                if let Some(template) = template.as_mut() {
                    // What cannot be sent closes the interpreter's socket, which its sandbox sees.
                    let _ = template.send_copy(&fds);
                }
            }
        }
    }
}

/// Makes a sandbox; it reports to the keeper by itself.
fn make(blueprint: &Blueprint, fds: Vec<OwnedFd>, guest: &OwnedFd) -> io::Result<OwnedFd> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or(io::ErrorKind::InvalidData);
    let (setup, control) = (next()?, next()?);
    let tasks: Vec<OwnedFd> = fds.collect();
    let (go, go_write) = pipe_with(PipeFlags::CLOEXEC)?;
    match clone_process(Namespaces::SESSION, None)? {
        Forked::Child => {
            drop(go_write);
            let life = || {
                let failure = become_session(blueprint, &tasks, &control, &go, guest);
                fail(&setup, &failure);
            };
            let _ = catch_unwind(AssertUnwindSafe(life));
            exit_now(1)
        }
        Forked::Parent(pid, process) => {
            map_user(pid)?;
            rustix::io::write(&go_write, b"G")?;
            Ok(process)
        }
    }
}

/// user_namespaces(7): the nursery's one user is the sandbox's one user.
fn map_user(pid: Pid) -> io::Result<()> {
    let path = |file: &str| format!("/proc/{}/{file}", pid.as_raw_nonzero());
    fs::write(path("setgroups"), "deny")?;
    fs::write(path("uid_map"), format!("{SANDBOX_ID} {SANDBOX_ID} 1"))?;
    fs::write(path("gid_map"), format!("{SANDBOX_ID} {SANDBOX_ID} 1"))
}

/// From the clone of a sandbox's first process to the guest; returns why that failed.
fn become_session(
    blueprint: &Blueprint,
    tasks: &[OwnedFd],
    control: &OwnedFd,
    go: &OwnedFd,
    guest: &OwnedFd,
) -> Failure {
    let prepare = || -> Result<(), Failure> {
        join(tasks)?;
        let mut byte = [0];
        if rustix::io::read(go, &mut byte).during("map the user")? != 1 {
            return Err(Failure("map the user".into(), Errno::PIPE.into()));
        }
        settle()?;
        bring_loopback_up().during("bring the loopback up")?;
        rustix::process::chdir(c"/").during("enter the root")?;
        perform(&blueprint.storage, None)?;
        rustix::process::chdir(c"/workspace").during("enter the workspace")?;
        rustix::process::setsid().during("make a session")?;
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .during("open /dev/null")?;
        rustix::stdio::dup2_stdin(control).during("pass the control socket")?;
        rustix::stdio::dup2_stdout(&null).during("close standard output")?;
        rustix::stdio::dup2_stderr(&null).during("close standard error")?;
        close_on_exec_from(3).during("close descriptors")?;
        // The nursery's mask must not be the guest's.
        casemate_sys::reset_signals();
        let kept = if blueprint.has_ways {
            KEPT_FOR_WAYS
        } else {
            KEPT
        };
        keep_capabilities(kept).during("keep what makes places")
    };
    let argv = [c"casemate-guest".into(), c"session".into()];
    // The same for all: nobody can change it.
    match prepare().map(|()| exec_fd(guest.as_fd(), &argv, &[])) {
        Ok(error) => Failure("execute the guest".into(), error),
        Err(failure) => failure,
    }
}

/// The template interpreter: another one when it has died.
struct Running<'b> {
    template: &'b Template,
    program: OwnedFd,
    socket: OwnedFd,
}

impl<'b> Running<'b> {
    fn start(template: &'b Template, program: OwnedFd) -> io::Result<Self> {
        let socket = start_template(template, program.try_clone()?)?;
        Ok(Self {
            template,
            program,
            socket,
        })
    }

    /// Has it send a copy of itself into a sandbox.
    fn send_copy(&mut self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match send(self.socket.as_fd(), b"W", fds) {
            Err(error) if is_gone(&error) => {
                rustix::fs::seek(&self.program, SeekFrom::Start(0))?;
                self.socket = start_template(self.template, self.program.try_clone()?)?;
                send(self.socket.as_fd(), b"W", fds)
            }
            sent => sent,
        }
    }
}

/// Whether nobody is at the other end of a socket.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected | io::ErrorKind::ConnectionReset
    )
}

/// Starts the template interpreter; returns the socket to it.
fn start_template(template: &Template, program: OwnedFd) -> io::Result<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    if fork_process()?.is_some() {
        return Ok(ours);
    }
    let become_template = || -> io::Result<io::Error> {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::process::setsid()?;
        // Its descriptors 3 and 4.
        let kept = keep_descriptors(vec![theirs, program])?;
        for fd in &kept {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        casemate_sys::reset_signals();
        drop_capabilities()?;
        Ok(exec_path(&template.path, &template.argv, &template.env))
    };
    let _ = catch_unwind(AssertUnwindSafe(become_template));
    exit_now(127)
}
