//! Honey files: what looks like credentials and is there for nobody, so that whoever opens one shows what he is looking for.
//!
//! They are in a tmpfs of each sandbox's own, at `/root`; elsewhere are links to it. The keeper is told of every opening by
//! inotify, through whatever name or mount it was reached. inotify does not say who it was.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ffi::{CString, NulError},
    io::{self, Write as _},
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
    rc::Rc,
};

use casemate_model::Response;
use casemate_sys::SlowFd;
use rustix::{
    fs::{
        CWD, Mode, OFlags,
        inotify::{self, CreateFlags, ReadFlags, WatchFlags},
        openat,
    },
    io::Errno,
    process::Pid,
};
use tokio::{io::unix::AsyncFd, sync::Notify};

use crate::{plan::Step, watch::watch};

/// Where they are.
const HOME: &str = "root";

/// All of them together are smaller.
const SIZE: &str = "size=64k,nr_inodes=64,mode=0755";

/// The most that is read in one go: as many events as the kernel keeps and that it keeps no more, unless it was told to.
const MAX_READS: usize = 65;

/// A honey file.
#[derive(Debug)]
struct Bait {
    /// The name by which programs look for it.
    name: &'static str,
    /// Where it is below [`HOME`].
    path: &'static str,
    content: &'static str,
}

const DECOY: &str = "# A decoy. Opening this file was seen, and is on record.\n";

const BAITS: &[Bait] = &[
    Bait {
        name: "/etc/shadow",
        path: ".shadow",
        content: "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n",
    },
    Bait {
        name: "/run/secrets/kubernetes.io/serviceaccount/token",
        path: ".secrets/kubernetes.io/serviceaccount/token",
        content: DECOY,
    },
    Bait {
        name: "/root/.aws/credentials",
        path: ".aws/credentials",
        content: DECOY,
    },
    Bait {
        name: "/root/.azure/msal_token_cache.json",
        path: ".azure/msal_token_cache.json",
        content: "{}\n",
    },
    Bait {
        name: "/root/.config/gcloud/application_default_credentials.json",
        path: ".config/gcloud/application_default_credentials.json",
        content: "{}\n",
    },
    Bait {
        name: "/root/.docker/config.json",
        path: ".docker/config.json",
        content: "{}\n",
    },
    Bait {
        name: "/root/.kube/config",
        path: ".kube/config",
        content: DECOY,
    },
    Bait {
        name: "/root/.ssh/id_ed25519",
        path: ".ssh/id_ed25519",
        content: DECOY,
    },
];

/// What of them is in the root that sandboxes share.
pub(crate) fn names(steps: &mut Vec<Step>) -> Result<(), NulError> {
    steps.push(Step::Directory(CString::new(HOME)?, 0o755));
    for (target, path) in [
        ("/root/.shadow", "etc/shadow"),
        ("/root/.secrets", "run/secrets"),
    ] {
        steps.push(Step::Link(CString::new(target)?, CString::new(path)?));
    }
    Ok(())
}

/// What each sandbox has of its own.
pub(crate) fn files(steps: &mut Vec<Step>) -> Result<(), NulError> {
    steps.push(Step::Tmpfs(CString::new(HOME)?, CString::new(SIZE)?));
    let mut made: Vec<&Path> = Vec::new();
    for bait in BAITS {
        let path = Path::new(bait.path);
        let mut above: Vec<_> = path.ancestors().skip(1).collect();
        above.reverse();
        for directory in above {
            if directory != Path::new("") && !made.contains(&directory) {
                made.push(directory);
                let path = format!("{HOME}/{}", directory.display());
                steps.push(Step::Directory(CString::new(path)?, 0o755));
            }
        }
        steps.push(Step::File(
            CString::new(format!("{HOME}/{}", bait.path))?,
            bait.content.as_bytes().into(),
        ));
    }
    steps.push(Step::Seal(CString::new(HOME)?));
    Ok(())
}

/// Hears of every honey file that is opened, in whichever sandbox.
#[derive(Debug)]
pub(crate) struct Lookout {
    /// By what somebody shows that he looks for it.
    sign: WatchFlags,
    inotify: AsyncFd<SlowFd>,
    watches: RefCell<Watches>,
    /// Whoever hears something tells all: it may be of others.
    heard: Notify,
}

#[derive(Debug, Default)]
struct Watches {
    next: u64,
    /// By the kernel's number of a watch: in which sandbox it is, and which file.
    files: HashMap<i32, (u64, &'static Bait)>,
    /// By sandbox, where opening a file is not its end: where they are, to watch them again.
    homes: HashMap<u64, OwnedFd>,
    /// What was opened and nobody has taken note of, by sandbox.
    opened: HashMap<u64, BTreeMap<&'static str, u64>>,
}

impl Lookout {
    pub(crate) fn new() -> io::Result<Rc<Self>> {
        Self::for_sign(WatchFlags::OPEN)
    }

    /// The same under gVisor, which opens files whenever they are looked at: they count when they are read.
    pub(crate) fn under_gvisor() -> io::Result<Rc<Self>> {
        Self::for_sign(WatchFlags::ACCESS)
    }

    fn for_sign(sign: WatchFlags) -> io::Result<Rc<Self>> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Rc::new(Self {
            sign,
            inotify: watch(SlowFd::from(inotify))?,
            watches: RefCell::default(),
            heard: Notify::new(),
        }))
    }

    /// Watches the honey files of the sandbox whose first process this is. Nothing of a tool may have run there: the way to
    /// them is that process's own root.
    pub(crate) fn over(self: &Rc<Self>, first: Pid, response: Response) -> io::Result<Honey> {
        let path = format!("/proc/{}/root/{HOME}", first.as_raw_nonzero());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.watch(openat(CWD, path, flags, Mode::empty())?, response)
    }

    /// Watches those in `home`.
    fn watch(self: &Rc<Self>, home: OwnedFd, response: Response) -> io::Result<Honey> {
        let sandbox = {
            let mut watches = self.watches.borrow_mut();
            watches.next += 1;
            watches.next
        };
        let honey = Honey {
            lookout: Rc::clone(self),
            sandbox,
        };
        let mut watches = self.watches.borrow_mut();
        for bait in BAITS {
            let number = self.arm(&home, bait)?;
            watches.files.insert(number, (sandbox, bait));
        }
        if response == Response::Record {
            watches.homes.insert(sandbox, home);
        }
        drop(watches);
        Ok(honey)
    }

    /// Watches a file until it is opened once: all sandboxes share the events that the kernel keeps, and none may have many.
    fn arm(&self, home: &OwnedFd, bait: &Bait) -> io::Result<i32> {
        let path = format!("/proc/self/fd/{}/{}", home.as_raw_fd(), bait.path);
        let once = self.sign | WatchFlags::ONESHOT;
        Ok(inotify::add_watch(self.inotify.get_ref(), path, once)?)
    }

    /// Takes note of what the kernel has told. Whether that is all.
    fn hear(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(self.inotify.get_ref().as_fd(), &mut buffer);
        let mut watches = self.watches.borrow_mut();
        let mut reads = 0;
        loop {
            if events.is_buffer_empty() {
                // Whoever opens files as fast as they are heard of must not keep the others waiting.
                if reads == MAX_READS {
                    return Ok(false);
                }
                reads += 1;
            }
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                // It could have been any of them: nobody is charged with it.
                say("more of them were opened at once than the kernel keeps");
                continue;
            }
            let Some(&(sandbox, bait)) = watches.files.get(&event.wd()) else {
                continue;
            };
            if event
                .events()
                .intersects(ReadFlags::OPEN | ReadFlags::ACCESS)
            {
                let opened = watches.opened.entry(sandbox).or_default();
                *opened.entry(bait.name).or_default() += 1;
                self.heard.notify_waiters();
            }
            if event.events().contains(ReadFlags::IGNORED) {
                // It was opened, or is gone with its sandbox.
                watches.files.remove(&event.wd());
                let again = watches.homes.get(&sandbox).map(|home| self.arm(home, bait));
                match again {
                    Some(Ok(number)) => _ = watches.files.insert(number, (sandbox, bait)),
                    Some(Err(error)) => say(&format!("one is not watched again: {error}")),
                    None => {}
                }
            }
        }
    }
}

/// Tells the operator.
fn say(text: &str) {
    drop(writeln!(io::stderr(), "casemate: honey files: {text}"));
}

/// The honey files of one sandbox.
#[derive(Debug)]
pub(crate) struct Honey {
    lookout: Rc<Lookout>,
    sandbox: u64,
}

impl Honey {
    /// Waits until some were opened: which, and how often since the last time.
    pub(crate) async fn opened(&self) -> io::Result<Vec<(&'static str, u64)>> {
        loop {
            let heard = self.lookout.heard.notified();
            let opened = self.opened_now()?;
            if !opened.is_empty() {
                return Ok(opened);
            }
            tokio::select! {
                ready = self.lookout.inotify.readable() => {
                    let mut ready = ready?;
                    if self.lookout.hear()? {
                        ready.clear_ready();
                    }
                }
                () = heard => {}
            }
        }
    }

    /// Those that were opened by now.
    pub(crate) fn opened_now(&self) -> io::Result<Vec<(&'static str, u64)>> {
        self.lookout.hear()?;
        let opened = self
            .lookout
            .watches
            .borrow_mut()
            .opened
            .remove(&self.sandbox);
        Ok(opened.into_iter().flatten().collect())
    }
}

impl Drop for Honey {
    fn drop(&mut self) {
        let mut watches = self.lookout.watches.borrow_mut();
        watches.opened.remove(&self.sandbox);
        watches.homes.remove(&self.sandbox);
        let inotify = self.lookout.inotify.get_ref();
        watches.files.retain(|number, (sandbox, _)| {
            let own = *sandbox == self.sandbox;
            if own {
                // One whose file is gone is gone.
                let _ = inotify::remove_watch(inotify, *number);
            }
            !own
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use tempfile::TempDir;

    use super::*;

    fn bait() -> TempDir {
        let home = TempDir::new().unwrap();
        for bait in BAITS {
            let path = home.path().join(bait.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bait.content).unwrap();
        }
        home
    }

    fn over(lookout: &Rc<Lookout>, home: &TempDir, response: Response) -> Honey {
        let home = File::open(home.path()).unwrap();
        lookout.watch(home.into(), response).unwrap()
    }

    fn open(home: &TempDir, baits: &[Bait]) {
        for bait in baits {
            File::open(home.path().join(bait.path)).unwrap();
        }
    }

    /// R209, I10: one who opens more than the kernel keeps neither hides what another opens nor is it charged to others.
    #[tokio::test]
    async fn one_sandbox_cannot_fill_the_queue_of_all() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        for response in [Response::Kill, Response::Record] {
            let lookout = Lookout::new().unwrap();
            let homes = [bait(), bait(), bait()];
            let [loud, thief, quiet] = homes.each_ref();
            let [of_loud, of_thief, of_quiet] =
                homes.each_ref().map(|home| over(&lookout, home, response));
            // By turns: the kernel takes the same one twice for one event.
            for _ in 0..=most / 2 {
                open(loud, &BAITS[..2]);
            }
            open(thief, &BAITS[2..3]);
            let of = |honey: &Honey| honey.opened_now().unwrap();
            assert_eq!(of(&of_loud), [(BAITS[0].name, 1), (BAITS[1].name, 1)]);
            assert_eq!(of(&of_thief), [(BAITS[2].name, 1)]);
            assert_eq!(of(&of_quiet), [], "{quiet:?}");
        }
    }

    /// What is only recorded is heard of each time that somebody has looked in between.
    #[tokio::test]
    async fn what_is_recorded_is_watched_again() {
        let lookout = Lookout::new().unwrap();
        let home = bait();
        let honey = over(&lookout, &home, Response::Record);
        for _ in 0..3 {
            open(&home, BAITS);
            assert_eq!(honey.opened_now().unwrap().len(), BAITS.len());
        }
        drop(honey);
        lookout.hear().unwrap();
        let watches = lookout.watches.borrow();
        assert!(watches.files.is_empty() && watches.homes.is_empty());
    }
}
