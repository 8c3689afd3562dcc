//! A request that shows the contrary, as data that anybody can try again.

use std::fmt;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request, Response, Schema,
};
use cedar_policy_symcc::Env;
use serde_json::{Value, json};

/// A concrete request and its entities, and what the real engine decides about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Counterexample {
    /// Who asks, in Cedar's notation.
    pub principal: String,
    /// To do what.
    pub action: String,
    /// With what.
    pub resource: String,
    /// The request's context, in Cedar's JSON.
    pub context: Value,
    /// The entities, in Cedar's JSON.
    pub entities: Value,
    /// What the policies in question decide.
    pub decision: Decision,
    /// The ids of the policies that decide.
    pub determined_by: Vec<String>,
    /// What went wrong while they were evaluated.
    pub errors: Vec<String>,
}

/// Why what the solver found is no counterexample.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A request without one of its parts.
    #[error("it has no {part}")]
    Incomplete {
        /// Which.
        part: &'static str,
    },
    /// A part that cannot be written down, or that the schema does not accept.
    #[error("its {part} cannot be read back")]
    Unreadable {
        /// Which.
        part: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The real engine decides otherwise.
    #[error("the engine does not confirm that {expected}; it decides {decision:?} on {request}")]
    NotConfirmed {
        /// What the solver claims.
        expected: &'static str,
        /// What the engine decides.
        decision: Decision,
        /// The request and its entities as JSON.
        request: String,
    },
}

/// What the solver found, written as JSON and read back under the schema.
pub(crate) struct Case {
    request: Request,
    entities: Entities,
    shown: Shown,
}

struct Shown {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    context: Value,
    entities: Value,
}

impl Case {
    pub(crate) fn read_back(schema: &Schema, found: &Env) -> Result<Self, ReplayError> {
        let incomplete = |part| ReplayError::Incomplete { part };
        let request = &found.request;
        let context = request.context().ok_or(incomplete("context"))?;
        let shown = Shown {
            principal: request.principal().ok_or(incomplete("principal"))?.clone(),
            action: request.action().ok_or(incomplete("action"))?.clone(),
            resource: request.resource().ok_or(incomplete("resource"))?.clone(),
            context: context.to_json_value().map_err(unreadable("context"))?,
            entities: found
                .entities
                .to_json_value()
                .map_err(unreadable("entities"))?,
        };
        let context =
            Context::from_json_value(shown.context.clone(), Some((schema, &shown.action)))
                .map_err(unreadable("context"))?;
        let entities = Entities::from_json_value(shown.entities.clone(), Some(schema))
            .map_err(unreadable("entities"))?;
        let request = Request::new(
            shown.principal.clone(),
            shown.action.clone(),
            shown.resource.clone(),
            context,
            Some(schema),
        )
        .map_err(unreadable("request"))?;
        Ok(Self {
            request,
            entities,
            shown,
        })
    }

    pub(crate) fn decide(&self, policies: &PolicySet) -> Response {
        Authorizer::new().is_authorized(&self.request, policies, &self.entities)
    }

    /// The case with the engine's `response`, of which the solver claims `expected`, and `confirmed` says whether it is so.
    pub(crate) fn confirm(
        self,
        response: &Response,
        expected: &'static str,
        confirmed: impl FnOnce(&Response) -> bool,
    ) -> Result<Counterexample, ReplayError> {
        let decision = response.decision();
        if !confirmed(response) {
            return Err(ReplayError::NotConfirmed {
                expected,
                decision,
                request: self.shown.to_string(),
            });
        }
        let diagnostics = response.diagnostics();
        let mut determined_by: Vec<_> = diagnostics.reason().map(ToString::to_string).collect();
        determined_by.sort();
        Ok(Counterexample {
            principal: self.shown.principal.to_string(),
            action: self.shown.action.to_string(),
            resource: self.shown.resource.to_string(),
            context: self.shown.context,
            entities: self.shown.entities,
            decision,
            determined_by,
            errors: diagnostics.errors().map(ToString::to_string).collect(),
        })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = json!({
            "principal": self.principal.to_string(),
            "action": self.action.to_string(),
            "resource": self.resource.to_string(),
            "context": self.context,
            "entities": self.entities,
        });
        value.fmt(f)
    }
}

fn unreadable<E>(part: &'static str) -> impl FnOnce(E) -> ReplayError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| ReplayError::Unreadable {
        part,
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Entity, RestrictedExpression};

    use super::*;

    const USER: &str = r#"User::"u""#;

    fn schema() -> Schema {
        let text = "entity User = { old: Bool };
            action read appliesTo { principal: User, resource: User, context: { n: Long } };";
        Schema::from_cedarschema_str(text).unwrap().0
    }

    fn found(n: RestrictedExpression) -> Env {
        let old = RestrictedExpression::new_bool(true);
        let user = Entity::new(
            USER.parse().unwrap(),
            [("old".to_owned(), old)].into(),
            [].into(),
        );
        let request = Request::new(
            USER.parse().unwrap(),
            r#"Action::"read""#.parse().unwrap(),
            USER.parse().unwrap(),
            Context::from_pairs([("n".to_owned(), n)]).unwrap(),
            None,
        );
        Env {
            request: request.unwrap(),
            entities: Entities::from_entities([user.unwrap()], None).unwrap(),
        }
    }

    #[test]
    fn what_the_engine_does_not_confirm_is_no_counterexample() {
        let policies: PolicySet = "permit(principal, action, resource) when { context.n > 1 };"
            .parse()
            .unwrap();
        let is_allowed = |response: &Response| response.decision() == Decision::Allow;
        let replay = |n| {
            let case = Case::read_back(&schema(), &found(RestrictedExpression::new_long(n)))?;
            let response = case.decide(&policies);
            case.confirm(&response, "this is allowed", is_allowed)
        };
        let example = replay(2).unwrap();
        assert_eq!(example.determined_by, ["policy0"]);
        assert_eq!(example.context, json!({ "n": 2 }));

        let error = replay(1).unwrap_err();
        assert!(
            matches!(error, ReplayError::NotConfirmed { .. }),
            "{error:?}"
        );
        let said = error.to_string();
        assert!(said.contains("Deny") && said.contains(r#""n":1"#), "{said}");
    }

    #[test]
    fn what_the_schema_does_not_accept_is_no_counterexample() {
        let text = RestrictedExpression::new_string("2".to_owned());
        let error = Case::read_back(&schema(), &found(text)).err().unwrap();
        assert!(
            matches!(
                error,
                ReplayError::Unreadable {
                    part: "request",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}
