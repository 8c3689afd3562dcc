//! What to run: read and opened before anything happens.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Seek as _},
    path::Path,
};

use anyhow::{Context as _, anyhow, bail};
use casemate_gateway::Code;
use casemate_model::Text;
use casemate_ports::InputFile;
use rustix::fs::{Mode, OFlags, open};

use crate::cli::{Form, Language, RunArgs};

/// The longest script, in bytes.
const MAX_SCRIPT_BYTES: u64 = 16 << 20;

/// Where the sandbox has its input files.
const INPUTS: &str = "/workspace/in/";

/// A program and its files.
#[derive(Debug)]
pub(crate) struct Program {
    /// The tool that runs it.
    pub(crate) tool: &'static str,
    /// The command and its arguments.
    pub(crate) argv: Vec<Text>,
    /// The script, if it is one.
    pub(crate) code: Option<Code>,
    /// Every input file, the script too.
    pub(crate) inputs: Vec<InputFile>,
    /// Whose standard input ours is.
    pub(crate) stdin: StdinUse,
}

/// Whose standard input ours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StdinUse {
    /// The program's.
    Program,
    /// It was the program.
    Script,
}

/// A script before it is an input file.
struct Script {
    name: Text,
    source: Vec<u8>,
    file: File,
    language: Language,
    stdin: StdinUse,
}

impl Program {
    /// Reads and opens everything that the command line names.
    ///
    /// # Errors
    /// When something of it cannot be used.
    pub(crate) fn read(args: &RunArgs) -> anyhow::Result<Self> {
        let mut program = match (args.form, args.program.split_first()) {
            (Form::Script, Some((script, arguments))) if script == "-" => {
                Self::script(Script::from_stdin(args.language)?, arguments)
            }
            (Form::Script, Some((script, arguments))) => {
                Self::script(Script::from_file(script, args.language)?, arguments)
            }
            _ if args.language.is_some() => bail!("--language is for a script, not for a command"),
            _ => Self::command(&args.program),
        };
        for path in &args.files {
            program.add(path)?;
        }
        Ok(program)
    }

    fn command(command: &[OsString]) -> Self {
        Self {
            tool: "shell",
            argv: command.iter().cloned().map(Text::from).collect(),
            code: None,
            inputs: Vec::new(),
            stdin: StdinUse::Program,
        }
    }

    fn script(script: Script, arguments: &[OsString]) -> Self {
        let (tool, interpreter) = match script.language {
            Language::Python => ("python", "python3"),
            Language::Bash => ("shell", "bash"),
        };
        let path = [INPUTS.as_bytes(), script.name.as_bytes()].concat();
        let mut argv = vec![interpreter.into(), path.into()];
        argv.extend(arguments.iter().cloned().map(Text::from));
        Self {
            tool,
            argv,
            code: Some(Code {
                input: Some(script.name.clone()),
                source: script.source,
            }),
            inputs: vec![InputFile {
                name: script.name,
                file: script.file,
            }],
            stdin: script.stdin,
        }
    }

    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = open_file(path)?;
        let name = name_of(path)?;
        if self.inputs.iter().any(|input| input.name == name) {
            bail!("two input files are named `{name}`: they would be one file in {INPUTS}");
        }
        self.inputs.push(InputFile { name, file });
        Ok(())
    }
}

impl Script {
    fn from_file(path: &OsStr, language: Option<Language>) -> anyhow::Result<Self> {
        let path = Path::new(path);
        let Some(language) = language.or_else(|| language_of(path)) else {
            bail!(
                "cannot tell the language of `{}`: call it .py, .sh or .bash, or say --language; a \
                 command of the sandbox comes after `--`",
                shown(path)
            );
        };
        let mut file = open_file(path)?;
        let read = || format!("cannot read `{}`", shown(path));
        let source = read_script(&file).with_context(read)?;
        file.rewind().with_context(read)?;
        Ok(Self {
            name: name_of(path)?,
            source,
            file,
            language,
            stdin: StdinUse::Program,
        })
    }

    fn from_stdin(language: Option<Language>) -> anyhow::Result<Self> {
        let language = language.unwrap_or(Language::Python);
        let source = read_script(io::stdin().lock()).context("cannot read the program")?;
        let name = match language {
            Language::Python => "program.py",
            Language::Bash => "program.sh",
        };
        let kept = InputFile::in_memory(name.into(), &source);
        let InputFile { name, file } = kept.context("cannot keep the program in memory")?;
        Ok(Self {
            name,
            source,
            file,
            language,
            stdin: StdinUse::Script,
        })
    }
}

fn read_script(from: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut source = Vec::new();
    from.take(MAX_SCRIPT_BYTES + 1).read_to_end(&mut source)?;
    if u64::try_from(source.len())? > MAX_SCRIPT_BYTES {
        bail!("it has more than {} MiB", MAX_SCRIPT_BYTES >> 20);
    }
    Ok(source)
}

/// Opens a regular file; anything else is refused without waiting for it.
fn open_file(path: &Path) -> anyhow::Result<File> {
    let read = || format!("cannot read `{}`", shown(path));
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).with_context(read)?);
    let kind = file.metadata().with_context(read)?.file_type();
    if kind.is_dir() {
        Err(anyhow!("it is a directory")).with_context(read)
    } else if !kind.is_file() {
        Err(anyhow!("it is not a regular file")).with_context(read)
    } else {
        Ok(file)
    }
}

fn name_of(path: &Path) -> anyhow::Result<Text> {
    let name = path.file_name().map(OsStr::to_owned).map(Text::from);
    name.with_context(|| format!("`{}` does not end in the name of a file", shown(path)))
}

fn language_of(path: &Path) -> Option<Language> {
    match path.extension()?.to_ascii_lowercase().to_str()? {
        "py" => Some(Language::Python),
        "sh" | "bash" => Some(Language::Bash),
        _ => None,
    }
}

/// A path for people.
pub(crate) fn shown(path: &Path) -> Text {
    path.as_os_str().to_owned().into()
}
