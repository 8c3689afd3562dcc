//! The form of a call: what can be wrong with it before anybody's rights are looked at.

use std::collections::BTreeSet;

use casemate_model::{Call, Digest, Program, Reason, Text};

use super::{CheckName, Request};
use crate::{
    environment::{self, Refused, refused},
    inputs::Flaw,
    profile::Profile,
    secrets::secret_in,
    visible::{quoted, shown},
};

/// The longest name of a tenant, user, agent, route or tool, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// The most arguments, variables or input files.
const MAX_ITEMS: usize = 4096;
/// The longest argument, or variable with its name and `=`: what Linux takes, with its final NUL.
const MAX_STRING_BYTES: usize = (128 << 10) - 1;
/// All arguments and variables together: half of what Linux takes.
const MAX_STRINGS_BYTES: usize = 1 << 20;
/// The longest name of an input file, in bytes: one path component.
const MAX_INPUT_NAME_BYTES: usize = 255;

/// Why a call's form is refused.
type Refusal = (Reason, String);
type Answer = Result<(), Refusal>;
type Question = fn(&Profile, &Request<'_>) -> Answer;

/// The questions after the first, in the order in which their answers count.
const QUESTIONS: &[(CheckName, Question)] = &[
    (CheckName::Secrets, secrets),
    (CheckName::Environment, environment),
    (CheckName::Limits, limits),
    (CheckName::Inputs, inputs),
];

/// What is wrong with the form of a call, if anything is.
pub(super) fn flaw(profile: &Profile, policy: Digest, request: &Request<'_>) -> Option<Flaw> {
    let call = request.call;
    let first = (
        CheckName::Call,
        well_formed(call, policy, &request.claims.get().subject),
    );
    let rest = QUESTIONS
        .iter()
        .map(|(check, question)| (*check, question(profile, request)));
    std::iter::once(first)
        .chain(rest)
        .find_map(|(check, answer)| Some(Flaw::new(check, answer.err()?)))
}

impl Flaw {
    pub(super) fn new(check: CheckName, (reason, detail): Refusal) -> Self {
        Self {
            check,
            reason,
            detail,
        }
    }
}

fn refuse(reason: Reason, detail: impl Into<String>) -> Answer {
    Err((reason, detail.into()))
}

fn well_formed(call: &Call, policy: Digest, subject: &str) -> Answer {
    fits(call, policy, subject)
        .and_then(|()| names(call))
        .and_then(|()| program(&call.program))
        .and_then(|()| input_names(call))
        .or_else(|detail| refuse(Reason::InvalidCall, detail))
}

/// A call is for one policy and caller; under another it would be another call.
fn fits(call: &Call, policy: Digest, subject: &str) -> Result<(), String> {
    if call.policy != policy {
        Err("the call was proposed under another version of the policy".to_owned())
    } else if call.user != subject {
        Err(format!(
            "the call is made for {}, the caller is {}",
            quoted(&call.user),
            quoted(subject)
        ))
    } else {
        Ok(())
    }
}

fn names(call: &Call) -> Result<(), String> {
    let bad = |text: &str, most| {
        text.is_empty() || text.len() > most || text.chars().any(char::is_control)
    };
    for (what, name) in [
        ("tenant", &call.tenant),
        ("user", &call.user),
        ("agent", &call.agent),
        ("route", &call.route),
        ("tool", &call.tool),
    ] {
        if bad(name, MAX_NAME_BYTES) {
            return Err(format!(
                "the {what} needs 1 to {MAX_NAME_BYTES} bytes without control characters"
            ));
        }
    }
    let thread = call
        .within
        .as_ref()
        .and_then(|within| within.thread.as_ref());
    if thread.is_some_and(|thread| bad(thread, MAX_NAME_BYTES)) {
        return Err(format!(
            "the thread needs 1 to {MAX_NAME_BYTES} bytes without control characters"
        ));
    }
    match &call.idempotency_key {
        Some(key) if !key.is_empty() && bad(key, MAX_KEY_BYTES) => Err(format!(
            "an idempotency key has at most {MAX_KEY_BYTES} bytes and no control characters"
        )),
        _ => Ok(()),
    }
}

fn program(program: &Program) -> Result<(), String> {
    let Program { argv, env, .. } = program;
    if argv
        .first()
        .is_none_or(|command| command.as_bytes().is_empty())
    {
        return Err("the call has no command".to_owned());
    }
    if argv.len() > MAX_ITEMS || env.len() > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} arguments or variables"));
    }
    // It may be a value in the wrong place, so it is not shown.
    if env
        .keys()
        .any(|name| refused(name) == Some(Refused::NotAName))
    {
        return Err(format!(
            "the name of a variable has 1 to {} letters, digits and `_`, the first not a digit",
            environment::MAX_NAME_BYTES
        ));
    }
    let mut total = 0_usize;
    let arguments = argv.iter().map(|argument| (argument, 0));
    let variables = env.iter().map(|(name, value)| (value, name.len() + 1));
    for (text, before) in arguments.chain(variables) {
        let length = text.as_bytes().len() + before;
        total = total.saturating_add(length + 1);
        if text.as_bytes().contains(&0) {
            return Err("an argument or variable has a NUL character".to_owned());
        }
        if length > MAX_STRING_BYTES {
            return Err(format!(
                "an argument or variable is longer than {MAX_STRING_BYTES} bytes"
            ));
        }
    }
    if total > MAX_STRINGS_BYTES {
        return Err(format!(
            "arguments and variables have more than {MAX_STRINGS_BYTES} bytes together"
        ));
    }
    Ok(())
}

fn input_names(call: &Call) -> Result<(), String> {
    let inputs = &call.program.inputs;
    if inputs.len() > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} input files"));
    }
    let mut seen = BTreeSet::new();
    for input in inputs {
        let name = input.name.as_bytes();
        if matches!(name, b"" | b"." | b"..")
            || name.len() > MAX_INPUT_NAME_BYTES
            || name.iter().any(|byte| matches!(byte, 0 | b'/'))
        {
            return Err(format!(
                "the input name `{}` is not one path component",
                shown(&input.name.to_string())
            ));
        }
        if !seen.insert(name) {
            return Err(format!(
                "two inputs are called `{}`",
                shown(&input.name.to_string())
            ));
        }
    }
    Ok(())
}

fn secrets(_: &Profile, request: &Request<'_>) -> Answer {
    let Program { argv, env, .. } = &request.call.program;
    let refuse = |detail| refuse(Reason::SecretInEnvironment, detail);
    for (name, value) in env {
        if refused(name) == Some(Refused::Secret) {
            return refuse(format!("{} is the usual name of a secret", quoted(name)));
        }
        if let Some(what) = secret_in(name.as_bytes()) {
            return refuse(format!("the name of a variable looks like {what}"));
        }
        if let Some(what) = secret_in(value.as_bytes()) {
            return refuse(format!("the value of {} looks like {what}", quoted(name)));
        }
    }
    for (index, argument) in argv.iter().enumerate() {
        if let Some(what) = secret_in(argument.as_bytes()) {
            return refuse(format!("argument {index} holds what looks like {what}"));
        }
    }
    match request.source.and_then(secret_in) {
        Some(what) => refuse(format!("the source holds what looks like {what}")),
        None => Ok(()),
    }
}

fn environment(profile: &Profile, request: &Request<'_>) -> Answer {
    let invalid = |detail| refuse(Reason::InvalidCall, detail);
    for name in request.call.program.env.keys() {
        match refused(name) {
            Some(Refused::NotAName) => {
                return invalid(
                    "the name of a variable has other characters than letters, digits and `_`, \
                     begins with a digit, or is too long"
                        .to_owned(),
                );
            }
            // Whoever leads the call out sets it, and lets nobody else.
            Some(Refused::Reserved)
                if profile.base_urls.iter().any(|url| url.variable() == *name) => {}
            Some(Refused::Reserved) => {
                return invalid(format!(
                    "the variable {} is set by the sandbox",
                    quoted(name)
                ));
            }
            Some(Refused::Secret) | None => {}
        }
        if let Some(listed) = &profile.sandbox.environment
            && !listed.contains(name)
        {
            return invalid(format!(
                "the variable {} is not in sandbox.environment",
                quoted(name)
            ));
        }
    }
    Ok(())
}

fn limits(profile: &Profile, request: &Request<'_>) -> Answer {
    let asked = &request.call.limits;
    // To some kernels, none is no limit at all.
    if let Some((name, _)) = asked.named().into_iter().find(|(_, value)| *value == 0) {
        return refuse(Reason::InvalidCall, format!("the limit `{name}` is zero"));
    }
    match asked.first_above(&profile.sandbox.limits) {
        None => Ok(()),
        Some((name, asked, most)) => refuse(
            Reason::LimitExceeded,
            format!("the limit `{name}`: asked for {asked}, the profile gives {most}"),
        ),
    }
}

fn inputs(profile: &Profile, request: &Request<'_>) -> Answer {
    for input in &request.call.program.inputs {
        of_listed_type(profile, &input.name)?;
    }
    Ok(())
}

/// Whether the profile takes files with this name.
pub(super) fn of_listed_type(profile: &Profile, name: &Text) -> Answer {
    let Some(types) = &profile.sandbox.input_file_types else {
        return Ok(());
    };
    let of_type = |name: &[u8]| {
        types.iter().any(|end| {
            name.strip_suffix(end.as_bytes())
                .is_some_and(|stem| !stem.is_empty())
        })
    };
    if of_type(name.as_bytes()) {
        return Ok(());
    }
    refuse(
        Reason::InvalidCall,
        format!(
            "the input `{}` is of none of the types {}",
            shown(&name.to_string()),
            shown(&types.join(", "))
        ),
    )
}
