//! What may be spent, and what may not.

use std::{
    path::PathBuf,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use casemate_authority::{
    Amounts, BudgetError, BudgetRule, Budgets, MAX_AMOUNT, MAX_OPEN_RESERVATIONS, MAX_RULES,
    Period, Reservation, ReservationId, Resource, Scope, Spender,
};
use casemate_files::FileError;
use tempfile::TempDir;

pub(crate) const DAY_MS: u64 = 86_400_000;
pub(crate) const NOON: u64 = 20_000 * DAY_MS + DAY_MS / 2;
pub(crate) const ADA: Spender<'static> = Spender {
    tenant: "acme",
    agent: "support",
    thread: "t-1",
};

/// Budgets in a directory of their own.
pub(crate) struct Fixture {
    _temp: TempDir,
    pub(crate) dir: PathBuf,
    pub(crate) budgets: Option<Budgets>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("budgets");
        let budgets = Some(Budgets::open(&dir).unwrap());
        Self {
            _temp: temp,
            dir,
            budgets,
        }
    }

    pub(crate) fn budgets(&self) -> &Budgets {
        self.budgets.as_ref().unwrap()
    }

    pub(crate) fn restart(&mut self) {
        self.budgets = None;
        self.budgets = Some(Budgets::open(&self.dir).unwrap());
    }

    /// Used and reserved calls.
    fn calls(&self, scope: Scope, per: Period, at_ms: u64) -> (u64, u64) {
        let usage = self.budgets().usage(&ADA, scope, per, at_ms).unwrap();
        (
            usage.used.of(Resource::Calls),
            usage.reserved.of(Resource::Calls),
        )
    }
}

pub(crate) fn rule(scope: Scope, per: Period, limit: u64) -> BudgetRule {
    BudgetRule {
        scope,
        per,
        resource: Resource::Calls,
        limit,
    }
}

pub(crate) fn calls(amount: u64) -> Amounts {
    Amounts::default().with(Resource::Calls, amount)
}

fn exhausted(result: Result<Reservation, BudgetError>) -> (BudgetRule, u64, u64, u64) {
    match result.unwrap_err() {
        BudgetError::Exhausted(e) => (e.rule, e.used, e.reserved, e.wanted),
        other => panic!("{other:?}"),
    }
}

/// R159: what is not used is given back, what is used beyond a reservation is charged and stops the next one.
#[test]
fn settling_gives_back_or_charges_more() {
    let fixture = Fixture::new();
    let budgets = fixture.budgets();
    let rules = [rule(Scope::Tenant, Period::Total, 10)];
    let reserve = |amount| budgets.reserve(&ADA, &rules, &calls(amount), NOON);
    let first = reserve(6).unwrap();
    assert_eq!(exhausted(reserve(5)), (rules[0], 0, 6, 5));
    budgets.settle(first, &calls(2)).unwrap();
    assert_eq!(fixture.calls(Scope::Tenant, Period::Total, NOON), (2, 0));
    let second = reserve(8).unwrap();
    budgets.release(second).unwrap();
    let third = reserve(8).unwrap();
    budgets.settle(third, &calls(9)).unwrap();
    assert_eq!(exhausted(reserve(1)), (rules[0], 11, 0, 1));
    // A budget that is over refuses everything, also what needs nothing of it.
    assert_eq!(exhausted(reserve(0)), (rules[0], 11, 0, 0));
}

/// R159: each resource, scope and period is limited for itself, and all rules together or nothing.
#[test]
fn each_rule_counts_what_it_names() {
    for resource in Resource::ALL {
        for scope in [Scope::Thread, Scope::Agent, Scope::Tenant] {
            for per in Period::ALL {
                let fixture = Fixture::new();
                let budgets = fixture.budgets();
                let rule = BudgetRule {
                    scope,
                    per: *per,
                    resource: *resource,
                    limit: 5,
                };
                let mut wanted = Amounts::default().with(*resource, 5);
                for other in Resource::ALL.iter().filter(|other| *other != resource) {
                    wanted = wanted.with(*other, 1_000);
                }
                let reserve = |spender, at| budgets.reserve(&spender, &[rule], &wanted, at);
                let _held = reserve(ADA, NOON).unwrap();
                assert!(reserve(ADA, NOON).is_err());
                let thread = Spender {
                    thread: "t-2",
                    ..ADA
                };
                assert_eq!(reserve(thread, NOON).is_ok(), scope == Scope::Thread);
                let agent = Spender {
                    agent: "other",
                    ..ADA
                };
                assert_eq!(reserve(agent, NOON).is_ok(), scope != Scope::Tenant);
                let tenant = Spender {
                    tenant: "globex",
                    ..ADA
                };
                assert!(reserve(tenant, NOON).is_ok());
                assert_eq!(reserve(ADA, NOON + DAY_MS).is_ok(), *per == Period::Day);
            }
        }
    }
}

#[test]
fn a_rule_of_calls_limits_each_for_itself() {
    let fixture = Fixture::new();
    let rules = [rule(Scope::Call, Period::Total, 3)];
    let reserve = |amount| {
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(amount), NOON)
    };
    let _held = [reserve(3).unwrap(), reserve(3).unwrap()];
    assert_eq!(exhausted(reserve(4)), (rules[0], 0, 0, 4));
}

#[test]
fn names_do_not_run_into_each_other() {
    let fixture = Fixture::new();
    let rules = [
        rule(Scope::Thread, Period::Total, 1),
        rule(Scope::Agent, Period::Total, 1),
    ];
    for (tenant, agent, thread) in [("a", "b", "c"), ("ab", "c", "c"), ("a", "bc", "c")] {
        let spender = Spender {
            tenant,
            agent,
            thread,
        };
        let _held = fixture
            .budgets()
            .reserve(&spender, &rules, &calls(1), NOON)
            .unwrap();
    }
}

#[test]
fn what_a_refusal_wanted_is_not_held() {
    let fixture = Fixture::new();
    let rules = [
        rule(Scope::Tenant, Period::Total, 100),
        rule(Scope::Agent, Period::Day, 100),
        rule(Scope::Thread, Period::Total, 2),
    ];
    let reserve = |amount| {
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(amount), NOON)
    };
    assert_eq!(exhausted(reserve(3)).0, rules[2]);
    assert_eq!(fixture.calls(Scope::Tenant, Period::Total, NOON), (0, 0));
    let _held = reserve(2).unwrap();
    for scope in [Scope::Tenant, Scope::Agent, Scope::Thread] {
        assert_eq!(fixture.calls(scope, Period::Total, NOON), (0, 2));
        assert_eq!(fixture.calls(scope, Period::Day, NOON), (0, 2));
    }
}

/// What was spent counts for a rule that is made later.
#[test]
fn a_new_rule_knows_what_was_spent() {
    let fixture = Fixture::new();
    let _held = fixture
        .budgets()
        .reserve(&ADA, &[], &calls(7), NOON)
        .unwrap();
    let rules = [rule(Scope::Tenant, Period::Day, 7)];
    assert_eq!(
        exhausted(fixture.budgets().reserve(&ADA, &rules, &calls(1), NOON)).2,
        7
    );
}

/// I1: nobody gets back what was reserved and dropped, also after a restart, until somebody settles it.
#[test]
fn what_is_dropped_stays_spent_until_it_is_settled_by_its_id() {
    let mut fixture = Fixture::new();
    let rules = [rule(Scope::Agent, Period::Day, 3)];
    for _ in 0..3 {
        drop(
            fixture
                .budgets()
                .reserve(&ADA, &rules, &calls(1), NOON)
                .unwrap(),
        );
    }
    fixture.restart();
    assert!(
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(1), NOON)
            .is_err()
    );
    let open = fixture.budgets().open_reservations().unwrap();
    assert_eq!(open.len(), 3);
    assert_eq!(
        (&*open[0].tenant, &*open[0].agent, &open[0].thread),
        ("acme", "support", &None)
    );
    assert_eq!((open[0].at_ms, open[0].amounts), (NOON, calls(1)));
    fixture
        .budgets()
        .settle_by_id(open[1].id, &calls(0))
        .unwrap();
    let again = fixture.budgets().settle_by_id(open[1].id, &calls(0));
    assert!(matches!(again, Err(BudgetError::NotOpen { .. })));
    let fourth = fixture
        .budgets()
        .reserve(&ADA, &rules, &calls(1), NOON)
        .unwrap();
    assert!(
        open.iter().all(|open| open.id < fourth.id()),
        "no id is given twice"
    );
    assert_eq!(fixture.budgets().forget_before(fourth.id()).unwrap(), 2);
    assert_eq!(fixture.budgets().forget_before(fourth.id()).unwrap(), 0);
    assert_eq!(fixture.calls(Scope::Agent, Period::Day, NOON), (2, 1));
    fixture.restart();
    assert_eq!(fixture.calls(Scope::Agent, Period::Day, NOON), (2, 1));
    assert_eq!(fixture.budgets().next_id().unwrap(), ReservationId::new(4));
    fixture.budgets().release(fourth).unwrap();
    assert_eq!(fixture.calls(Scope::Agent, Period::Day, NOON), (2, 0));
}

/// R159: exactly as many get something as there is.
#[test]
fn a_hundred_threads_that_race_for_37_get_37() {
    let mut fixture = Fixture::new();
    let rules = [
        rule(Scope::Tenant, Period::Day, 37),
        rule(Scope::Agent, Period::Total, 1_000),
    ];
    let got = AtomicU64::new(0);
    let start = Barrier::new(100);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                start.wait();
                for nth in 0..5_u64 {
                    if let Ok(held) = fixture.budgets().reserve(&ADA, &rules, &calls(1), NOON) {
                        // Some give theirs back, so that others get it.
                        match nth % 2 {
                            0 => fixture.budgets().release(held).unwrap(),
                            _ => {
                                got.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    let (used, reserved) = fixture.calls(Scope::Tenant, Period::Day, NOON);
                    assert!(used + reserved <= 37);
                }
            });
        }
    });
    while let Ok(_held) = fixture.budgets().reserve(&ADA, &rules, &calls(1), NOON) {
        got.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(got.into_inner(), 37);
    fixture.restart();
    assert_eq!(fixture.calls(Scope::Tenant, Period::Day, NOON), (0, 37));
}

#[test]
fn a_hundred_threads_that_take_one_each_get_37() {
    let fixture = Fixture::new();
    let rules = [rule(Scope::Tenant, Period::Total, 37)];
    let start = Barrier::new(100);
    let got: usize = thread::scope(|scope| {
        let take = || {
            start.wait();
            fixture
                .budgets()
                .reserve(&ADA, &rules, &calls(1), NOON)
                .is_ok()
        };
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .filter(|_| true)
            .map(|thread| usize::from(thread.join().unwrap()))
            .sum()
    });
    assert_eq!(got, 37);
}

/// R159: no clock that is set back opens a day that is over, also not over a restart.
#[test]
fn a_day_that_is_over_stays_over() {
    let mut fixture = Fixture::new();
    let rules = [rule(Scope::Tenant, Period::Day, 2)];
    let reserve = |fixture: &Fixture, at| {
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(1), at)
            .map(drop)
    };
    reserve(&fixture, NOON).unwrap();
    reserve(&fixture, NOON + DAY_MS).unwrap();
    // Back to a day with room: it counts for the day that it was.
    reserve(&fixture, NOON).unwrap();
    for at in [0, NOON - DAY_MS, NOON, NOON + DAY_MS] {
        assert!(reserve(&fixture, at).is_err(), "{at}");
    }
    fixture.restart();
    for at in [0, NOON, NOON + DAY_MS] {
        assert!(reserve(&fixture, at).is_err(), "{at}");
    }
    reserve(&fixture, NOON + 2 * DAY_MS).unwrap();
    assert!(reserve(&fixture, u64::MAX).is_ok());
}

#[test]
fn what_runs_over_midnight_counts_on_the_day_it_was_reserved() {
    let mut fixture = Fixture::new();
    let rules = [rule(Scope::Tenant, Period::Day, 2)];
    let night = fixture
        .budgets()
        .reserve(&ADA, &rules, &calls(2), NOON)
        .unwrap();
    let day = fixture
        .budgets()
        .reserve(&ADA, &rules, &calls(2), NOON + DAY_MS)
        .unwrap();
    fixture.restart();
    fixture.budgets().settle(night, &calls(1)).unwrap();
    assert_eq!(fixture.calls(Scope::Tenant, Period::Day, NOON), (0, 2));
    fixture.budgets().settle(day, &calls(2)).unwrap();
    assert_eq!(fixture.calls(Scope::Tenant, Period::Day, NOON), (2, 0));
    assert_eq!(fixture.calls(Scope::Tenant, Period::Total, NOON), (3, 0));
}

#[test]
fn a_thread_that_is_gone_is_forgotten_but_not_what_it_spent() {
    let mut fixture = Fixture::new();
    let rules = [
        rule(Scope::Thread, Period::Total, 1),
        rule(Scope::Agent, Period::Total, 2),
    ];
    let held = fixture
        .budgets()
        .reserve(&ADA, &rules, &calls(1), NOON)
        .unwrap();
    let open = fixture.budgets().forget_thread(&ADA);
    assert!(matches!(open, Err(BudgetError::StillOpen { open: 1 })));
    fixture.budgets().settle(held, &calls(1)).unwrap();
    assert!(
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(1), NOON)
            .is_err()
    );
    fixture.budgets().forget_thread(&ADA).unwrap();
    fixture.budgets().forget_thread(&ADA).unwrap();
    fixture.restart();
    let _held = fixture
        .budgets()
        .reserve(&ADA, &rules, &calls(1), NOON)
        .unwrap();
    let other = Spender {
        thread: "t-2",
        ..ADA
    };
    let refused = fixture.budgets().reserve(&other, &rules, &calls(1), NOON);
    assert_eq!(exhausted(refused).0, rules[1]);
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let fixture = Fixture::new();
    let budgets = fixture.budgets();
    let long = "a".repeat(256);
    for name in ["", "a\0b", "a\nb", &long] {
        for bad in [
            Spender {
                tenant: name,
                ..ADA
            },
            Spender { agent: name, ..ADA },
            Spender {
                thread: name,
                ..ADA
            },
        ] {
            let refused = budgets.reserve(&bad, &[], &calls(1), NOON);
            assert!(matches!(refused, Err(BudgetError::Name { .. })));
        }
    }
    let refused = budgets.reserve(&ADA, &[], &calls(MAX_AMOUNT + 1), NOON);
    assert!(matches!(
        refused,
        Err(BudgetError::Amount {
            resource: Resource::Calls,
            ..
        })
    ));
    let rules = vec![rule(Scope::Call, Period::Day, 9); MAX_RULES + 1];
    let refused = budgets.reserve(&ADA, &rules, &calls(1), NOON);
    assert!(matches!(refused, Err(BudgetError::TooManyRules { .. })));
    budgets
        .reserve(&ADA, &rules[1..], &calls(1), NOON)
        .map(drop)
        .unwrap();
}

/// Amounts stay at the most there can be instead of beginning anew.
#[test]
fn no_amount_runs_over() {
    let mut fixture = Fixture::new();
    let rules = [rule(Scope::Tenant, Period::Total, u64::MAX - 1)];
    for _ in 0..3 {
        let held = fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(MAX_AMOUNT), NOON);
        let Ok(held) = held else { break };
        fixture.budgets().settle(held, &calls(u64::MAX)).unwrap();
    }
    assert_eq!(
        fixture.calls(Scope::Tenant, Period::Total, NOON),
        (u64::MAX, 0)
    );
    assert!(
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(0), NOON)
            .is_err()
    );
    fixture.restart();
    assert!(
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(0), NOON)
            .is_err()
    );
}

/// I15: no more reservations are open than are counted exactly.
#[test]
fn too_many_open_reservations_are_refused() {
    let fixture = Fixture::new();
    let rules = [rule(Scope::Tenant, Period::Total, u64::MAX)];
    let reserve = || {
        fixture
            .budgets()
            .reserve(&ADA, &rules, &calls(MAX_AMOUNT), NOON)
    };
    for _ in 0..MAX_OPEN_RESERVATIONS {
        drop(reserve().unwrap());
    }
    assert!(matches!(reserve(), Err(BudgetError::TooManyOpen)));
    let all = MAX_OPEN_RESERVATIONS as u64 * MAX_AMOUNT;
    assert_eq!(fixture.calls(Scope::Tenant, Period::Total, NOON), (0, all));
}

#[test]
fn budgets_have_one_process_at_a_time() {
    let mut fixture = Fixture::new();
    let second = Budgets::open(&fixture.dir);
    assert!(matches!(
        second,
        Err(BudgetError::File(FileError::Locked { .. }))
    ));
    fixture.restart();
}
