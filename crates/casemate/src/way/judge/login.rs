//! The judgment of logins, after which nothing is judged.

use casemate_egress::{Allowance, Code, Denial, LoginFacts};
use casemate_policy::{DestinationFacts, EgressCode};
use casemate_ports::{ConsultedBody, ConsultedRequest};

use super::{Look, Rules, denial, scheme};

impl Rules {
    /// Decides, as far as that takes nobody else.
    pub(super) fn decide_login(&self, facts: &LoginFacts) -> Result<Allowance, Denial> {
        self.open()?;
        let target = facts.destination.target();
        let ruled = self.policy.login(&casemate_policy::LoginFacts {
            destination: DestinationFacts {
                tool: &self.sender.tool,
                scheme: scheme(target.scheme),
                host: &target.host.to_string(),
                port: target.port,
            },
            ceiling: self.sender.ceiling,
            user: &facts.user,
            database: &facts.database,
        });
        let rule = ruled.map_err(|(code, rule)| denial(code, rule))?;
        // As for requests: the connection is made by what the destination was admitted by.
        if rule.class != facts.destination.class() || self.pins(rule) != facts.destination.pins() {
            return Err(denial(EgressCode::ClassUnknown, Some(rule)));
        }
        if self.lost(rule) {
            return Err(Denial {
                rule: Some(rule.name.clone()),
                ..Code::Revoked.into()
            });
        }
        self.count(rule, Look::First)?;
        Ok(Allowance {
            rule: rule.name.clone(),
            side_effect: rule.side_effect,
            body_bytes: 0,
            credential: rule.credential.clone(),
            escaped_slash: false,
            messages: None,
            without: Vec::new(),
        })
    }
}

/// The login as a program of the operator's is shown it: a tunnel, of which nobody sees what goes through.
pub(super) fn consulted(facts: &LoginFacts) -> ConsultedRequest {
    let target = facts.destination.target();
    ConsultedRequest {
        decision: facts.decision,
        method: "CONNECT".to_owned(),
        host: target.host.to_string(),
        port: target.port,
        server_name: None,
        path: format!("/{}", facts.database),
        query: None,
        fields: Vec::new(),
        body: ConsultedBody::Stream,
    }
}
