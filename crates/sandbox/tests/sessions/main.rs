//! Sessions of the namespace tier: as root where this is root, and always as an ordinary user.
//!
//! The keeper needs a process with one thread, so each trial starts this executable again for one case.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests"
)]

use std::{env, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use tokio::{runtime::Builder, task::LocalSet};

mod calls;
mod contexts;
mod desk;
mod files;
mod life;
mod pack;
#[path = "../escape/user.rs"]
mod user;
mod ways;

use self::desk::Desk;

/// Which case to run; the parent sets it.
const CASE: &str = "CASEMATE_SESSIONS_CASE";

/// More at once would make the machine's limits the suite's.
const MAX_THREADS: usize = 2;

type Case = (&'static str, fn(Desk) -> futures_of::Local);

mod futures_of {
    use std::{future::Future, pin::Pin};

    /// What a case comes to.
    pub(crate) type Local = Pin<Box<dyn Future<Output = ()>>>;
}

/// Names cases after their functions.
macro_rules! cases {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($name)),
            (|desk| Box::pin($module::$name(desk))) as fn(Desk) -> futures_of::Local,
        )),+]
    };
}

const CASES: &[Case] = cases![
    calls::files_stay_in_their_session,
    calls::a_cell_runs_in_a_copy_of_the_warm_interpreter,
    calls::no_cell_sees_what_another_left_in_the_interpreter,
    calls::each_call_has_namespaces_of_its_own,
    calls::what_a_place_enforces_is_measured,
    calls::calls_at_once_do_not_see_each_other,
    calls::nothing_outlives_its_call,
    calls::copies_of_an_interpreter_differ,
    calls::a_call_that_takes_too_long_is_killed,
    calls::a_cancelled_call_is_interrupted_and_then_killed,
    calls::input_reaches_programs_and_cells,
    calls::inputs_are_read_only_and_of_one_call,
    calls::a_program_can_have_a_terminal,
    calls::a_signal_on_demand_is_delivered,
    calls::denied_attempts_belong_to_their_call,
    calls::the_last_words_are_heard,
    calls::what_cannot_be_executed_has_the_shells_exit_codes,
    contexts::variables_stay_in_their_context,
    contexts::an_interrupt_leaves_the_variables,
    contexts::cells_wait_their_turn,
    contexts::nothing_of_a_cell_runs_when_it_has_ended,
    contexts::what_a_context_is_not,
    files::files_go_in_and_out,
    files::no_path_leads_out,
    files::half_an_upload_is_none,
    files::a_port_is_reachable_while_its_program_runs,
    life::a_pool_stands_ready_and_refills,
    life::a_sandbox_is_never_handed_on,
    life::another_owners_session_is_unknown,
    life::a_session_ends_when_its_time_is_over,
    life::a_destroyed_session_leaves_nothing,
    life::a_lost_interpreter_is_replaced,
    life::a_dead_guest_is_a_gone_session,
    life::a_call_that_takes_too_much_ends_alone,
    life::the_disk_of_a_session_is_bounded,
    life::calls_at_once_are_bounded,
    life::an_ended_keeper_leaves_nothing,
    life::no_cgroup_is_left,
    pack::a_workspace_goes_whole_into_another_sandbox,
    pack::a_workspace_is_packed_alone,
    pack::what_cannot_be_read_is_not_packed,
    pack::a_bad_stream_is_refused,
    pack::a_session_comes_back_in_another_sandbox,
    ways::a_call_has_a_way_out_of_its_own,
    ways::calls_with_ways_out_share_no_network,
    ways::a_call_without_its_way_out_finds_nobody,
    ways::a_call_whose_way_out_nobody_serves_does_not_run,
    ways::a_way_out_that_cannot_be_is_refused,
    ways::a_session_without_ways_has_none_of_it,
    ways::each_cell_of_a_context_has_its_own_way_out,
    ways::a_tunnel_leads_to_whoever_listens,
];

fn main() -> ExitCode {
    if let Ok(name) = env::var(CASE) {
        return run(&name);
    }
    let mut arguments = Arguments::from_args();
    let threads = arguments.test_threads.unwrap_or(MAX_THREADS);
    arguments.test_threads = Some(threads.clamp(1, MAX_THREADS));
    let (users, _directory) = user::all().unwrap();
    let mut trials = Vec::new();
    for (name, _) in CASES {
        for user in users.iter().cloned() {
            let title = format!("{}::{name}", user.name);
            trials.push(Trial::test(title, move || trial(&user, name)));
        }
    }
    trials.push(Trial::test("every_listed_case_is_there", || {
        listed_cases_are_there()
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What `cases.toml` says is shown is shown by a case that there is.
fn listed_cases_are_there() -> Result<(), Failed> {
    let text = include_str!("cases.toml");
    let names = text.lines().filter_map(|line| line.strip_prefix("name = "));
    for name in names.map(|name| name.trim_matches('"')) {
        if !CASES.iter().any(|(known, _)| *known == name) {
            return Err(format!("there is no case `{name}`").into());
        }
    }
    Ok(())
}

fn trial(user: &user::User, name: &str) -> Result<(), Failed> {
    let output = user.command().env(CASE, name).current_dir("/").output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {text}", output.status).into())
}

fn run(name: &str) -> ExitCode {
    let (_, case) = CASES
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a case");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let set = LocalSet::new();
    set.block_on(&runtime, async { case(Desk::open()).await });
    ExitCode::SUCCESS
}
