//! `casemate policy activate | rollback | approve`: which bundle is in force.

use std::{fs, path::Path};

use anyhow::anyhow;
use casemate_bundle::{ActivationKind, Approval, PolicyKey, PolicyStore, Role};
use casemate_gateway::{Clock as _, Operation};
use casemate_model::{DecisionId, Digest, Reason, one_line};
use casemate_policy::{Authenticator, Verdict, Verified};
use serde_json::{Value, json};

use super::{
    bundle::{ACTIVE, Loaded, compiled, find, load, store},
    check,
    decision::recent,
    diff::{self, Widening},
    keys::operator,
};
use crate::{
    cli::ActivateArgs,
    exit::Exit,
    report::{self, Failure},
    run::local_claims,
    state::{self, State},
    system::System,
};

/// The most bytes of an approval or a reason.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// The most decisions that changed their answer that are shown.
const MAX_SHOWN: usize = 20;

/// Brings a bundle into force, if everything that this requires holds.
pub(crate) fn activate(args: &ActivateArgs) -> Result<Exit, Failure> {
    let loaded = load(&args.bundle).or_else(unusable)?;
    let store = store()?;
    let current = store.current().map_err(Failure::failed)?;
    let old = match &current {
        None => None,
        Some(current) => {
            let bundle = store.load(current.digest).map_err(Failure::failed)?;
            Some(compiled(bundle).map_err(|_| {
                Failure::failed(anyhow!("the bundle in force is broken"))
                    .hint("`casemate policy rollback` goes back to the one before it")
            })?)
        }
    };
    let expected = current.as_ref().map(|current| current.digest);
    if expected == Some(loaded.bundle.digest()) {
        report::print(format_args!(
            "{} is in force already\n",
            loaded.bundle.digest()
        ))?;
        return Ok(Exit::Success);
    }
    let engine = old.as_ref().map(|old| &*old.engine);
    let widening = Widening::find(engine, &loaded.engine, args.solver.as_deref());
    diff::print(&widening.difference)?;
    let replayed = replay(&loaded)?;
    let approver = match judge(args, &loaded, &store, &widening, &replayed) {
        Ok(approver) => approver,
        Err(lack) => match args.break_glass.as_ref().filter(|_| lack.is_breakable()) {
            None => return refuse(&loaded, expected, &lack),
            Some(reason) => {
                report::line(&format!(
                    "ALERT: broken open, although {}: {reason}",
                    lack.what
                ));
                None
            }
        },
    };
    let kind = match args.break_glass {
        Some(_) => ActivationKind::BreakGlass,
        None => ActivationKind::Activate,
    };
    let digest = loaded.bundle.digest();
    let subject = json!({
        "from": expected,
        "to": digest,
        "name": loaded.bundle.name(),
        "version": loaded.bundle.version(),
        "kind": kind.as_str(),
        "wider": widening.wider,
        "proved": widening.proved,
        "unproved": widening.unproved,
        "approver": approver,
        "break_glass": args.break_glass,
        "replayed": replayed.all,
        "answers_changed": replayed.changed.len(),
    });
    let alert = args.break_glass.is_some();
    let operation = operation("policy.activate", Reason::Allowed, &loaded, alert, subject);
    let bundle = match loaded.bundle.signature() {
        Some(_) => loaded.bundle.clone(),
        None => {
            let note = operator(&store)?.sign(&loaded.bundle);
            loaded.bundle.clone().with_signature(Some(note))
        }
    };
    // What is staged counts for nothing yet.
    let staged = store.stage(&bundle);
    if let Err(error) = staged.and_then(|()| store.may_activate(digest, expected, kind)) {
        let hint = "`casemate policy list` shows what was in force";
        let lack = Lack::new(Reason::InvalidProfile, one_line(&error), hint);
        return refuse(&loaded, expected, &lack);
    }
    let decision = operate(operation, || {
        let activated = store.activate(digest, expected, System.now_ms(), kind);
        activated.map(drop).map_err(Failure::refused)
    })?;
    report::print(format_args!("{digest} is in force ({decision})\n"))?;
    Ok(Exit::Success)
}

/// What an activation lacks.
struct Lack {
    what: String,
    reason: Reason,
    hint: String,
}

impl Lack {
    fn new(reason: Reason, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            reason,
            hint: hint.into(),
        }
    }
}

impl Lack {
    /// Whether a reason can stand in for it: for a proof or an approval that is missing, never for what is known to be wrong.
    const fn is_breakable(&self) -> bool {
        matches!(
            self.reason,
            Reason::ApprovalRequired | Reason::ApprovalInvalid
        )
    }
}

/// Whether a bundle may be activated, and who approved what it newly permits.
fn judge(
    args: &ActivateArgs,
    loaded: &Loaded,
    store: &PolicyStore,
    widening: &Widening,
    replayed: &Replayed,
) -> Result<Option<String>, Lack> {
    let invalid = |what: String, hint: &str| Err(Lack::new(Reason::InvalidProfile, what, hint));
    let failed = check::failures(loaded);
    if let Some((file, tried)) = failed.first() {
        let failure = tried.failure.as_deref().unwrap_or_default();
        let what = format!(
            "{} of its tests fail, the first in {file}: {}: {failure}",
            failed.len(),
            tried.name
        );
        return invalid(what, "`casemate policy test` shows all of them");
    }
    if check::count(loaded) == 0 {
        return invalid("it has no tests".to_owned(), "add one to tests/");
    }
    if let Some(claim) = widening.contradicted.first() {
        let what = format!("the claim `{}` does not hold", claim.name);
        return invalid(
            what,
            "`casemate policy prove` shows the call that contradicts it",
        );
    }
    let wider = widening.wider || replayed.wider;
    if !wider {
        return Ok(None);
    }
    if let Some(why) = &widening.unproved {
        return Err(Lack::new(
            Reason::ApprovalRequired,
            format!("it permits more, and nothing is proved of it: {why}"),
            "install a solver (`pip install cvc5`), or say --break-glass REASON: that is recorded, and raises an alert",
        ));
    }
    let trusted = store.trusted().map_err(|error| {
        let hint = "repair the list of trusted keys";
        Lack::new(Reason::PolicyError, one_line(&error), hint)
    })?;
    // Nobody approves what they publish.
    let publishers = trusted.of(Role::Publisher);
    let mut approvers = trusted.of(Role::Approver);
    approvers.retain(|key| !publishers.contains(key));
    if approvers.is_empty() && widening.difference.old.is_none() {
        report::line(
            "the first bundle, and nobody is trusted to approve: the next one that permits more needs an approver",
        );
        return Ok(None);
    }
    let approval = statement(widening)
        .map_err(|error| Lack::new(Reason::PolicyError, error, "report this"))?;
    let Some(path) = &args.approval else {
        return Err(Lack::new(
            Reason::ApprovalRequired,
            "it permits more than the one in force, and nobody approved that",
            "an approver runs `casemate policy approve BUNDLE --key FILE --out NOTE`; then say --approval NOTE",
        ));
    };
    let note = fs::read_to_string(path).unwrap_or_default();
    match approval.verify(
        note.get(..MAX_TEXT_BYTES.min(note.len()))
            .unwrap_or_default(),
        &approvers,
    ) {
        Ok(key) => Ok(Some(key.to_string())),
        Err(error) => Err(Lack::new(
            Reason::ApprovalInvalid,
            format!("the approval does not count: {}", one_line(&error)),
            "it has to be of exactly this bundle after the one in force, by a trusted approver",
        )),
    }
}

/// What an approver agrees to.
fn statement(widening: &Widening) -> Result<Approval, String> {
    let difference = &widening.difference;
    Ok(Approval {
        old: difference.old,
        new: difference.new,
        difference: difference.digest().map_err(|error| error.to_string())?,
    })
}

fn operation(
    what: &'static str,
    reason: Reason,
    loaded: &Loaded,
    alert: bool,
    subject: Value,
) -> Operation {
    Operation {
        what,
        reason,
        detail: format!(
            "{} version {}",
            loaded.bundle.name(),
            loaded.bundle.version()
        ),
        alert,
        subject,
    }
}

/// Records that something was to be activated that is no bundle, or has errors. They name files, and are not recorded.
fn unusable(failure: Failure) -> Result<Loaded, Failure> {
    record_refusal(Operation {
        what: "policy.activate",
        reason: Reason::InvalidProfile,
        detail: "it is no bundle, or has errors".to_owned(),
        alert: false,
        subject: Value::Null,
    })?;
    Err(failure)
}

/// Records that a bundle was not activated, and says why.
fn refuse(loaded: &Loaded, from: Option<Digest>, lack: &Lack) -> Result<Exit, Failure> {
    let subject = json!({ "from": from, "to": loaded.bundle.digest(), "lack": lack.what });
    let operation = operation("policy.activate", lack.reason, loaded, false, subject);
    let decision = record_refusal(operation)?;
    Err(Failure::refused(anyhow!("not activated: {} ({decision})", lack.what)).hint(&lack.hint))
}

fn record_refusal(operation: Operation) -> Result<DecisionId, Failure> {
    let (journal, _) = journal()?;
    let claims = Verified::vouch(local_claims(), Authenticator::LocalUser);
    journal
        .refuse_operation(operation, &claims)
        .map_err(Failure::failed)
}

/// Does something that is on disk before it takes effect, and closed after it.
pub(crate) fn operate(
    operation: Operation,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<DecisionId, Failure> {
    operate_in(&state::path()?, operation, act)
}

/// The same in the state directory at `root`.
pub(crate) fn operate_in(
    root: &Path,
    operation: Operation,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<DecisionId, Failure> {
    let (journal, _) = journal_in(root)?;
    let claims = Verified::vouch(local_claims(), Authenticator::LocalUser);
    let open = journal
        .operate(operation, &claims)
        .map_err(Failure::failed)?;
    let done = act();
    let why = done.as_ref().err().map(ToString::to_string);
    let closed = open.close(why.as_deref().map_or(Ok(()), Err));
    done?;
    closed.map_err(Failure::failed)
}

/// The journal of the state directory, and its stores.
pub(crate) fn journal() -> Result<(casemate_gateway::Journal, state::AgentStores), Failure> {
    journal_in(&state::path()?)
}

fn journal_in(root: &Path) -> Result<(casemate_gateway::Journal, state::AgentStores), Failure> {
    State::open(root)
        .and_then(State::journal)
        .map_err(Failure::failed)
}

/// Goes back to an earlier bundle.
pub(crate) fn rollback(to: Option<&str>) -> Result<Exit, Failure> {
    let store = store()?;
    let current = find(&store, ACTIVE)?;
    let to = to.map(|to| find(&store, to)).transpose()?;
    let operation = |reason| Operation {
        what: "policy.rollback",
        reason,
        detail: "back to an earlier bundle".to_owned(),
        alert: true,
        subject: json!({ "from": current, "to": to }),
    };
    if let Err(error) = store.may_roll_back(to, current) {
        record_refusal(operation(Reason::InvalidProfile))?;
        return Err(Failure::invalid(error));
    }
    let mut now = None;
    let decision = operate(operation(Reason::Allowed), || {
        let back = store.rollback(to, current, System.now_ms());
        now = Some(back.map_err(Failure::invalid)?);
        Ok(())
    })?;
    if let Some(now) = now {
        let (digest, name, version) = (now.digest, now.name, now.version);
        report::print(format_args!(
            "{digest} is in force: {name} version {version} ({decision})\n"
        ))?;
    }
    Ok(Exit::Success)
}

/// Approves what a bundle permits more than the one in force.
pub(crate) fn approve(bundle: &Path, key: &Path, out: &Path) -> Result<Exit, Failure> {
    let loaded = load(bundle)?;
    let store = store()?;
    let current = store.current().map_err(Failure::failed)?;
    let old = current
        .map(|current| load(Path::new(&current.digest.to_string())))
        .transpose()?;
    let key = PolicyKey::load(key).map_err(Failure::usage)?;
    let difference =
        casemate_policy::Difference::between(old.as_ref().map(|old| &*old.engine), &loaded.engine);
    diff::print(&difference)?;
    let approval = Approval {
        old: difference.old,
        new: difference.new,
        difference: difference.digest().map_err(Failure::failed)?,
    };
    fs::write(out, approval.sign(&key)).map_err(Failure::failed)?;
    report::print(format_args!(
        "approved by {}: {} after {}\n",
        key.public().name(),
        approval.new,
        approval
            .old
            .map_or_else(|| "none".to_owned(), |old| old.to_string())
    ))?;
    Ok(Exit::Success)
}

/// What a bundle answers to recent calls.
struct Replayed {
    all: usize,
    changed: Vec<DecisionId>,
    wider: bool,
}

/// Decides recent calls again, under a bundle that is not in force yet, and prints which answers change.
fn replay(loaded: &Loaded) -> Result<Replayed, Failure> {
    let mut replayed = Replayed {
        all: 0,
        changed: Vec::new(),
        wider: false,
    };
    for (decision, recorded, inputs) in recent()? {
        if loaded.engine.profile(&inputs.route).is_none() {
            continue;
        }
        replayed.all += 1;
        let now = loaded.engine.judge(&inputs);
        if now.verdict == recorded {
            continue;
        }
        replayed.wider |= now.verdict > recorded && now.verdict == Verdict::Allow;
        replayed.changed.push(decision);
        if replayed.changed.len() <= MAX_SHOWN {
            let (before, after) = (recorded.as_str(), now.verdict.as_str());
            report::print(format_args!(
                "replayed {decision}: {before} then, {after} now: {}\n",
                now.detail
            ))?;
        }
    }
    let changed = replayed.changed.len();
    report::print(format_args!(
        "replayed {} recent decisions, {changed} answers change\n",
        replayed.all
    ))?;
    Ok(replayed)
}
