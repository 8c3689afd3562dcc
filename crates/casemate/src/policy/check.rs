//! `casemate policy check | test | show`.

use std::path::Path;

use casemate_policy::{Trial, Tried};

use super::bundle::{Loaded, load};
use crate::{
    exit::Exit,
    report::{self, Failure},
};

/// Says what is wrong with a bundle, or that nothing is.
pub(crate) fn check(name: &Path) -> Result<Exit, Failure> {
    let loaded = load(name)?;
    let (bundle, engine) = (&loaded.bundle, &loaded.engine);
    let routes: Vec<_> = engine.routes().collect();
    report::print(format_args!(
        "{} version {}: valid, {}\nroutes: {}\npolicies: {}, tests: {}\n",
        bundle.name(),
        bundle.version(),
        bundle.digest(),
        routes.join(", "),
        engine.policies().policies().count(),
        count(&loaded),
    ))?;
    Ok(Exit::Success)
}

/// Runs the tests of a bundle.
pub(crate) fn test(name: &Path) -> Result<Exit, Failure> {
    let loaded = load(name)?;
    let failed = failures(&loaded);
    for (file, tried) in &failed {
        let failure = tried.failure.as_deref().unwrap_or_default();
        report::print(format_args!("{file}: {}: {failure}\n", tried.name))?;
    }
    let all = count(&loaded);
    report::print(format_args!(
        "{} passed, {} failed\n",
        all - failed.len(),
        failed.len()
    ))?;
    if all == 0 {
        return Err(Failure::invalid(anyhow::anyhow!("the bundle has no tests"))
            .hint("add one to tests/: a bundle is activated only with tests"));
    }
    Ok(if failed.is_empty() {
        Exit::Success
    } else {
        Exit::Invalid
    })
}

/// Prints what a bundle comes to, in Cedar.
pub(crate) fn show(name: &Path) -> Result<Exit, Failure> {
    let loaded = load(name)?;
    let mut policies: Vec<_> = loaded.engine.policies().policies().collect();
    policies.sort_by_key(|policy| policy.id().to_string());
    for policy in policies {
        report::print(format_args!("{}\n\n", policy.to_string().trim_end()))?;
    }
    Ok(Exit::Success)
}

/// How many tests a bundle has.
pub(crate) fn count(loaded: &Loaded) -> usize {
    loaded.trials.iter().map(|(_, trials)| trials.len()).sum()
}

/// The tests that fail, each with its file.
pub(crate) fn failures(loaded: &Loaded) -> Vec<(String, Tried)> {
    let mut failed = Vec::new();
    for (file, trials) in &loaded.trials {
        let tried = trials.iter().map(|trial: &Trial| trial.run(&loaded.engine));
        let bad = tried.filter(|tried| tried.failure.is_some());
        failed.extend(bad.map(|tried| (file.clone(), tried)));
    }
    failed
}
