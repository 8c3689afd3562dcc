//! What the doctor found, and what it comes to.

use casemate_model::Isolation;
use serde::Serialize;

use super::host::Host;
use crate::{egress::Enforced, exit::Exit};

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Diagnosis {
    pub(super) verdict: Word,
    pub(super) host: Host,
    /// What a sandbox enforces here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) isolation: Option<Isolation>,
    pub(super) attacks: Vec<Attack>,
    /// The tier `gvisor` here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gvisor: Option<GvisorFound>,
    /// What the process of egress is kept from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) egress: Option<EgressFound>,
    /// Why there is no sandbox, if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) obstacle: Option<Obstacle>,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Held,
    GotThrough,
    NoSandbox,
}

/// One attack.
#[derive(Debug, Serialize)]
pub(super) struct Attack {
    pub(super) theme: String,
    /// Its name in the escape suite.
    pub(super) attempt: String,
    pub(super) must_not: String,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub(super) enum Outcome {
    Held,
    GotThrough {
        findings: Vec<String>,
    },
    Skipped {
        why: String,
    },
    /// There was no sandbox to attack.
    Unknown {
        why: String,
    },
}

/// The process of egress, as it is found here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EgressFound {
    /// One was started, and tried what it must not be able to do.
    Kept(Enforced),
    /// None can be started, and no call of a session has a way out.
    Missing { why: String },
}

/// The tier `gvisor`, as it is found here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum GvisorFound {
    /// Sandboxes with it were made, and attacked.
    Kept {
        version: String,
        platform: String,
        isolation: Isolation,
        attacks: Vec<Attack>,
    },
    /// None can be made, and profiles that ask for it are refused.
    Missing { why: String },
}

/// What prevents sandboxes.
#[derive(Debug, Serialize)]
pub(super) struct Obstacle {
    pub(super) error: String,
    pub(super) advice: Vec<String>,
}

impl Diagnosis {
    pub(super) fn of_attacks(host: Host, isolation: Isolation, attacks: Vec<Attack>) -> Self {
        let any =
            |wanted: fn(&Outcome) -> bool| attacks.iter().any(|attack| wanted(&attack.outcome));
        let verdict = if any(|outcome| matches!(outcome, Outcome::GotThrough { .. })) {
            Word::GotThrough
        } else if any(|outcome| matches!(outcome, Outcome::Unknown { .. })) {
            Word::NoSandbox
        } else {
            Word::Held
        };
        Self {
            verdict,
            host,
            isolation: Some(isolation),
            attacks,
            gvisor: None,
            egress: None,
            obstacle: None,
        }
    }

    /// The same with what was found of the tier `gvisor`: what gets through there gets through.
    pub(super) fn with_gvisor(mut self, found: GvisorFound) -> Self {
        if let GvisorFound::Kept { attacks, .. } = &found {
            let got_through =
                |attack: &Attack| matches!(attack.outcome, Outcome::GotThrough { .. });
            if attacks.iter().any(got_through) {
                self.verdict = Word::GotThrough;
            }
        }
        self.gvisor = Some(found);
        self
    }

    pub(super) fn without_sandbox(host: Host, error: String, advice: Vec<String>) -> Self {
        Self {
            verdict: Word::NoSandbox,
            host,
            isolation: None,
            attacks: Vec::new(),
            gvisor: None,
            egress: None,
            obstacle: Some(Obstacle { error, advice }),
        }
    }

    pub(super) const fn exit(&self) -> Exit {
        match self.verdict {
            Word::Held => Exit::Success,
            Word::GotThrough => Exit::Invalid,
            Word::NoSandbox => Exit::NoSandbox,
        }
    }

    /// Every attack, on sandboxes of each tier.
    pub(super) fn all_attacks(&self) -> impl Iterator<Item = &Attack> {
        let more = match &self.gvisor {
            Some(GvisorFound::Kept { attacks, .. }) => attacks.as_slice(),
            _ => &[],
        };
        self.attacks.iter().chain(more)
    }

    /// How many attacks were held, and how many could not be tried.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |wanted: fn(&Outcome) -> bool| {
            self.all_attacks()
                .filter(|attack| wanted(&attack.outcome))
                .count()
        };
        (
            count(|outcome| *outcome == Outcome::Held),
            count(|outcome| matches!(outcome, Outcome::Skipped { .. })),
        )
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::IsolationTier;

    use super::*;

    fn diagnosis(outcomes: Vec<Outcome>) -> Diagnosis {
        let attack = |outcome| Attack {
            theme: "network".into(),
            attempt: "network/x".into(),
            must_not: "x".into(),
            outcome,
        };
        let isolation = Isolation {
            tier: IsolationTier::Namespace,
            controls: Vec::new(),
        };
        Diagnosis::of_attacks(
            Host::look(),
            isolation,
            outcomes.into_iter().map(attack).collect(),
        )
    }

    fn got_through() -> Outcome {
        let findings = vec!["the host's TCP listener was reached".into()];
        Outcome::GotThrough { findings }
    }

    fn skipped() -> Outcome {
        Outcome::Skipped { why: "x".into() }
    }

    fn unknown() -> Outcome {
        Outcome::Unknown { why: "x".into() }
    }

    /// I1: one attack that gets through decides, whatever the others say; none is taken for held.
    #[test]
    fn the_worst_outcome_is_the_exit_code() {
        for (outcomes, code) in [
            (vec![Outcome::Held, Outcome::Held], 0),
            (vec![Outcome::Held, skipped()], 0),
            (vec![Outcome::Held, got_through(), Outcome::Held], 1),
            (vec![skipped(), got_through(), unknown()], 1),
            (vec![unknown(), Outcome::Held], 121),
        ] {
            assert_eq!(diagnosis(outcomes).exit().code(), code);
        }
        let none = Diagnosis::without_sandbox(Host::look(), "x".into(), Vec::new());
        assert_eq!(none.exit().code(), 121);
    }

    /// I1, I7: one attack that gets through under gVisor decides too; that there is none is no fault of the host.
    #[test]
    fn what_gets_through_under_gvisor_decides_too() {
        let found = |outcome| GvisorFound::Kept {
            version: "release-20240729.0".into(),
            platform: "systrap".into(),
            isolation: Isolation {
                tier: IsolationTier::Gvisor,
                controls: Vec::new(),
            },
            attacks: diagnosis(vec![outcome]).attacks,
        };
        let code = |found| {
            diagnosis(vec![Outcome::Held])
                .with_gvisor(found)
                .exit()
                .code()
        };
        assert_eq!(code(found(Outcome::Held)), 0);
        assert_eq!(code(found(got_through())), 1);
        assert_eq!(code(GvisorFound::Missing { why: "x".into() }), 0);
    }

    #[test]
    fn json_says_what_got_through() {
        let json = serde_json::to_value(diagnosis(vec![got_through()])).unwrap();
        assert_eq!(json["verdict"], "got_through");
        assert_eq!(json["attacks"][0]["outcome"], "got_through");
        assert_eq!(
            json["attacks"][0]["findings"][0],
            "the host's TCP listener was reached"
        );
    }
}
