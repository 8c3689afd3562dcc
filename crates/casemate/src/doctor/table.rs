//! A diagnosis for people.

use std::fmt;

use casemate_model::Control;

use super::{
    diagnosis::{Attack, Diagnosis, EgressFound, GvisorFound, Outcome, Word},
    host::Host,
};

/// Prints as a table whose last line is the verdict.
pub(super) struct Table<'a>(pub(super) &'a Diagnosis);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let diagnosis = self.0;
        host(f, &diagnosis.host)?;
        if let Some(isolation) = &diagnosis.isolation {
            writeln!(
                f,
                "\nEnforced by a sandbox of the tier `{}`",
                isolation.tier
            )?;
            isolation
                .controls
                .iter()
                .try_for_each(|found| control(f, found))?;
            writeln!(f, "\nAttacks")?;
            diagnosis
                .attacks
                .iter()
                .try_for_each(|tried| attack(f, tried))?;
        }
        if let Some(found) = &diagnosis.gvisor {
            gvisor(f, found)?;
        }
        if let Some(found) = &diagnosis.egress {
            egress(f, found)?;
        }
        if let Some(obstacle) = &diagnosis.obstacle {
            writeln!(f, "\n{}", obstacle.error)?;
            obstacle
                .advice
                .iter()
                .try_for_each(|line| writeln!(f, "hint: {line}"))?;
        }
        writeln!(f, "\n{}", verdict(diagnosis))
    }
}

fn host(f: &mut fmt::Formatter<'_>, host: &Host) -> fmt::Result {
    let landlock = match host.landlock_abi {
        0 => "none".to_owned(),
        abi => format!("ABI {abi}"),
    };
    let namespaces = match (host.user_namespaces, host.user_namespaces_max) {
        (false, _) => "none".to_owned(),
        (true, Some(most)) => format!("at most {most}"),
        (true, None) => "yes".to_owned(),
    };
    let python = if host.python3 {
        "/usr/bin/python3"
    } else {
        "not here"
    };
    let user = if host.is_root() {
        "root".to_owned()
    } else {
        format!("{}, an ordinary user", host.user_id)
    };
    writeln!(f, "This host")?;
    for (name, value) in [
        ("kernel", host.kernel.as_str()),
        ("Landlock", &landlock),
        ("cgroups", host.cgroups),
        ("user namespaces", &namespaces),
        ("python3", python),
        ("user", &user),
    ] {
        writeln!(f, "  {name:<19} {value}")?;
    }
    Ok(())
}

fn control(f: &mut fmt::Formatter<'_>, control: &Control) -> fmt::Result {
    let Control {
        name,
        strength,
        by,
        note,
    } = control;
    write!(f, "  {:<19} {:<10} {by}", name.as_str(), strength.as_str())?;
    if !note.is_empty() {
        write!(f, ": {note}")?;
    }
    writeln!(f)
}

fn gvisor(f: &mut fmt::Formatter<'_>, found: &GvisorFound) -> fmt::Result {
    writeln!(f, "\nThe tier `gvisor`")?;
    match found {
        GvisorFound::Missing { why } => writeln!(f, "  there is none: {why}"),
        GvisorFound::Kept {
            version,
            platform,
            isolation,
            attacks,
        } => {
            writeln!(f, "  {:<19} {version}", "runsc")?;
            writeln!(f, "  {:<19} {platform}", "platform")?;
            isolation
                .controls
                .iter()
                .try_for_each(|found| control(f, found))?;
            writeln!(f, "\nAttacks under gVisor")?;
            attacks.iter().try_for_each(|tried| attack(f, tried))
        }
    }
}

fn egress(f: &mut fmt::Formatter<'_>, found: &EgressFound) -> fmt::Result {
    writeln!(f, "\nThe process of egress")?;
    match found {
        EgressFound::Missing { why } => writeln!(f, "  there is none: {why}"),
        EgressFound::Kept(enforced) => {
            writeln!(f, "  {:<19} {}", "user", enforced.user)?;
            writeln!(f, "  {:<19} {}", "Landlock", enforced.landlock)?;
            enforced.tried.iter().try_for_each(|tried| {
                let held = if tried.held { "held" } else { "POSSIBLE" };
                writeln!(f, "  cannot {}: {held}", tried.what)
            })
        }
    }
}

fn attack(f: &mut fmt::Formatter<'_>, attack: &Attack) -> fmt::Result {
    write!(f, "  {:<19} ", attack.theme)?;
    match &attack.outcome {
        Outcome::Held => writeln!(f, "held"),
        Outcome::Skipped { why } => writeln!(f, "skipped: {why}"),
        Outcome::Unknown { why } => writeln!(f, "not tried: {why}"),
        Outcome::GotThrough { findings } => {
            writeln!(f, "GOT THROUGH: {}", attack.must_not)?;
            findings
                .iter()
                .try_for_each(|line| writeln!(f, "    {line}"))
        }
    }
}

fn verdict(diagnosis: &Diagnosis) -> String {
    let (held, skipped) = diagnosis.counts();
    let total = diagnosis.all_attacks().count();
    match (diagnosis.verdict, skipped) {
        (Word::Held, 0) => format!("All {total} attacks were held."),
        (Word::Held, _) => format!("{held} attacks were held; {skipped} could not be tried here."),
        (Word::GotThrough, _) => {
            let through = diagnosis.all_attacks();
            let through =
                through.filter(|attack| matches!(attack.outcome, Outcome::GotThrough { .. }));
            format!(
                "{} of {total} attacks GOT THROUGH: do not run code here.",
                through.count()
            )
        }
        (Word::NoSandbox, _) => "No sandbox can be made here: nothing runs.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::{ControlName, Isolation, IsolationTier, Strength};

    use super::*;

    fn table(outcomes: Vec<Outcome>) -> String {
        let attack = |outcome| Attack {
            theme: "network".into(),
            attempt: "network/x".into(),
            must_not: "a listener of the host is reached".into(),
            outcome,
        };
        let isolation = Isolation {
            tier: IsolationTier::Namespace,
            controls: vec![Control {
                name: ControlName::Memory,
                strength: Strength::Partial,
                by: "RLIMIT_AS".into(),
                note: "for each process".into(),
            }],
        };
        let attacks = outcomes.into_iter().map(attack).collect();
        Table(&Diagnosis::of_attacks(Host::look(), isolation, attacks)).to_string()
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let skipped = || Outcome::Skipped {
            why: "no python".into(),
        };
        let through = Outcome::GotThrough {
            findings: vec!["it was reached".into()],
        };
        for (outcomes, verdict) in [
            (
                vec![Outcome::Held, Outcome::Held],
                "All 2 attacks were held.",
            ),
            (
                vec![Outcome::Held, skipped()],
                "1 attacks were held; 1 could not be tried here.",
            ),
            (
                vec![Outcome::Held, through],
                "1 of 2 attacks GOT THROUGH: do not run code here.",
            ),
        ] {
            assert_eq!(table(outcomes).lines().last(), Some(verdict));
        }
    }

    #[test]
    fn what_is_weak_and_what_got_through_is_said_in_full() {
        let text = table(vec![Outcome::GotThrough {
            findings: vec!["it was reached".into()],
        }]);
        assert!(
            text.contains("memory              partial    RLIMIT_AS: for each process\n"),
            "{text}"
        );
        assert!(
            text.contains("GOT THROUGH: a listener of the host is reached\n    it was reached\n"),
            "{text}"
        );
    }
}
