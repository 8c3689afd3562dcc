//! A process that is killed while it spends.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use casemate_authority::{
    Amounts, BudgetError, Budgets, COMPACT_BYTES, Period, ReservationId, Resource, Scope, Spender,
};

use crate::budgets::{ADA, NOON, rule};

const DIR: &str = "CASEMATE_AUTHORITY_TEST_BUDGETS";
const LIMIT: u64 = 200_000;
const ROUNDS: usize = 14;
/// Where the random points come from. Change it to try others.
const SEED: u64 = 0x00ca_5e3a_7e00;

/// What reservation `id` asks for, and what it uses of it.
fn of(id: u64) -> (u64, u64) {
    let mut random = fastrand::Rng::with_seed(id);
    let wanted = random.u64(1..=9);
    (wanted, random.u64(0..=wanted))
}

fn amount(calls: u64) -> Amounts {
    Amounts::default().with(Resource::Calls, calls)
}

fn start(dir: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::spender", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: a process that spends until there is nothing left, and says what it was told.
#[test]
fn spender() {
    let Ok(dir) = env::var(DIR) else { return };
    let budgets = Budgets::open(dir.as_ref()).unwrap();
    let rules = [rule(Scope::Tenant, Period::Day, LIMIT)];
    println!();
    loop {
        let (wanted, used) = of(budgets.next_id().unwrap().get());
        let spender = Spender {
            thread: "many",
            ..ADA
        };
        let held = match budgets.reserve(&spender, &rules, &amount(wanted), NOON) {
            Ok(held) => held,
            Err(BudgetError::Exhausted(_)) => break,
            Err(other) => panic!("{other:?}"),
        };
        let id = held.id().get();
        println!("reserved {id}");
        budgets.settle(held, &amount(used)).unwrap();
        println!("settled {id}");
    }
    println!("exhausted");
}

/// Spends, for somebody else, until the file is about to be written anew.
fn fill(dir: &Path) {
    let budgets = Budgets::open(dir).unwrap();
    let long = "x".repeat(250);
    let other = Spender {
        tenant: &long,
        agent: &long,
        thread: &long,
    };
    let len = || fs::metadata(dir.join("budgets")).unwrap().len();
    while len() < COMPACT_BYTES - 20_000 {
        let held = budgets.reserve(&other, &[], &amount(1), NOON).unwrap();
        budgets.settle(held, &amount(1)).unwrap();
    }
}

/// Waits until a good moment to kill the process: any, or while it writes its file anew.
fn wait(dir: &Path, random: &mut fastrand::Rng, while_written_anew: bool) {
    if while_written_anew {
        let until = Instant::now() + Duration::from_secs(2);
        while !dir.join(".new").exists() && Instant::now() < until {
            thread::sleep(Duration::from_micros(50));
        }
        thread::sleep(Duration::from_micros(random.u64(0..15_000)));
    } else {
        thread::sleep(Duration::from_micros(random.u64(20_000..900_000)));
    }
}

/// Whatever a process was told of is there after it was killed, at whatever point; of the rest at most one step; and
/// never more than the limit.
#[test]
fn what_a_killed_process_was_told_of_is_spent() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("budgets");
    println!("seed {SEED}");
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut spent = 0;
    let mut exhausted = false;
    let mut anew = 0;
    let mut half_written = 0;
    for round in 0..ROUNDS {
        let while_written_anew = round % 2 == 1;
        if while_written_anew {
            // What an earlier one left.
            let _ = fs::remove_file(dir.join(".new"));
            fill(&dir);
        }
        let mut child = start(&dir);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let reader = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        wait(&dir, &mut random, while_written_anew);
        // It may have ended.
        let _ = child.kill();
        child.wait().unwrap();
        let mut open = None;
        for line in reader.join().unwrap() {
            match line.split_once(' ') {
                Some(("reserved", id)) => open = Some(id.parse().unwrap()),
                Some(("settled", id)) => {
                    assert_eq!(open.take(), Some(id.parse().unwrap()));
                    spent += of(id.parse().unwrap()).1;
                }
                _ => exhausted |= line == "exhausted",
            }
        }

        let budgets = Budgets::open(&dir).unwrap();
        let usage = budgets
            .usage(&ADA, Scope::Tenant, Period::Day, NOON)
            .unwrap();
        let (used, reserved) = (
            usage.used.of(Resource::Calls),
            usage.reserved.of(Resource::Calls),
        );
        assert!(used + reserved <= LIMIT, "round {round}");
        let left = budgets.open_reservations().unwrap();
        let next = budgets.next_id().unwrap();
        spent += match (open, left.as_slice()) {
            // It was killed before, or while, or after it settled what it was told of.
            (Some(id), [left]) => {
                assert_eq!((left.id.get(), reserved), (id, of(id).0), "round {round}");
                reserved
            }
            (Some(id), []) => of(id).1,
            // It was killed before it was told of a reservation, or there was none.
            (None, [left]) => {
                assert_eq!(left.id.get() + 1, next.get(), "round {round}");
                reserved
            }
            (None, []) => 0,
            (_, many) => panic!("round {round}: {many:?}"),
        };
        assert_eq!(used + reserved, spent, "round {round}");
        budgets
            .forget_before(ReservationId::new(next.get()))
            .unwrap();
        drop(budgets);
        if while_written_anew {
            let len = fs::metadata(dir.join("budgets")).unwrap().len();
            anew += usize::from(len < COMPACT_BYTES / 2);
            half_written += usize::from(dir.join(".new").exists());
        }
        if exhausted {
            break;
        }
    }
    println!(
        "spent {spent}, exhausted {exhausted}, killed {half_written} times before and {anew} times after a new file was in place"
    );
    assert!(spent > 0 && half_written + anew > 0);
}
