//! Whether a proxy holds.

use crate::{Case, run::Report};

/// What became of a case at a proxy that refuses in ways of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing arrived that may not, and what must arrive did.
    Held,
    /// Something did, or did not.
    Failed(String),
    /// The proxy has no such entry.
    NotAsked,
}

impl Report {
    /// Whether everything was exactly as the case says: steps, arrivals, and the one record of a refusal with its code.
    ///
    /// # Errors
    /// What was not.
    pub fn exact(&self, case: &Case) -> Result<(), String> {
        if self.missing {
            return Err("no such entry".to_owned());
        }
        if let Some(why) = &self.failure {
            return Err(why.clone());
        }
        let begun = self.seen.requests - self.seen.whole;
        if self.seen.whole != case.upstream
            || begun > usize::from(case.begun)
            || self.seen.messages != case.messages
            || !self.seen.faults.is_empty()
            || self.strays != 0
        {
            return Err(format!(
                "{:?} arrived, and {} connections where none may",
                self.seen, self.strays
            ));
        }
        let Some(denials) = &self.denials else {
            return Ok(());
        };
        match (denials.as_slice(), case.codes.as_slice()) {
            ([], []) => Ok(()),
            ([one], codes)
                if codes.contains(one) && self.code.as_ref().is_none_or(|code| code == one) =>
            {
                Ok(())
            }
            _ => Err(format!(
                "recorded {denials:?}, answered {:?}, expected one of {:?}",
                self.code, case.codes
            )),
        }
    }
}

/// Whether a proxy holds that may refuse in its own way: by what arrived alone. What must pass has to pass.
#[must_use]
pub fn judge(case: &Case, report: &Report) -> Outcome {
    let Report { seen, strays, .. } = report;
    if report.missing {
        return Outcome::NotAsked;
    }
    // Nothing was attacked: what did not arrive says nothing.
    if report.stalled {
        return Outcome::Failed("it fell silent before the attack".to_owned());
    }
    if *strays > 0 {
        return Outcome::Failed(format!("{strays} connections where none may be"));
    }
    if let Some(fault) = seen.faults.first() {
        return Outcome::Failed(format!("what arrived had {fault}"));
    }
    if seen.messages > case.messages {
        return Outcome::Failed(format!("{} messages arrived", seen.messages));
    }
    let must_pass = case.codes.is_empty() && !case.refused;
    let arrived = (seen.whole, seen.messages) == (case.upstream, case.messages);
    if must_pass && (report.failure.is_some() || !arrived) {
        let why = report.failure.clone();
        return Outcome::Failed(why.unwrap_or_else(|| "it did not arrive".to_owned()));
    }
    let most = case.upstream.max(usize::from(case.mended));
    let count = if case.begun {
        seen.whole
    } else {
        seen.requests
    };
    if count > most {
        return Outcome::Failed(format!("{count} requests arrived"));
    }
    // Names and addresses that are not good.test's may lead to its port, too.
    let elsewhere = case.id.starts_with(['A', 'D', 'N']) && case.upstream == 0 && !case.mended;
    if elsewhere && seen.connections > 0 {
        return Outcome::Failed("a connection arrived".to_owned());
    }
    if let (Some(_), Some(why)) = (&case.reply, &report.failure)
        && why.contains("may not be")
    {
        return Outcome::Failed(why.clone());
    }
    Outcome::Held
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, time::Duration};

    use rustls::ClientConfig;

    use super::*;
    use crate::{Destinations, Duplex, Later, Manner, Subject, Within, cases, run};

    /// A proxy that takes connections and says nothing.
    struct Silent;

    impl Subject for Silent {
        fn connect(&self) -> Later<'_, Box<dyn Duplex>> {
            Box::pin(async {
                let (near, far) = tokio::io::duplex(1 << 16);
                // It stays open.
                std::mem::forget(far);
                Box::new(near) as Box<dyn Duplex>
            })
        }

        fn dial(&self, _: SocketAddr) -> Option<Later<'_, Box<dyn Duplex>>> {
            None
        }

        fn ask<'a>(&'a self, _: &'a [u8]) -> Option<Later<'a, Vec<u8>>> {
            None
        }

        fn trust(&self, _: &[&[u8]], _: bool) -> ClientConfig {
            panic!("nothing comes so far")
        }

        fn denials(&self) -> Later<'_, Option<Vec<String>>> {
            Box::pin(async { None })
        }
    }

    /// Whoever never let the client make its tunnel has withstood nothing that was to happen in it.
    #[tokio::test]
    async fn silence_before_the_attack_holds_nothing() {
        let tunnelled = |case: &Case| case.place == Some(Within::Tunnel) && !case.codes.is_empty();
        let mut all = cases().into_iter().flat_map(|case: Case| case.variants());
        let variant = all.find(tunnelled).unwrap();
        let destinations = Destinations::new().await.unwrap();
        let manner = Manner {
            persists: true,
            patience: Duration::from_millis(10),
        };
        let mut report = run(&variant, &Silent, &destinations, manner).await;
        assert!(report.stalled);
        assert!(matches!(judge(&variant, &report), Outcome::Failed(_)));
        // The same silence as an answer to the attack is a refusal.
        report.stalled = false;
        assert_eq!(judge(&variant, &report), Outcome::Held);
    }
}
