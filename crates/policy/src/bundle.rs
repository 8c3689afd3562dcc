//! A bundle's profiles, tools and policies, checked together and put into one engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use casemate_model::{Digest, SideEffect};
use cedar_policy::{Effect, Policy, PolicyId, PolicySet, ValidationMode, Validator};

use crate::{
    cedar::Vocabulary,
    decide::Access,
    diagnostic::{Diagnostic, Fault, Report},
    engine::{Engine, Source},
    grant::needed,
    manifest::Manifest,
    profile::Profile,
    rules,
    tool::ToolFacts,
    visible::{message, quoted},
};

/// The largest file of policies, in bytes.
pub const MAX_POLICY_BYTES: usize = 1 << 20;
/// The most policies of one bundle.
pub const MAX_POLICIES: usize = 100_000;

/// What a bundle is made of, each part read already.
#[derive(Debug)]
pub struct BundleParts {
    /// Names the bundle.
    pub digest: Digest,
    /// The profiles.
    pub profiles: Vec<Profile>,
    /// What the tools are. Every tool that a profile lists needs one.
    pub manifests: Vec<Manifest>,
    /// Files of Cedar policies that narrow what the profiles grant.
    pub policies: Vec<PolicyFile>,
}

impl Default for BundleParts {
    fn default() -> Self {
        Self {
            digest: Digest::of(b""),
            profiles: Vec::new(),
            manifests: Vec::new(),
            policies: Vec::new(),
        }
    }
}

/// A file of policies.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// How its reader knows it.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
}

/// Something that is wrong with a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFault {
    /// The file, or what the file is for.
    pub file: String,
    /// What is wrong there.
    pub diagnostic: Diagnostic,
}

impl BundleFault {
    fn whole(file: impl Into<String>, path: &str, message: String, hint: &str) -> Self {
        Self {
            file: file.into(),
            diagnostic: Diagnostic {
                line: 1,
                column: 1,
                path: path.to_owned(),
                message,
                hint: hint.to_owned(),
            },
        }
    }
}

impl Engine {
    /// Checks a bundle's parts, each by itself and together, and makes its engine.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn compile(parts: BundleParts) -> Result<Self, Vec<BundleFault>> {
        let mut faults = Vec::new();
        let manifests = manifests(parts.manifests, &mut faults);
        let mut routes: BTreeMap<String, Arc<Profile>> = BTreeMap::new();
        for profile in parts.profiles {
            check_profile(&profile, &manifests, &mut faults);
            let route = profile.route.clone();
            if routes.insert(route.clone(), Arc::new(profile)).is_some() {
                faults.push(BundleFault::whole(
                    &route,
                    "route",
                    format!("two profiles are for the route {}", quoted(&route)),
                    "leave one out",
                ));
            }
        }
        if routes.is_empty() {
            faults.push(BundleFault::whole(
                "profiles",
                "",
                "the bundle has no profile".to_owned(),
                "add one to profiles/",
            ));
        }
        let mut policies = Vec::new();
        let mut files = BTreeMap::new();
        for file in &parts.policies {
            match read_policies(file, &mut files) {
                Ok(read) => policies.extend(read),
                Err(found) => faults.extend(found.into_iter().map(|diagnostic| BundleFault {
                    file: file.name.clone(),
                    diagnostic,
                })),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let source = Source {
            digest: parts.digest,
            profiles: routes.into_values().collect(),
            manifests,
            policies,
            accesses: true,
        };
        Self::new(source).map_err(|error| {
            vec![BundleFault::whole(
                "the bundle",
                "",
                error.to_string(),
                "correct what Cedar names",
            )]
        })
    }
}

/// What the tools are, and which two manifests are of one tool.
fn manifests(all: Vec<Manifest>, faults: &mut Vec<BundleFault>) -> BTreeMap<String, Manifest> {
    let builtin = Manifest::builtin().unwrap_or_else(|error| {
        let message = error.to_string();
        faults.push(BundleFault::whole(
            "tools",
            "",
            message,
            "this build is broken",
        ));
        Vec::new()
    });
    let mut by_name = BTreeMap::new();
    for manifest in builtin.into_iter().chain(all) {
        let name = manifest.name.clone();
        if by_name.insert(name.clone(), manifest).is_some() {
            faults.push(BundleFault::whole(
                &name,
                "name",
                format!("two manifests are of the tool {}", quoted(&name)),
                "leave one out; `python` and `shell` are there in every build",
            ));
        }
    }
    by_name
}

/// What a profile has to say in a bundle, and need not when it is used by itself.
fn check_profile(
    profile: &Profile,
    manifests: &BTreeMap<String, Manifest>,
    faults: &mut Vec<BundleFault>,
) {
    let mut fault = |path: &str, message: String, hint: &str| {
        faults.push(BundleFault::whole(&profile.route, path, message, hint));
    };
    if profile.tier.is_none() {
        fault(
            "tier",
            "the profile has no tier".to_owned(),
            "say what kind of work it contains: nothing moves to a stronger tier by itself",
        );
    }
    let accesses: Vec<_> = Access::KINDS.iter().map(|kind| kind.as_str()).collect();
    for name in profile.tools.listed() {
        if accesses.contains(&name) {
            fault(
                "tools",
                format!(
                    "the tool {} is called as something that is done with sessions",
                    quoted(name)
                ),
                "give it another name",
            );
        }
        let Some(described) = manifests.get(name).map(ToolFacts::from) else {
            fault(
                "tools",
                format!("the tool {} has no manifest", quoted(name)),
                "add one to tools/",
            );
            continue;
        };
        let facts = ToolFacts::of(profile, name, Some(&described));
        let Some(tier) = profile.tier else {
            continue;
        };
        if facts.tier > tier {
            fault(
                "tier",
                format!(
                    "the tool {} needs the tier `{}`, the profile's is `{}`",
                    quoted(name),
                    facts.tier,
                    tier
                ),
                "take the tool out, or raise the tier: somebody has to decide that",
            );
        }
        if needed(profile, name, Some(&facts)).next().is_none() {
            fault(
                "tools.scopes",
                format!("no scope is named for the tool {}", quoted(name)),
                "name one: without a scope nothing runs",
            );
        }
    }
}

/// Reads a file of policies. Each narrows: what may happen is said by profiles alone.
///
/// `files` says which policy is in which file, of those that were read before.
fn read_policies<'f>(
    file: &'f PolicyFile,
    files: &mut BTreeMap<String, &'f str>,
) -> Result<Vec<Policy>, Vec<Diagnostic>> {
    let mut report = Report::new(&file.text);
    let mut wrong = |message: &str, hint: &str| {
        report.add(0, "", || Fault::new(message, hint));
    };
    if file.text.len() > MAX_POLICY_BYTES {
        wrong("larger than 1 MiB", "split the file");
        return report.finish(Vec::new());
    }
    let Ok(text) = str::from_utf8(&file.text) else {
        wrong("not UTF-8", "save the file as UTF-8");
        return report.finish(Vec::new());
    };
    let set: PolicySet = match text.parse() {
        Ok(set) => set,
        Err(errors) => {
            add(&mut report, &errors);
            return report.finish(Vec::new());
        }
    };
    if set.templates().next().is_some() {
        wrong(
            "a template",
            "write the policy out: nothing here fills templates in",
        );
    }
    let mut named = Vec::new();
    for policy in set.policies() {
        // What Cedar calls them, `policy0` and so on, is of one file.
        let at = position_of(text, policy);
        let id = match policy.annotation("id").map(rules::policy) {
            Some(Ok(own)) => own,
            Some(Err(fault)) => {
                report.add(at, "", || fault);
                continue;
            }
            None => format!("{}#{}", file.name, policy.id()),
        };
        if let Some(other) = files.insert(id.clone(), &file.name) {
            report.add(at, &id, || {
                Fault::new(
                    format!("another policy is called so, in {}", message(other)),
                    "give each policy a name of its own",
                )
            });
            continue;
        }
        if policy.effect() == Effect::Permit {
            report.add(at, &id, || {
                Fault::new(
                    "a `permit`: what may happen is said by profiles alone",
                    "add the tool to a profile, or write a `forbid` with `unless`",
                )
            });
        }
        named.push((at, policy.new_id(PolicyId::new(id))));
    }
    if files.len() > MAX_POLICIES {
        report.add(0, "", || {
            Fault::new(
                format!("more than {MAX_POLICIES} policies"),
                "leave some out",
            )
        });
    }
    validate(&named, &mut report);
    report.finish(named.into_iter().map(|(_, policy)| policy).collect())
}

/// Checks policies against the schema: names, types, and whether they can match at all.
fn validate(named: &[(usize, Policy)], report: &mut Report<'_>) {
    let Ok(words) = Vocabulary::get() else {
        return;
    };
    let mut set = PolicySet::new();
    for (at, policy) in named {
        if let Err(error) = set.add(policy.clone()) {
            report.add(*at, "", || {
                Fault::new(said(&error), "give each policy a name of its own")
            });
        }
    }
    let at = |id: &PolicyId| {
        let mut found = named.iter().filter(|(_, policy)| policy.id() == id);
        found.next().map_or(0, |(at, _)| *at)
    };
    let result = Validator::new(words.schema.clone()).validate(&set, ValidationMode::Strict);
    // Cedar says it again for each action to which a policy applies, in no order.
    let mut found = BTreeSet::new();
    for error in result.validation_errors() {
        let id = error.policy_id();
        let place = place(error).unwrap_or_else(|| at(id));
        found.insert((place, id.to_string(), said(error), help(error)));
    }
    for warning in result.validation_warnings() {
        let id = warning.policy_id();
        let place = place(warning).unwrap_or_else(|| at(id));
        found.insert((place, id.to_string(), said(warning), help(warning)));
    }
    for (place, id, message, hint) in found {
        report.add(place, &id, || Fault::new(message, hint));
    }
}

/// Every error of a parser.
fn add(report: &mut Report<'_>, errors: &cedar_policy::ParseErrors) {
    for error in errors.iter() {
        report.add(place(error).unwrap_or(0), "", || {
            Fault::new(said(error), help(error))
        });
    }
}

fn place(error: &impl miette::Diagnostic) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

fn help(error: &impl miette::Diagnostic) -> String {
    error.help().map_or_else(
        || "see docs/reference/policies.md".to_owned(),
        |help| message(&help.to_string()),
    )
}

/// What Cedar says, on one line that can drive no terminal, without the policy's name, which stands before it, and without the action,
/// because the context is the same for each.
fn said(error: &impl ToString) -> String {
    let text = error.to_string();
    let own = text
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "));
    let own = own.map_or(text.as_str(), |(_, own)| own);
    let mut plain = own.to_owned();
    for side_effect in SideEffect::ALL {
        let action = format!(" for Casemate::Action::\"{side_effect}\"");
        plain = plain.replace(&action, "");
    }
    message(&plain)
}

/// Where a policy stands in its file.
fn position_of(text: &str, policy: &Policy) -> usize {
    policy
        .to_cedar()
        .and_then(|own| text.find(&own).or_else(|| text.find(own.lines().next()?)))
        .unwrap_or(0)
}

impl std::fmt::Display for BundleFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.diagnostic)
    }
}

impl std::error::Error for BundleFault {}
