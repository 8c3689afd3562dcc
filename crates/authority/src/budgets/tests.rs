use std::{fs, io, path::PathBuf};

use casemate_files::Steps;
use proptest::{collection::vec, prelude::*, sample::Index};
use tempfile::TempDir;

use super::*;
use crate::{BudgetFailure, Exhausted, Resource};

fn open() -> (TempDir, PathBuf, Budgets) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("budgets");
    let budgets = Budgets::open(&dir).unwrap();
    (temp, dir, budgets)
}

fn amounts(calls: u64, tokens: u64) -> Amounts {
    Amounts::default()
        .with(Resource::Calls, calls)
        .with(Resource::Tokens, tokens)
}

const ADA: Spender<'static> = Spender {
    tenant: "acme",
    agent: "support",
    thread: "t-1",
};

/// The books of these budgets, and those of the same after a restart.
fn books(dir: &Path, budgets: Budgets) -> (Books, Books) {
    let before = std::mem::take(&mut budgets.shared.lock().unwrap().books);
    drop(budgets);
    let budgets = Budgets::open(dir).unwrap();
    let after = std::mem::take(&mut budgets.shared.lock().unwrap().books);
    (before, after)
}

/// Something that was spent, as plainly as can be.
#[derive(Clone, Debug)]
struct Spent {
    id: u64,
    tenant: usize,
    agent: usize,
    /// If it was counted for its thread.
    thread: Option<usize>,
    day: u64,
    held: Option<Amounts>,
    used: Amounts,
}

/// All that was ever spent, added up anew for each question.
#[derive(Debug, Default)]
struct Model {
    spent: Vec<Spent>,
    day: u64,
}

impl Model {
    fn usage(&self, who: [usize; 3], scope: Scope, per: Period, day: u64) -> (Amounts, Amounts) {
        let mut sums = <(Amounts, Amounts)>::default();
        for spent in &self.spent {
            let its = match scope {
                Scope::Call => false,
                Scope::Tenant => spent.tenant == who[0],
                Scope::Agent => [spent.tenant, spent.agent] == who[..2],
                Scope::Thread => {
                    [spent.tenant, spent.agent] == who[..2] && spent.thread == Some(who[2])
                }
            };
            if its && (per == Period::Total || spent.day == day) {
                sums.0.add(&spent.used);
                sums.1.add(&spent.held.unwrap_or_default());
            }
        }
        sums
    }

    fn judge(
        &self,
        who: [usize; 3],
        rules: &[BudgetRule],
        wanted: &Amounts,
        day: u64,
    ) -> Option<Exhausted> {
        rules.iter().find_map(|rule| {
            let (used, reserved) = self.usage(who, rule.scope, rule.per, day);
            let [used, reserved, wanted] =
                [&used, &reserved, wanted].map(|all| all.of(rule.resource));
            (used + reserved + wanted > rule.limit).then_some(Exhausted {
                rule: *rule,
                used,
                reserved,
                wanted,
            })
        })
    }

    fn open(&mut self) -> Vec<&mut Spent> {
        self.spent
            .iter_mut()
            .filter(|spent| spent.held.is_some())
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        who: [usize; 3],
        rules: Vec<BudgetRule>,
        wanted: Amounts,
        day: u64,
    },
    Settle {
        which: Index,
        actual: Amounts,
    },
    ForgetBefore {
        which: Index,
    },
    ForgetThread {
        who: [usize; 3],
    },
    Restart,
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || [0..2_usize, 0..2, 0..3];
    let some = || (0..6_u64, 0..60_u64).prop_map(|(calls, tokens)| amounts(calls, tokens));
    let scope = prop::sample::select(Scope::ALL);
    let per = prop::sample::select(Period::ALL);
    let resource = prop::sample::select(&[Resource::Calls, Resource::Tokens][..]);
    let rule =
        (scope, per, resource, 0..100_u64).prop_map(|(scope, per, resource, limit)| BudgetRule {
            scope,
            per,
            resource,
            limit,
        });
    let step = prop_oneof![
        8 => (who(), vec(rule, 0..4), some(), 0..4_u64).prop_map(|(who, rules, wanted, day)| {
            Step::Reserve { who, rules, wanted, day }
        }),
        5 => (any::<Index>(), some()).prop_map(|(which, actual)| Step::Settle { which, actual }),
        1 => any::<Index>().prop_map(|which| Step::ForgetBefore { which }),
        1 => who().prop_map(|who| Step::ForgetThread { who }),
        1 => Just(Step::Restart),
        1 => Just(Step::Compact),
    ];
    vec(step, 1..60)
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn spender(who: [usize; 3]) -> Spender<'static> {
    let [tenant, agent, thread] = who.map(|nth| NAMES[nth]);
    Spender {
        tenant,
        agent,
        thread,
    }
}

/// Does one step to both, and compares what they say to it.
fn step(step: &Step, dir: &Path, model: &mut Model, budgets: &mut Option<Budgets>) {
    let now = budgets.as_ref().unwrap();
    match step {
        Step::Reserve {
            who,
            rules,
            wanted,
            day,
        } => {
            let at_ms = day * DAY_MS + 1;
            let counts = (*day).max(model.day);
            let refused = model.judge(*who, rules, wanted, counts);
            match (now.reserve(&spender(*who), rules, wanted, at_ms), refused) {
                (Ok(held), None) => {
                    model.day = counts;
                    let by_thread = rules.iter().any(|rule| rule.scope == Scope::Thread);
                    model.spent.push(Spent {
                        id: held.id().get(),
                        tenant: who[0],
                        agent: who[1],
                        thread: by_thread.then_some(who[2]),
                        day: counts,
                        held: Some(*wanted),
                        used: Amounts::default(),
                    });
                }
                (Err(BudgetError::Exhausted(found)), Some(expected)) => assert_eq!(found, expected),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
        Step::Settle { which, actual } => {
            let mut open = model.open();
            if !open.is_empty() {
                let nth = which.index(open.len());
                let spent = &mut open[nth];
                (spent.held, spent.used) = (None, *actual);
                now.settle_by_id(ReservationId(spent.id), actual).unwrap();
                let again = now.settle_by_id(ReservationId(spent.id), actual);
                assert!(matches!(again, Err(BudgetError::NotOpen { .. })));
            }
        }
        Step::ForgetBefore { which } => {
            let id = which.index(model.spent.len() + 1) as u64;
            let mut forgotten = 0;
            for spent in model.open().into_iter().filter(|spent| spent.id < id) {
                spent.used = spent.held.take().unwrap();
                forgotten += 1;
            }
            assert_eq!(now.forget_before(ReservationId(id)).unwrap(), forgotten);
        }
        Step::ForgetThread { who } => {
            let its = |spent: &&mut Spent| {
                [spent.tenant, spent.agent] == who[..2] && spent.thread == Some(who[2])
            };
            let open = model.open().into_iter().filter(its).count();
            match now.forget_thread(&spender(*who)) {
                Err(BudgetError::StillOpen { open: found }) => assert!(open > 0 && open == found),
                Ok(()) => {
                    assert_eq!(open, 0);
                    for spent in model.spent.iter_mut().filter(|spent| its(spent)) {
                        spent.thread = None;
                    }
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        Step::Restart => {
            *budgets = None;
            *budgets = Some(Budgets::open(dir).unwrap());
        }
        Step::Compact => now.compact().unwrap(),
    }
}

fn compare(model: &Model, budgets: &Budgets) {
    for who in [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 0, 0], [1, 1, 1]] {
        for scope in Scope::ALL {
            for per in Period::ALL {
                for day in 0..4_u64 {
                    let (used, reserved) = model.usage(who, *scope, *per, day.max(model.day));
                    let found = budgets
                        .usage(&spender(who), *scope, *per, day * DAY_MS)
                        .unwrap();
                    assert_eq!(
                        found,
                        Usage { used, reserved },
                        "{who:?} {scope} {per} {day}"
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// R159: the books say the same as adding up everything that was ever spent, also when they are read back or written
    /// anew at any point.
    #[test]
    fn the_books_are_what_was_spent(steps in steps()) {
        let (_temp, dir, budgets) = open();
        let (mut model, mut budgets) = (Model::default(), Some(budgets));
        for each in &steps {
            step(each, &dir, &mut model, &mut budgets);
            compare(&model, budgets.as_ref().unwrap());
        }
        let (before, after) = books(&dir, budgets.unwrap());
        prop_assert_eq!(before, after);
    }
}

/// What is spent while the file is written anew is in the new one.
#[test]
fn nothing_is_lost_while_the_file_is_written_anew() {
    let (_temp, dir, budgets) = open();
    let mut budgets = Some(budgets);
    for round in 1..=10 {
        let now = budgets.take().unwrap();
        thread::scope(|scope| {
            for nth in 0..4 {
                let now = &now;
                scope.spawn(move || {
                    for step in 0..100 {
                        let who = spender([nth % 2, nth / 2, step % 3]);
                        let held = now.reserve(&who, &[], &amounts(1, 2), 0).unwrap();
                        if step % 10 != 0 {
                            now.settle(held, &amounts(1, 1)).unwrap();
                        }
                    }
                });
            }
            now.compact().unwrap();
        });
        let (before, after) = books(&dir, now);
        assert_eq!(before, after);
        assert_eq!(
            (before.next, before.open.len()),
            (round * 400, usize::try_from(round * 40).unwrap())
        );
        budgets = Some(Budgets::open(&dir).unwrap());
    }
}

/// A file that has grown is written anew by itself.
#[test]
fn a_file_that_has_grown_is_written_anew() {
    let (_temp, dir, budgets) = open();
    while budgets.shared.lock().unwrap().journal.len <= crate::COMPACT_BYTES {
        let held = budgets.reserve(&ADA, &[], &amounts(1, 0), 0).unwrap();
        budgets.settle(held, &amounts(1, 0)).unwrap();
    }
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while fs::metadata(dir.join(FILE)).unwrap().len() > 1_000 {
        assert!(std::time::Instant::now() < until);
        thread::sleep(std::time::Duration::from_millis(20));
    }
    let (before, after) = books(&dir, budgets);
    assert_eq!(before, after);
}

/// Refuses the step that is named last.
#[derive(Debug, Default)]
struct Refuse(Mutex<&'static str>);

impl Steps for Refuse {
    fn before(&self, step: &'static str, _: &Path) -> io::Result<()> {
        match step == *self.0.lock().unwrap() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

#[test]
fn a_file_that_cannot_be_written_anew_stays_and_is_used() {
    let (_temp, dir, budgets) = open();
    drop(budgets);
    let refuse = Arc::new(Refuse::default());
    let opened = Dir::open(&dir, Privacy::Secret).unwrap();
    let budgets = Budgets::open_in(opened.with_steps(Some(Arc::clone(&refuse) as _))).unwrap();
    for step in ["create", "write", "sync", "rename"] {
        *refuse.0.lock().unwrap() = step;
        drop(budgets.reserve(&ADA, &[], &amounts(1, 0), 0).unwrap());
        let failed = budgets.compact();
        assert!(matches!(failed, Err(BudgetError::File(_))), "{failed:?}");
        drop(budgets.reserve(&ADA, &[], &amounts(1, 0), 0).unwrap());
    }
    *refuse.0.lock().unwrap() = "";
    let (before, after) = books(&dir, budgets);
    assert_eq!(before, after);
    assert_eq!(before.next, 8);
}

/// I1: after the disk has failed nothing is spent and nothing is answered.
#[test]
fn a_disk_that_fails_closes() {
    let (_temp, dir, budgets) = open();
    let held = budgets.reserve(&ADA, &[], &amounts(1, 0), 0).unwrap();
    // Writing to it fails, and so does taking it back.
    let read_only = fs::File::open(dir.join(FILE)).unwrap();
    let writable = std::mem::replace(
        &mut budgets.shared.lock().unwrap().journal.file,
        Arc::new(read_only),
    );
    let failed = budgets.reserve(&ADA, &[], &amounts(1, 0), 0).unwrap_err();
    assert!(
        matches!(&failed, BudgetError::Failed(why) if matches!(**why, BudgetFailure::TakeBack(_)))
    );
    budgets.shared.lock_anyway().journal.file = writable;
    assert!(matches!(
        budgets.reserve(&ADA, &[], &amounts(1, 0), 0),
        Err(BudgetError::Failed(_))
    ));
    assert!(budgets.usage(&ADA, Scope::Tenant, Period::Day, 0).is_err());
    assert!(budgets.sync().is_err());
    let id = held.id();
    assert!(budgets.settle(held, &amounts(1, 0)).is_err());
    drop(budgets);
    // It was written before, and stays spent.
    let budgets = Budgets::open(&dir).unwrap();
    assert_eq!(budgets.open_reservations().unwrap().first().unwrap().id, id);
}

/// I1: a file whose durability is not known is not spent from.
#[test]
fn a_sync_that_fails_closes() {
    let (_temp, _dir, budgets) = open();
    budgets.sync().unwrap();
    let (_reader, pipe) = std::io::pipe().unwrap();
    {
        let mut inner = budgets.shared.lock().unwrap();
        // A pipe cannot be synced.
        inner.journal.file = Arc::new(fs::File::from(std::os::fd::OwnedFd::from(pipe)));
        inner.dirty = true;
    }
    assert!(matches!(
        budgets.sync(),
        Err(BudgetError::Failed(why)) if matches!(*why, BudgetFailure::Sync(_))
    ));
    assert!(budgets.reserve(&ADA, &[], &amounts(1, 0), 0).is_err());
}

/// I15: a full file refuses instead of growing.
#[test]
fn a_file_that_is_full_refuses() {
    let (_temp, _dir, budgets) = open();
    budgets.shared.lock().unwrap().journal.len = MAX_BUDGET_BYTES - 10;
    let full = budgets.reserve(&ADA, &[], &amounts(1, 0), 0);
    assert!(matches!(full, Err(BudgetError::Full { .. })));
}

/// I15: more accounts than there may be are refused, and forgetting a thread makes room.
#[test]
fn too_many_accounts_are_refused() {
    let (_temp, _dir, budgets) = open();
    let rules = [BudgetRule {
        scope: Scope::Thread,
        per: Period::Total,
        resource: Resource::Calls,
        limit: 9,
    }];
    let reserve = |thread| budgets.reserve(&Spender { thread, ..ADA }, &rules, &amounts(1, 0), 0);
    budgets.release(reserve("t-1").unwrap()).unwrap();
    for nth in 3..crate::MAX_ACCOUNTS {
        let key = format!("acme\0support\0thread {nth}").into();
        budgets
            .shared
            .lock()
            .unwrap()
            .books
            .accounts
            .insert(key, crate::books::Account::default());
    }
    assert!(matches!(reserve("t-2"), Err(BudgetError::TooManyAccounts)));
    drop(reserve("t-1").unwrap());
    budgets
        .forget_thread(&Spender {
            thread: "thread 9",
            ..ADA
        })
        .unwrap();
    drop(reserve("t-2").unwrap());
}
