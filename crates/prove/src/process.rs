//! A running solver, which answers one question at a time.
//!
//! symcc's own driver takes the next line for the answer, whatever the question was, and reads without a limit.
//! Here each question ends with an `echo` of a word of its own, and what does not fit into that makes an error.

use std::{io, time::Duration};

use cedar_policy_symcc::solver::{Decision, DecisionWithModel, Solver, SolverError as Failure};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    process::{Child, ChildStdin, ChildStdout},
};

use crate::{SolverError, program::Program};

/// The address space of a solver.
const MAX_MEMORY_BYTES: u64 = 4 << 30;
/// The longest counterexample that is read.
const MAX_MODEL_BYTES: usize = 16 << 20;
/// The longest answer beside that.
const MAX_ANSWER_BYTES: usize = 4096;
/// How much of an answer that is none is kept.
const MAX_QUOTED_CHARS: usize = 200;

/// The solver's process, which does not outlive the value.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
    questions: u64,
}

impl Process {
    pub(crate) fn start(program: &Program, limit: Duration) -> Result<Self, SolverError> {
        let failed = |source| SolverError::Start {
            program: program.path().to_path_buf(),
            source,
        };
        let mut child = program
            .command(limit)
            .stdin(std::process::Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let process = Self {
            child,
            input: BufWriter::new(input),
            output: BufReader::new(output),
            questions: 0,
        };
        if let Some(pid) = process.pid() {
            let limit = |bytes| Rlimit {
                current: Some(bytes),
                maximum: Some(bytes),
            };
            prlimit(Some(pid), Resource::As, limit(MAX_MEMORY_BYTES))
                .and_then(|_| prlimit(Some(pid), Resource::Core, limit(0)))
                .map_err(|error| failed(error.into()))?;
        }
        Ok(process)
    }

    /// None once it has been waited for.
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()?).ok()?)
    }

    /// Sends `command`, and what makes the solver say the word that is returned after its answer.
    async fn ask(&mut self, command: &str) -> Result<String, Failure> {
        self.questions += 1;
        let mark = format!("casemate-{}", self.questions);
        let text = format!("({command})\n(echo \"{mark}\")\n");
        self.input.write_all(text.as_bytes()).await?;
        self.input.flush().await?;
        Ok(mark)
    }

    /// The next line, of at most `max_bytes`.
    async fn line(&mut self, max_bytes: usize) -> Result<String, Failure> {
        let mut line = Vec::new();
        let max = u64::try_from(max_bytes).unwrap_or(u64::MAX);
        (&mut self.output)
            .take(max)
            .read_until(b'\n', &mut line)
            .await?;
        let Ok(line) = String::from_utf8(line) else {
            return Err(garbage("bytes that are not UTF-8"));
        };
        if line.ends_with('\n') {
            Ok(line)
        } else if line.len() >= max_bytes {
            Err(garbage(&line))
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}

impl Drop for Process {
    /// The group, because a launcher may have started the solver as a child.
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            // Fails when there is nothing left to kill.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Solver for Process {
    fn smtlib_input(&mut self) -> &mut (dyn AsyncWrite + Unpin + Send) {
        &mut self.input
    }

    async fn enable_models(&mut self) -> Result<(), Failure> {
        let option = b"(set-option :produce-models true)\n";
        Ok(self.input.write_all(option).await?)
    }

    async fn check_sat(&mut self) -> Result<Decision, Failure> {
        let mark = self.ask("check-sat").await?;
        let answer = self.line(MAX_ANSWER_BYTES).await?;
        let decision = match answer.trim() {
            "sat" => Decision::Sat,
            "unsat" => Decision::Unsat,
            "unknown" => Decision::Unknown,
            other => return Err(refusal(other)),
        };
        let end = self.line(MAX_ANSWER_BYTES).await?;
        if is_mark(&end, &mark) {
            Ok(decision)
        } else {
            Err(garbage(&end))
        }
    }

    async fn check_sat_with_model(&mut self) -> Result<DecisionWithModel, Failure> {
        match self.check_sat().await? {
            Decision::Unsat => return Ok(DecisionWithModel::Unsat),
            Decision::Unknown => return Ok(DecisionWithModel::Unknown),
            Decision::Sat => {}
        }
        let mark = self.ask("get-model").await?;
        let mut model = String::new();
        loop {
            let line = self
                .line(MAX_MODEL_BYTES.saturating_sub(model.len()))
                .await?;
            if is_mark(&line, &mark) {
                return Ok(DecisionWithModel::Sat { model });
            }
            if model.is_empty() && line.trim() != "(" {
                return Err(refusal(line.trim()));
            }
            model.push_str(&line);
        }
    }
}

/// With quotes or without: versions differ.
fn is_mark(line: &str, mark: &str) -> bool {
    line.trim().trim_matches('"') == mark
}

/// The solver's own error, or whatever it printed instead.
fn refusal(answer: &str) -> Failure {
    match answer.strip_prefix("(error ") {
        Some(error) => Failure::Solver(beginning(error.trim_matches(['"', ')']))),
        None => garbage(answer),
    }
}

fn garbage(answer: &str) -> Failure {
    Failure::UnrecognizedSolverOutput(beginning(answer))
}

fn beginning(answer: &str) -> String {
    answer.trim().chars().take(MAX_QUOTED_CHARS).collect()
}
