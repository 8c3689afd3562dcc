//! One attempt, as it is written in the catalogue.

use std::{collections::BTreeMap, iter, path::Path};

use casemate_model::{ControlName, Isolation, Limits, Strength, Text};
use casemate_ports::{Cell, Command, Echo, WayOut, WayPorts};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Way, expect::Expect, traps::Traps};

/// What every attempt in Python starts with.
const PRELUDE: &str = include_str!("../../tests/escape/prelude.py");

/// The interpreter of the sandbox's image, and of this host.
pub(super) const PYTHON: &str = "/usr/bin/python3";

/// The variable by which everything that an attempt starts is known afterwards.
const NONCE_VARIABLE: &str = "ESCAPE_NONCE";

/// What stands where a certificate would.
const AUTHORITY: &str = "authority of the traps";

/// The time an attempt has when it does not say, in milliseconds.
const WALL_MS: u64 = 20_000;

/// An attack, and what must come of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    pub(super) name: String,
    pub(super) requirements: Vec<String>,
    pub(super) why: String,
    pub(super) program: Program,
    /// The source, for an interpreter; what traps fill in is written `{canary_path}`.
    #[serde(default)]
    pub(super) code: String,
    /// The command, for no interpreter.
    #[serde(default)]
    pub(super) argv: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) inputs: Vec<Input>,
    /// More arguments.
    pub(super) argv_padding: Option<Padding>,
    /// More variables.
    pub(super) env_padding: Option<Padding>,
    /// Bytes of standard input that nobody asked for.
    #[serde(default)]
    pub(super) stdin_bytes: u64,
    /// What its caller does when it has printed `READY`.
    pub(super) caller: Option<Caller>,
    /// Whether its calls have ways out, which nobody serves.
    #[serde(default)]
    pub(super) way_out: bool,
    /// Whether another call runs beside it.
    #[serde(default)]
    pub(super) neighbour: bool,
    /// Where other calls are, that before, beside and after it run.
    #[serde(default)]
    pub(super) others: Others,
    /// A call after it, that finds out what it left.
    pub(super) afterwards: Option<Afterwards>,
    /// The ways in which it can be run, if not in all.
    pub(super) ways: Option<Vec<Way>>,
    /// Where less, or something else, holds for it.
    #[serde(default)]
    pub(super) differs: Vec<Differs>,
    #[serde(default = "usual_limits", deserialize_with = "limits")]
    pub(super) limits: Limits,
    pub(super) doctor: Option<String>,
    #[serde(default)]
    pub(super) expect: Expect,
    pub(super) when_partial: Option<WhenPartial>,
}

/// What runs the code.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Program {
    Python,
    Sh,
    /// Nothing: the command stands in `argv`.
    Argv,
}

/// A file for `/workspace/in`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) name: String,
    #[serde(default)]
    pub(super) text: String,
}

/// Arguments or variables that say nothing and are only large.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Padding {
    count: usize,
    bytes: usize,
}

/// What the caller of a running program does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Caller {
    /// Asks it to stop, as Ctrl-C does.
    Interrupts,
    /// Asks it to stop, as a service manager does.
    Terminates,
    /// Has it killed.
    Cancels,
    /// Goes away without a word.
    Leaves,
}

/// What holds where `control` is enforced in part only: less, or nothing that could be shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenPartial {
    control: ControlName,
    skip: Option<String>,
    #[serde(default)]
    expect: Expect,
}

/// Where the other calls of an attempt are. In an arena that has no sessions each call has its own sandbox.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Others {
    /// In sessions of their own.
    #[default]
    Elsewhere,
    /// In the same session.
    SameSession,
}

/// A call after an attempt, in Python: it must end with `exit 0`, and find nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Afterwards {
    code: String,
    #[serde(default)]
    pub(super) inputs: Vec<Input>,
    #[serde(default)]
    pub(super) expect: Expect,
}

/// What holds for an attempt that is run in one of `ways`: something else, or nothing that could be shown.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Differs {
    pub(super) ways: Vec<Way>,
    pub(super) why: String,
    expect: Option<Expect>,
}

/// What an attempt demands of a sandbox.
#[derive(Debug)]
pub(super) enum Demand<'a> {
    Expect(&'a Expect),
    /// It could show nothing there, and why.
    Nothing(String),
}

impl Attempt {
    /// The way out of each of its calls, if they have any.
    pub(super) fn way_out(&self) -> Option<WayOut> {
        self.way_out.then(|| WayOut {
            authority: AUTHORITY.to_owned(),
            ports: WayPorts::new([8443]).unwrap_or_default(),
        })
    }

    /// `theme/what_it_does`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The numbers of the requirements and invariants that it shows.
    #[must_use]
    pub fn requirements(&self) -> &[String] {
        &self.requirements
    }

    /// What must not happen, in one line.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Its row in the table of `casemate doctor`, if it belongs there.
    #[must_use]
    pub fn doctor(&self) -> Option<&str> {
        self.doctor.as_deref()
    }

    /// The ways in which it can be run.
    pub fn ways(&self) -> impl Iterator<Item = Way> {
        let possible = |way: &Way| match &self.ways {
            // What can be done once can be done so wherever a sandbox is used once.
            Some(ways) if *way == Way::Gvisor => ways.contains(&Way::Once),
            Some(ways) => ways.contains(way),
            // A context runs nothing else.
            None => self.program == Program::Python || *way != Way::Context,
        };
        Way::ALL.into_iter().filter(possible)
    }

    pub(super) fn shares_a_session(&self) -> bool {
        self.others == Others::SameSession
    }

    /// Why its program cannot run on this host, if it cannot.
    pub(super) fn cannot_run_here(&self) -> Option<String> {
        let missing = self.program == Program::Python && !Path::new(PYTHON).exists();
        missing.then(|| format!("there is no {PYTHON} on this host"))
    }

    /// Why it could show nothing if it ran in this `way`, if so.
    pub(super) fn shows_nothing(&self, way: Way) -> Option<String> {
        let differs = self.differs(way)?;
        let nothing = differs.expect.is_none();
        nothing.then(|| differs.why.clone())
    }

    fn differs(&self, way: Way) -> Option<&Differs> {
        let of = |way| {
            let mut all = self.differs.iter();
            all.find(|differs: &&Differs| differs.ways.contains(&way))
        };
        match way {
            Way::Gvisor => of(Way::Gvisor).or_else(|| of(Way::Once)),
            _ => of(way),
        }
    }

    /// What it demands, run in this `way`, of a sandbox with this `isolation`; of none, what it demands of any.
    pub(super) fn demand(&self, way: Way, isolation: Option<&Isolation>) -> Demand<'_> {
        let weak = |weaker: &&WhenPartial| {
            isolation.is_some_and(|facts| facts.strength(weaker.control) != Strength::Enforced)
        };
        let usual = || {
            let other = self
                .differs(way)
                .and_then(|differs| differs.expect.as_ref());
            Demand::Expect(other.unwrap_or(&self.expect))
        };
        match self.when_partial.as_ref().filter(weak) {
            None => usual(),
            Some(WhenPartial {
                skip: None, expect, ..
            }) => Demand::Expect(expect),
            Some(WhenPartial {
                skip: Some(why),
                control,
                ..
            }) => Demand::Nothing(format!("{control} is not fully enforced: {why}")),
        }
    }

    pub(super) fn command(&self, way: Way, traps: &Traps) -> Command {
        let fill = |text: &str| in_way(&traps.fill(text), way);
        let mut command = match self.program {
            Program::Python => python(&fill(&with_prelude(&self.code)), traps.nonce(), way),
            Program::Sh => program(&["/bin/sh", "-c", &fill(&self.code), traps.nonce()]),
            Program::Argv => Command {
                argv: self.argv.iter().map(|word| fill(word).into()).collect(),
                ..Command::default()
            },
        };
        command.argv.extend(Padding::texts(self.argv_padding));
        let declared = self.env.iter();
        let declared = declared.map(|(name, value)| (name.clone(), fill(value).into()));
        let padded = Padding::texts(self.env_padding).enumerate();
        let padded = padded.map(|(index, text)| (format!("PADDING_{index}"), text));
        command.env = declared.chain(padded).collect();
        command
            .env
            .insert(NONCE_VARIABLE.into(), traps.nonce().into());
        command
    }
}

impl Afterwards {
    pub(super) fn command(&self, way: Way, traps: &Traps) -> Command {
        let code = in_way(&traps.fill(&with_prelude(&self.code)), way);
        let mut command = python(&code, traps.nonce(), way);
        command
            .env
            .insert(NONCE_VARIABLE.into(), traps.nonce().into());
        command
    }
}

/// `text` with the way in which it runs, written `{way}`.
fn in_way(text: &str, way: Way) -> String {
    text.replace("{way}", &way.to_string())
}

fn with_prelude(code: &str) -> String {
    format!("{PRELUDE}\n{code}")
}

/// Python source with one argument, as it is run in this `way`.
pub(super) fn python(code: &str, argument: &str, way: Way) -> Command {
    if !way.has_cells() {
        return program(&[PYTHON, "-I", "-S", "-c", code, argument]);
    }
    Command {
        argv: vec!["<cell>".into(), argument.into()],
        cell: Some(Cell {
            source: code.into(),
            echo: Echo::Nothing,
        }),
        ..Command::default()
    }
}

fn program(words: &[&str]) -> Command {
    Command {
        argv: words.iter().copied().map(Text::from).collect(),
        ..Command::default()
    }
}

impl Padding {
    fn texts(padding: Option<Self>) -> impl Iterator<Item = Text> {
        let (count, bytes) = padding.map_or((0, 0), |padding| (padding.count, padding.bytes));
        iter::repeat_with(move || "x".repeat(bytes).into()).take(count)
    }
}

fn usual_limits() -> Limits {
    Limits {
        wall_ms: WALL_MS,
        ..Limits::default()
    }
}

/// The usual limits, with those that are named in their place.
fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let mut table = toml::Table::try_from(usual_limits()).map_err(D::Error::custom)?;
    table.extend(toml::Table::deserialize(deserializer)?);
    table.try_into().map_err(D::Error::custom)
}
