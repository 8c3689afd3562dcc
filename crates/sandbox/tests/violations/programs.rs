//! The programs, as data.

use std::fmt::Write as _;

use serde::Deserialize;

/// How a hostile program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// Its sandbox is destroyed.
    Violation,
    /// It is refused what it tries, and goes on.
    Refused,
}

/// A hostile program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hostile {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) end: End,
    /// Why nobody sees it in the tier `gvisor`, if so.
    pub(crate) unseen_in_gvisor: Option<String>,
    /// For the scanner's own test.
    #[serde(rename = "finding")]
    _finding: Vec<String>,
    code: String,
}

#[derive(Deserialize)]
struct Catalogue {
    #[serde(rename = "requirements")]
    _requirements: Vec<String>,
    program: Vec<Hostile>,
}

/// What a program says that was not stopped.
pub(crate) const GOES_ON: &str = "still here";

/// What starts with this is what a program got that it should not have.
pub(crate) const SUCCEEDED: &str = "succeeded:";

impl Hostile {
    /// One program that does what all of these do, each in a process of its own, whatever becomes of the others.
    pub(crate) fn all_in_one(programs: &[Self]) -> String {
        let codes: Vec<_> = programs.iter().map(|one| (&one.name, &one.code)).collect();
        let codes = serde_json::to_string(&codes).unwrap();
        format!(
            r#"{}
import json
for name, code in json.loads({codes:?}):
    print("name:", name, flush=True)
    if os.fork() == 0:
        exec(code)
        os._exit(0)
    os.wait()
"#,
            prelude()
        )
    }

    /// All of it, as it is submitted.
    pub(crate) fn source(&self) -> String {
        format!(
            "{}{}\nprint({GOES_ON:?}, flush=True)\n",
            prelude(),
            self.code
        )
    }
}

fn prelude() -> String {
    let mut numbers = String::from("{");
    for call in syscalls::Sysno::iter() {
        write!(numbers, "'{}': {}, ", call.name(), call.id()).unwrap();
    }
    numbers.push('}');
    include_str!("prelude.py").replace("{numbers}", &numbers)
}

/// Every hostile program.
pub(crate) fn hostile() -> Vec<Hostile> {
    let catalogue: Catalogue = toml::from_str(include_str!("hostile.toml")).unwrap();
    assert!(catalogue.program.len() >= 80, "a catalogue of at least 80");
    catalogue.program
}

/// What runs an ordinary program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Python,
    Shell,
    Gcc,
    Git,
    Node,
}

/// An ordinary program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ordinary {
    pub(crate) kind: Kind,
    pub(crate) code: String,
    /// With what it ends.
    #[serde(default)]
    pub(crate) exit: u8,
}

/// With what a program ends for which this host has no module.
pub(crate) const NO_MODULE: u8 = 77;

/// Every ordinary program.
pub(crate) fn ordinary() -> Vec<Ordinary> {
    #[derive(Deserialize)]
    struct Catalogue {
        modules: String,
        program: Vec<Ordinary>,
    }
    let catalogue: Catalogue = toml::from_str(include_str!("ordinary.toml")).unwrap();
    let help = |name: &str| Ordinary {
        kind: Kind::Python,
        code: format!(
            "import importlib, pydoc\ntry:\n    module = importlib.import_module({name:?})\n\
             except ModuleNotFoundError:\n    raise SystemExit({NO_MODULE})\npydoc.render_doc(module)\n"
        ),
        exit: 0,
    };
    let modules = catalogue.modules.split_whitespace().map(help);
    let all: Vec<_> = modules.chain(catalogue.program).collect();
    assert!(all.len() >= 300, "300 ordinary programs");
    all
}
