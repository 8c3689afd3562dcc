//! What authority costs at a real gateway: how long after a throw a running call is dead, how long after an approval a call runs, and what calls
//! that wait for a person use. Prints JSON.

mod approvals;
mod server;
mod switches;
mod waiting;

use std::{error::Error, time::Duration};

use serde_json::{Value, json};

use self::server::Server;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    // Beside the build, which is on a real disk; `/tmp` may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut server = Server::start(dir.path())?;
    let switches = switches::measure(&server)?;
    let approvals = approvals::measure(&server)?;
    let report = json!({
        "switches": switches,
        "approvals": approvals,
        "waiting": waiting::measure(&mut server)?,
    });
    #[expect(
        clippy::print_stdout,
        reason = "the report is what this program is for"
    )]
    {
        println!("{report:#}");
    }
    Ok(())
}

/// Nearest-rank percentiles, in milliseconds.
fn summary(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        times.get(rank - 1).map(|time| time.as_secs_f64() * 1e3)
    };
    json!({ "runs": times.len(), "p50_ms": at(50), "p95_ms": at(95), "p99_ms": at(99), "max_ms": at(100) })
}
