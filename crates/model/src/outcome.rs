//! How a call ended.

use serde::{Deserialize, Serialize};

use crate::{Digest, Text, Violation, words};

words! {
    /// One of a program's output streams.
    Stream {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
        /// Results of an interpreter: one JSON object a line.
        Results = "results",
    }
}
words! {
    /// Why a program stopped.
    Cause {
        /// It ended by itself.
        Completed = "completed",
        /// It could not be executed; the exit code says why (126, 127).
        NotExecutable = "not_executable",
        /// Its wall-clock time was over.
        TimedOut = "timed_out",
        /// The memory limit killed it.
        MemoryExceeded = "memory_exceeded",
        /// Its caller stopped it or went away.
        Cancelled = "cancelled",
        /// The sandbox broke: its guest died or sent something that is not the protocol.
        SandboxLost = "sandbox_lost",
        /// It did what no ordinary program does: its sandbox was destroyed.
        Violation = "violation",
    }
}
words! {
    /// What the record says of a call that was allowed.
    OutcomeStatus {
        /// The program ended by itself with exit code 0.
        Succeeded = "succeeded",
        /// It ended in any other known way.
        Failed = "failed",
        /// Nobody saw the end: it may have run in part.
        Unknown = "unknown",
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this exit code (0 to 255).
    Code(u8),
    /// By this signal.
    Signal(u8),
}

/// What a program used, as the kernel counted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall-clock time, in milliseconds.
    pub wall_ms: u64,
    /// CPU time in user and kernel mode, in microseconds.
    pub cpu_us: u64,
    /// The largest resident memory of one process, in bytes.
    pub memory_peak_bytes: u64,
}

/// Something the program tried and was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedAttempt {
    /// `syscall`, `network` or `egress`.
    pub kind: String,
    /// What, such as `mount`, `192.0.2.1:443` or `https://example.com:443 path_refused`.
    pub what: String,
    /// How often.
    pub count: u64,
}

/// A file that a program left in `/workspace/out`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artefact {
    /// Path below `/workspace/out`.
    pub path: Text,
    /// Size in bytes.
    pub bytes: u64,
    /// The digest of its content; absent when it was not given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Why it was not given back, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// Everything that is known about the end of a call, without its output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the record says.
    pub status: OutcomeStatus,
    /// Why the program stopped.
    pub cause: Cause,
    /// How it ended; absent if it never ran or nobody saw the end.
    pub exit: Option<Exit>,
    /// What it used.
    pub usage: Usage,
    /// Bytes it wrote to standard output.
    pub stdout_bytes: u64,
    /// Bytes it wrote to standard error.
    pub stderr_bytes: u64,
    /// Bytes of an interpreter's results.
    #[serde(default)]
    pub results_bytes: u64,
    /// Whether output beyond the limit was dropped.
    pub output_truncated: bool,
    /// What it tried and was refused.
    pub denied: Vec<DeniedAttempt>,
    /// What it did that no ordinary program does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// What it left behind.
    pub artefacts: Vec<Artefact>,
}
