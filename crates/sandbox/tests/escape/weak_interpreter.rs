//! No copies of a warm interpreter, but the interpreter itself for every cell: the suite must notice.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
};

use casemate_model::{Artefact, Cause, Exit, Isolation, IsolationTier, Stream, Usage};
use casemate_ports::{
    self as ports, ArtefactSink, CallIo, Ended, Event, Keeper, KeeperError, Ready, Sandbox,
    SandboxSpec,
};
use casemate_sandbox::escape::{Arena, Way};

/// Reads the length of an argument and of a source, and both; says how the cell ended after the mark.
const PROGRAM: &str = r"
import sys
MARK, read, write, out = chr(30), sys.stdin.buffer.read, sys.stdout.write, sys.stdout
while line := sys.stdin.buffer.readline():
    argument, source = (int(size) for size in line.split())
    sys.argv = ['<cell>', read(argument).decode()]
    code = 0
    try:
        exec(compile(read(source), '<cell>', 'exec'), {'__name__': '__main__'})
    except BaseException:
        code = 1
    write(MARK + str(code) + chr(10))
    out.flush()
";

/// What ends a cell's output.
const MARK: char = '\u{1e}';

/// Runs all cells in one interpreter on the host.
pub(crate) struct WeakInterpreter {
    process: Rc<RefCell<Process>>,
}

struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl WeakInterpreter {
    pub(crate) fn start() -> Self {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("an interpreter");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        Self {
            process: Rc::new(RefCell::new(Process { child, to, from })),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }
}

impl Process {
    /// Runs a cell; its output, and its exit code.
    fn run(&mut self, argument: &[u8], source: &[u8]) -> (String, u8) {
        writeln!(self.to, "{} {}", argument.len(), source.len()).expect("it reads");
        self.to.write_all(argument).expect("it reads");
        self.to.write_all(source).expect("it reads");
        let mut output = String::new();
        loop {
            let mut line = String::new();
            if self.from.read_line(&mut line).expect("it is text") == 0 {
                return (output, 1);
            }
            let Some((rest, code)) = line.split_once(MARK) else {
                output.push_str(&line);
                continue;
            };
            output.push_str(rest);
            return (output, code.trim().parse().expect("a code"));
        }
    }
}

impl Keeper for WeakInterpreter {
    type Sandbox = Shared;

    async fn create(&self, _: SandboxSpec) -> Result<Shared, KeeperError> {
        Ok(Shared(Rc::clone(&self.process)))
    }
}

impl Arena for WeakInterpreter {
    fn way(&self) -> Way {
        Way::Warm
    }

    async fn clear(&self) -> Result<(), KeeperError> {
        Ok(())
    }
}

/// A call in the one interpreter.
pub(crate) struct Shared(Rc<RefCell<Process>>);

impl Sandbox for Shared {
    async fn ready(&mut self) -> Result<Ready, KeeperError> {
        let isolation = Isolation {
            tier: IsolationTier::Namespace,
            controls: Vec::new(),
        };
        Ok(Ready {
            isolation,
            inputs: Vec::new(),
        })
    }

    async fn run(&mut self, command: ports::Command, io: CallIo) -> Result<Ended, KeeperError> {
        let cell = command.cell.expect("a cell");
        let argument = command.argv.last().expect("the nonce");
        let (stdout, code) = self.0.borrow_mut().run(argument.as_bytes(), &cell.source);
        let stdout_bytes = stdout.len() as u64;
        io.events
            .send(Event::Output(Stream::Stdout, stdout.into_bytes()))
            .await
            .expect("a caller");
        Ok(Ended {
            cause: Cause::Completed,
            exit: Some(Exit::Code(code)),
            usage: Usage::default(),
            stdout_bytes,
            stderr_bytes: 0,
            results_bytes: 0,
            output_truncated: false,
            denied: Vec::new(),
            violations: Vec::new(),
        })
    }

    async fn collect(self, _: &mut dyn ArtefactSink) -> Result<Vec<Artefact>, KeeperError> {
        Ok(Vec::new())
    }
}
