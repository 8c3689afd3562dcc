//! Budgets and loops: what a call may spend, and whether it only does again what failed.

use casemate_authority::{
    Amounts, BudgetError, BudgetRule, LoopKey, LoopLimit, Period, Reservation, Resource, Scope,
    Spender,
};
use casemate_model::{Digest, Exit, OutcomeStatus, Reason, one_line};
use casemate_policy::{BudgetRules, Cost, RoutePolicy, UNLIMITED};
use casemate_ports::SessionKeeper;

use super::{SessionStores, Sessions, Told, call::owner_of};
use crate::{Ask, Facts};

/// The thread of calls that name none: they share no budget of a thread, as they are alone in it.
const NO_THREAD: &str = "-";

/// What is set aside for a call that has begun.
pub(super) struct SetAside {
    reservation: Reservation,
    cost: Cost,
}

/// What a call is, as far as loops are concerned.
pub(super) struct Kind {
    tenant: String,
    agent: String,
    thread: String,
    tool: String,
    arguments: Digest,
    limit: LoopLimit,
}

impl Kind {
    fn key(&self) -> LoopKey<'_> {
        LoopKey {
            tenant: &self.tenant,
            agent: &self.agent,
            thread: &self.thread,
            tool: &self.tool,
            arguments: self.arguments,
        }
    }
}

/// What is asked for, in short.
fn arguments(ask: &Ask) -> Option<Digest> {
    let code = ask.code.as_ref().map(|code| Digest::of(&code.source));
    let all = (&ask.command.argv, &ask.command.env, code);
    serde_json::to_vec(&all).ok().map(|json| Digest::of(&json))
}

fn rules(budgets: &BudgetRules) -> Vec<BudgetRule> {
    let scopes = [
        (Scope::Call, Period::Total, budgets.call),
        (Scope::Thread, Period::Total, budgets.thread),
        (Scope::Agent, Period::Day, budgets.agent_day),
        (Scope::Tenant, Period::Day, budgets.tenant_day),
    ];
    let of = |(scope, per, budget): (_, _, casemate_policy::BudgetLimits)| {
        let limits = [
            (Resource::Calls, budget.calls),
            (Resource::TimeMs, budget.time_ms),
            (Resource::Bytes, budget.output_bytes),
            (Resource::Approvals, budget.approvals),
            (Resource::Tokens, budget.tokens),
            (Resource::MoneyMicros, budget.money_micros),
        ];
        limits.map(|(resource, limit)| BudgetRule {
            scope,
            per,
            resource,
            limit,
        })
    };
    let all = scopes.into_iter().flat_map(of);
    all.filter(|rule| rule.limit < UNLIMITED).collect()
}

/// One call.
fn of_call(time_ms: u64, output_bytes: u64, cost: Cost) -> Amounts {
    Amounts::default()
        .with(Resource::Calls, 1)
        .with(Resource::TimeMs, time_ms)
        .with(Resource::Bytes, output_bytes)
        .with(Resource::Tokens, cost.tokens)
        .with(Resource::MoneyMicros, cost.money_micros)
}

impl<K: SessionKeeper, P: SessionStores> Sessions<K, P> {
    /// What a call is to loops. Nothing for one that is in no thread: it has no past.
    pub(super) fn kind_of(&self, facts: &Facts, policy: &RoutePolicy) -> Option<Kind> {
        let ask = &facts.ask;
        let limit = u32::try_from(policy.budgets.equal_failures).unwrap_or(u32::MAX);
        Some(Kind {
            tenant: facts.tenant().to_owned(),
            agent: ask.agent.clone(),
            thread: self.thread_of(&owner_of(facts), ask.within.as_ref())?,
            tool: ask.tool.clone(),
            arguments: arguments(ask)?,
            limit: LoopLimit::new(limit).unwrap_or_default(),
        })
    }

    /// Sets aside what the call may spend at most, unless it only does again what failed.
    pub(super) fn let_in(
        &self,
        facts: &Facts,
        again: Option<&Kind>,
        policy: &RoutePolicy,
    ) -> Result<Option<SetAside>, (Reason, String)> {
        if let Some(kind) = again
            && let Err(looping) = self.loops.check(&kind.key(), kind.limit)
        {
            return Err((Reason::LoopDetected, looping.to_string()));
        }
        let limits = facts.ask.limits.at_most(&policy.sandbox.limits);
        let cost = policy.cost(&facts.ask.tool);
        let amounts = of_call(limits.wall_ms, limits.output_bytes, cost);
        let reservation = self
            .set_aside(facts, policy, &amounts)
            .map_err(|why| (Reason::BudgetExhausted, why))?;
        Ok(reservation.map(|reservation| SetAside { reservation, cost }))
    }

    /// Spends one approval of those that may be asked for.
    pub(super) fn spend_approval(&self, facts: &Facts, policy: &RoutePolicy) -> Result<(), String> {
        let amounts = Amounts::default().with(Resource::Approvals, 1);
        match self.set_aside(facts, policy, &amounts)? {
            None => Ok(()),
            Some(reservation) => self
                .budgets
                .settle(reservation, &amounts)
                .map_err(|error| one_line(&error)),
        }
    }

    fn set_aside(
        &self,
        facts: &Facts,
        policy: &RoutePolicy,
        amounts: &Amounts,
    ) -> Result<Option<Reservation>, String> {
        let rules = rules(&policy.budgets);
        if rules.is_empty() {
            return Ok(None);
        }
        // However it is named: by itself, or by a session or a context in it.
        let thread = self.thread_of(&owner_of(facts), facts.ask.within.as_ref());
        let spender = Spender {
            tenant: facts.tenant(),
            agent: &facts.ask.agent,
            thread: thread.as_deref().unwrap_or(NO_THREAD),
        };
        let rules: Vec<_> = match &thread {
            Some(_) => rules,
            // Whatever is in no thread is its own.
            None => rules
                .into_iter()
                .map(|rule| match rule.scope {
                    Scope::Thread => BudgetRule {
                        scope: Scope::Call,
                        ..rule
                    },
                    _ => rule,
                })
                .collect(),
        };
        let at_ms = self.clock.now_ms();
        match self.budgets.reserve(&spender, &rules, amounts, at_ms) {
            Ok(reservation) => Ok(Some(reservation)),
            Err(BudgetError::Exhausted(exhausted)) => Err(exhausted.to_string()),
            // Whatever cannot be counted is not spent (I1).
            Err(error) => Err(format!("the budgets cannot be used: {}", one_line(&error))),
        }
    }

    /// Counts what a call really spent. What cannot be counted stays set aside.
    pub(super) fn settle_budget(&self, aside: Option<SetAside>, told: &Told) {
        let Some(SetAside { reservation, cost }) = aside else {
            return;
        };
        let settled = match told {
            Told::Released(released) if released.replayed().is_none() => {
                let outcome = released.outcome();
                let bytes = outcome.stdout_bytes.saturating_add(outcome.stderr_bytes);
                let spent = of_call(outcome.usage.wall_ms, bytes, cost);
                self.budgets.settle(reservation, &spent)
            }
            // Nobody knows what it spent.
            Told::Unrecorded(..) => return drop(reservation),
            _ => self.budgets.release(reservation),
        };
        drop(settled);
    }

    /// Remembers how a call ended. Whatever succeeds in a thread is progress: what failed before may be tried again.
    pub(super) fn remember_end(&self, kind: &Kind, told: &Told) {
        let cause = match told {
            Told::Released(released) => {
                let outcome = released.outcome();
                if outcome.status == OutcomeStatus::Succeeded {
                    self.loops.clear(&kind.tenant, &kind.agent, &kind.thread);
                    return;
                }
                match outcome.exit {
                    Some(Exit::Code(code)) => {
                        format!("{} with exit code {code}", outcome.cause.as_str())
                    }
                    _ => outcome.cause.as_str().to_owned(),
                }
            }
            Told::Refused(refused) if counts(refused.facts().reason()) => {
                refused.facts().reason().as_str().to_owned()
            }
            _ => return,
        };
        self.loops.seen(&kind.key(), kind.limit, &cause);
    }
}

/// Whether a refusal is about the call. Others pass, or are about what only an operator can change.
const fn counts(reason: Reason) -> bool {
    !matches!(
        reason,
        Reason::Allowed
            | Reason::LoopDetected
            | Reason::KillSwitch
            | Reason::Overloaded
            | Reason::QuotaExceeded
            | Reason::CallInFlight
            | Reason::IsolationUnavailable
            | Reason::RecordUnavailable
            | Reason::PolicyError
            | Reason::SessionGone
            | Reason::SessionPaused
            | Reason::SessionBusy
    )
}
