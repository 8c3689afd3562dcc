//! A call as a request asks for it.

use std::collections::BTreeMap;

use casemate_gateway::{Ask, Code, Demand, Key};
use casemate_model::{ContextId, Limits, RunMode, SessionId, Text, Trigger, Within};
use casemate_policy::Profile;
use casemate_ports::{Cell, Command, Echo, InputFile, TerminalSize};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    limits::MAX_CODE_BYTES,
    openapi::{ContextName, RunModeWord, SessionName, TextShape, TriggerWord},
    owner::local,
    problem::Problem,
};

/// Where a sandbox has its input files.
const INPUTS: &str = "/workspace/in/";

/// A call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallRequest {
    #[serde(default = "local")]
    agent: String,
    route: Option<String>,
    thread: Option<String>,
    #[schemars(with = "Option<SessionName>")]
    session: Option<SessionId>,
    #[schemars(with = "Option<ContextName>")]
    context: Option<ContextId>,
    /// Whether a cell runs in the interpreter of its thread or session, whatever the profile's mode is.
    #[serde(skip)]
    pub(crate) interpreter: bool,
    tool: Tool,
    #[schemars(with = "Option<TextShape>")]
    code: Option<Text>,
    #[schemars(with = "Option<Vec<TextShape>>")]
    argv: Option<Vec<Text>>,
    #[serde(default)]
    #[schemars(with = "Vec<TextShape>")]
    args: Vec<Text>,
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, TextShape>")]
    env: BTreeMap<String, Text>,
    #[schemars(with = "Option<TextShape>")]
    pub(crate) stdin: Option<Text>,
    #[serde(default)]
    files: Vec<FileRequest>,
    terminal: Option<Size>,
    #[serde(default)]
    #[schemars(with = "LimitsRequest")]
    limits: LimitsRequest,
    timeout_ms: Option<u64>,
    mode: Option<Mode>,
    idempotency_key: Option<String>,
    trace_id: Option<String>,
    #[schemars(with = "Option<RunModeWord>")]
    run_mode: Option<RunMode>,
    #[schemars(with = "Option<TriggerWord>")]
    trigger: Option<Trigger>,
    /// Whether its standard input stays open, for whoever attaches to it. With `wait: false`.
    #[serde(default)]
    pub(crate) attach: bool,
    /// Whether the answer comes when the call has ended.
    #[serde(default = "yes")]
    pub(crate) wait: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Tool {
    Python,
    Bash,
    Shell,
}

/// How Python code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// As a cell of a notebook, in the session's interpreter.
    Cell,
    /// As a program of its own.
    Script,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FileRequest {
    #[schemars(with = "TextShape")]
    name: Text,
    #[schemars(with = "TextShape")]
    content: Text,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    pub(crate) rows: u16,
    pub(crate) columns: u16,
}

impl From<Size> for TerminalSize {
    fn from(size: Size) -> Self {
        Self {
            rows: size.rows,
            columns: size.columns,
        }
    }
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LimitsRequest {
    wall_ms: Option<u64>,
    cpu_milli: Option<u64>,
    memory_bytes: Option<u64>,
    processes: Option<u64>,
    open_files: Option<u64>,
    file_bytes: Option<u64>,
    disk_bytes: Option<u64>,
    disk_files: Option<u64>,
    output_bytes: Option<u64>,
}

impl LimitsRequest {
    /// What a call gets that asks for nothing, but for what this one asks.
    fn over(&self, given: Limits) -> Limits {
        Limits {
            wall_ms: self.wall_ms.unwrap_or(given.wall_ms),
            cpu_milli: self.cpu_milli.unwrap_or(given.cpu_milli),
            memory_bytes: self.memory_bytes.unwrap_or(given.memory_bytes),
            processes: self.processes.unwrap_or(given.processes),
            open_files: self.open_files.unwrap_or(given.open_files),
            file_bytes: self.file_bytes.unwrap_or(given.file_bytes),
            disk_bytes: self.disk_bytes.unwrap_or(given.disk_bytes),
            disk_files: self.disk_files.unwrap_or(given.disk_files),
            output_bytes: self.output_bytes.unwrap_or(given.output_bytes),
        }
    }
}

/// A request, ready to become a call.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) inputs: Vec<InputFile>,
    pub(crate) route: Option<String>,
    pub(crate) demand: Demand,
}

/// What runs.
struct Program {
    argv: Vec<Text>,
    cell: Option<Cell>,
    code: Option<Code>,
    /// The name and the source of the script that is an input file.
    script: Option<(Text, Vec<u8>)>,
}

impl CallRequest {
    /// Puts the request into the form that the gateway takes, under the profile of its route if there is one.
    pub(crate) fn into_request(self, profile: Option<&Profile>) -> Result<Request, Problem> {
        let (program, within) = (self.program()?, self.within());
        let mut inputs = Vec::new();
        let scripts = program.script.into_iter();
        let files = self.files.into_iter();
        let files = files.map(|file| (file.name, file.content.as_bytes().to_vec()));
        for (name, content) in scripts.chain(files) {
            if inputs.iter().any(|input: &InputFile| input.name == name) {
                return Err(Problem::invalid(format!("two files are called `{name}`")));
            }
            let shown = name.clone();
            let input = InputFile::in_memory(name, &content)
                .map_err(|error| Problem::failed(format!("cannot keep `{shown}`: {error}")))?;
            inputs.push(input);
        }
        let ceiling = profile.map(|profile| profile.sandbox.limits);
        let standard = Limits::default();
        let given = ceiling.map_or(standard, |ceiling| standard.at_most(&ceiling));
        let mut limits = self.limits.over(given);
        limits.wall_ms = self.timeout_ms.unwrap_or(limits.wall_ms);
        let ask = Ask {
            agent: self.agent,
            tool: match self.tool {
                Tool::Python => "python",
                Tool::Bash | Tool::Shell => "shell",
            }
            .to_owned(),
            command: Command {
                argv: program.argv,
                env: self.env,
                cell: program.cell,
                terminal: self.terminal.map(TerminalSize::from),
            },
            code: program.code,
            limits,
            within: (within != Within::default()).then_some(within),
            destination: None,
            key: self.idempotency_key.map_or(Key::Own, Key::Given),
            trace_id: self.trace_id,
        };
        Ok(Request {
            ask,
            inputs,
            route: self.route,
            demand: Demand {
                trigger: self.trigger.unwrap_or(Trigger::Interactive),
                mode: self.run_mode,
                has_stdin: self.stdin.is_some() || self.attach,
            },
        })
    }

    pub(crate) fn agent(&self) -> &str {
        &self.agent
    }

    /// Where it is to run.
    pub(crate) fn within(&self) -> Within {
        Within {
            thread: self.thread.clone(),
            session: self.session,
            context: self.context,
            interpreter: self.interpreter,
        }
    }

    pub(crate) fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }

    fn program(&self) -> Result<Program, Problem> {
        let code = match (&self.code, &self.argv) {
            (Some(code), None) => code.as_bytes().to_vec(),
            (None, Some(_)) if self.tool == Tool::Python => {
                return Err(Problem::invalid(
                    "the tool `python` takes `code`: a program of the sandbox, with `argv`, is for `shell`",
                ));
            }
            (None, Some(argv)) => {
                return Ok(Program {
                    argv: argv.iter().chain(&self.args).cloned().collect(),
                    cell: None,
                    code: None,
                    script: None,
                });
            }
            _ => return Err(Problem::invalid("a call has either `code` or `argv`")),
        };
        if code.len() > MAX_CODE_BYTES {
            let mib = MAX_CODE_BYTES >> 20;
            return Err(Problem::invalid(format!("`code` has more than {mib} MiB")));
        }
        match (self.tool, self.mode) {
            (Tool::Python, None | Some(Mode::Cell)) => Ok(self.cell(code)),
            (Tool::Python, Some(Mode::Script)) => Ok(self.script(code, "python3", "program.py")),
            (Tool::Bash | Tool::Shell, None | Some(Mode::Script)) => {
                Ok(self.script(code, "bash", "program.sh"))
            }
            (Tool::Bash | Tool::Shell, Some(Mode::Cell)) => {
                Err(Problem::invalid("only Python has cells"))
            }
        }
    }

    fn cell(&self, source: Vec<u8>) -> Program {
        // As `python3 -c` has it.
        let argv = [Text::from("-c")].into_iter().chain(self.args.clone());
        Program {
            argv: argv.collect(),
            code: Some(Code {
                input: None,
                source: source.clone(),
            }),
            cell: Some(Cell {
                source,
                echo: Echo::Last,
            }),
            script: None,
        }
    }

    fn script(&self, source: Vec<u8>, interpreter: &str, name: &str) -> Program {
        let path = Text::from(format!("{INPUTS}{name}"));
        let argv = [interpreter.into(), path].into_iter();
        Program {
            argv: argv.chain(self.args.clone()).collect(),
            cell: None,
            code: Some(Code {
                input: Some(name.into()),
                source: source.clone(),
            }),
            script: Some((name.into(), source)),
        }
    }
}
