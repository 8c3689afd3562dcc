//! Secrets of tests, and the search for them in whatever a test leaves, in every spelling in which `casemate-scrub` knows them.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    env, fs,
    io::Write as _,
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process, slice,
};

use base64::Engine as _;

/// Where `cargo xtask test` hears of what was looked for: it looks again when everything has ended.
const REPORTS: &str = "CASEMATE_CANARIES";

thread_local! {
    /// The secrets of this test, which makes them in its own thread: in `cargo test` others have theirs in the same process.
    static WATCHED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A secret of this run, which nobody could guess, and which begins with what a program in a sandbox may look for. From now on it
/// is looked for.
pub(crate) fn fresh() -> String {
    let letters: String = (0..32).map(|_| fastrand::alphanumeric()).collect();
    let secret = format!("canary-{letters}");
    watch(&secret);
    secret
}

/// From now on this is looked for, which somebody else made.
pub(crate) fn watch(secret: &str) {
    assert!(secret.len() >= 16, "what is short is found by chance");
    WATCHED.with_borrow_mut(|watched| watched.push(secret.to_owned()));
}

/// How a secret could be spelled. Base64 begins at any of three places of a longer text.
pub(crate) fn spellings(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let each = |spell: fn(&u8) -> String| bytes.iter().map(spell).collect::<String>();
    let mut all = vec![
        secret.to_owned(),
        secret.chars().rev().collect(),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("{byte:02X}")),
        each(|byte| format!("%{byte:02X}")),
        each(|byte| format!("%{byte:02x}")),
        each(|byte| format!("\\u{byte:04x}")),
        each(|byte| format!("\\x{byte:02x}")),
        each(|byte| format!("&#{byte};")),
        each(|byte| format!("&#x{byte:x};")),
        // UTF-16, as some programs keep text.
        each(|byte| format!("{}\0", char::from(*byte))),
    ];
    for (before, cut) in [(0, 0), (1, 2), (2, 3)] {
        let longer = [&[0; 2][..before], bytes].concat();
        for engine in [
            base64::engine::general_purpose::STANDARD_NO_PAD,
            base64::engine::general_purpose::URL_SAFE_NO_PAD,
        ] {
            let text = engine.encode(&longer);
            // Its ends depend on what is beside it.
            let whole = text.chars().take(longer.len() * 4 / 3);
            all.push(whole.skip(cut).collect());
        }
    }
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

/// What was looked at, and where a secret was.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) files: usize,
    pub(crate) found: Vec<PathBuf>,
}

impl Swept {
    fn look(&mut self, path: &Path, wanted: &[Vec<u8>]) {
        // What went meanwhile, and what is another user's process, cannot be read.
        let Ok(bytes) = fs::read(path) else {
            return;
        };
        self.files += 1;
        let has = |spelling: &Vec<u8>| memchr::memmem::find(&bytes, spelling).is_some();
        if wanted.iter().any(has) {
            self.found.push(path.to_owned());
        }
    }
}

fn wanted() -> Vec<Vec<u8>> {
    let watched = WATCHED.with_borrow(Vec::clone);
    watched
        .iter()
        .flat_map(|secret| spellings(secret))
        .collect()
}

/// Looks for all secrets in all files below `place`.
pub(crate) fn sweep(place: &Path) -> Swept {
    let (mut swept, wanted) = (Swept::default(), wanted());
    let mut open = vec![place.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                swept.look(&entry.path(), &wanted);
            }
            let named = |spelling: &Vec<u8>| {
                memchr::memmem::find(name.as_encoded_bytes(), spelling).is_some()
            };
            if wanted.iter().any(named) {
                swept.found.push(entry.path());
            }
        }
    }
    swept
}

/// Looks for all secrets in the words and the environment of every `casemate`, and of what they started.
pub(crate) fn sweep_processes() -> Swept {
    let processes: Vec<(String, String, bool)> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let parent = status
                .lines()
                .find_map(|line| line.strip_prefix("PPid:\t"))?;
            let words = fs::read(entry.path().join("cmdline")).ok()?;
            let is_ours = memchr::memmem::find(&words, b"casemate").is_some();
            Some((
                entry.file_name().into_string().ok()?,
                parent.to_owned(),
                is_ours,
            ))
        })
        .collect();
    let ours = processes.iter().filter(|(.., is_ours)| *is_ours);
    let mut family: BTreeSet<&str> = ours.map(|(process, ..)| process.as_str()).collect();
    let mut known = 0;
    while known < family.len() {
        known = family.len();
        let children = processes
            .iter()
            .filter(|(_, parent, _)| family.contains(parent.as_str()));
        let children: Vec<_> = children.map(|(process, ..)| process.as_str()).collect();
        family.extend(children);
    }
    let (mut swept, wanted) = (Swept::default(), wanted());
    for process in family {
        for file in ["cmdline", "environ"] {
            swept.look(&Path::new("/proc").join(process).join(file), &wanted);
        }
    }
    swept
}

/// Looks for all secrets in what is left of a home, and reports what was looked for and how much was looked at. Nothing may be
/// found.
pub(crate) fn leave(home: &Path) {
    let watched = WATCHED.with_borrow(Vec::clone);
    if watched.is_empty() {
        return;
    }
    let swept = sweep(home);
    if let Some(reports) = env::var_os(REPORTS) {
        let mut report = format!("files {}\n", swept.files);
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        for secret in &watched {
            report += &format!("secret {}\n", hex(secret.as_bytes()));
        }
        for spelling in wanted() {
            report += &format!("spelling {}\n", hex(&spelling));
        }
        let name = format!("{}-{}", process::id(), fastrand::u64(..));
        let file = fs::OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(Path::new(&reports).join(name));
        file.unwrap().write_all(report.as_bytes()).unwrap();
    }
    if !std::thread::panicking() {
        assert_eq!(swept.found, [""; 0].map(PathBuf::from), "a secret is left");
    }
}

/// I2: what looks for secrets finds each spelling of one, in files and in names, and a home in which there is one is not left.
#[test]
fn a_secret_that_is_left_is_found() {
    let home = crate::home::Home::new();
    let secret = fresh();
    let found = || sweep(&home.path("")).found;
    assert_eq!(found(), [""; 0].map(PathBuf::from));
    let all = spellings(&secret);
    assert!(all.len() > 12);
    for spelling in &all {
        let text = [b"some ", &spelling[..], b" more"].concat();
        let path = home.write("kept", &text);
        assert_eq!(found(), slice::from_ref(&path));
        fs::remove_file(path).unwrap();
    }
    let engine = base64::engine::general_purpose::STANDARD;
    for before in ["", "a", "ab", "abc"] {
        let path = home.write("kept", engine.encode(format!("{before}{secret} more")));
        assert_eq!(found(), slice::from_ref(&path), "{before}");
        fs::remove_file(path).unwrap();
    }
    let path = home.write(format!("named-{secret}"), "");
    assert_eq!(found(), slice::from_ref(&path));
    fs::remove_file(path).unwrap();

    // A process that was told it.
    let telling = process::Command::new("sleep")
        .arg0("casemate that sleeps")
        .arg("60")
        .env("TOLD", &secret)
        .spawn();
    let mut telling = telling.unwrap();
    let environ = format!("/proc/{}/environ", telling.id());
    // It is known to have begun before it has its words.
    while fs::read(&environ).unwrap().is_empty() {
        std::thread::yield_now();
    }
    let swept = sweep_processes();
    telling.kill().unwrap();
    telling.wait().unwrap();
    assert!(swept.found.contains(&environ.into()), "{swept:?}");

    let path = home.write("kept", &secret);
    let left = std::panic::catch_unwind(|| leave(&home.path("")));
    assert!(left.is_err());
    fs::remove_file(path).unwrap();
}

/// Tests are threads of one process with `cargo test`: each looks for what it made itself, wherever others are with theirs.
#[test]
fn a_secret_of_another_test_is_its_own() {
    let home = crate::home::Home::new();
    let (ours, theirs) = (fresh(), std::thread::spawn(fresh).join().unwrap());
    home.write("theirs", &theirs);
    let path = home.write("ours", &ours);
    assert_eq!(sweep(&home.path("")).found, slice::from_ref(&path));
    fs::remove_file(path).unwrap();
}
