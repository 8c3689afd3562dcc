//! What a route offers: a tool, or something that can be done with its sessions, as an entity, a grant and questions.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr as _,
};

use casemate_model::SideEffect;
use cedar_policy::{Entity, EntityUid, Expression, Policy, PolicyId, RestrictedExpression};

use crate::{
    cedar::{CedarError, Type, Vocabulary},
    decide::{Check, CheckName},
    grant::{Condition, Offered, conditions, grant, tier_rank},
    inputs::Wish,
    profile::Profile,
    tool::ToolFacts,
};

/// Something that a route offers.
pub(crate) struct Offer {
    pub(crate) uid: EntityUid,
    pub(crate) tool: Option<EntityUid>,
    /// The only thing that its grant lets it do to the world, if that is known.
    pub(crate) side_effect: Option<SideEffect>,
    /// What its grant demands, in the order of the questions.
    pub(crate) demands: Vec<(CheckName, Expression)>,
}

impl Offer {
    /// Whether it is what is asked for, and not something else of the same name.
    pub(crate) fn is(&self, wish: &Wish) -> bool {
        matches!(wish, Wish::Tool(_)) == self.tool.is_some()
    }

    /// The questions that were asked, up to the one that failed.
    pub(crate) fn checks(&self, wish: &Wish, failed: Option<CheckName>) -> Vec<Check> {
        let asked = |check: CheckName| match wish {
            Wish::Tool(_) => true,
            Wish::Access(_) => {
                check == CheckName::Inputs
                    || check == CheckName::Policy
                    || self.demands.iter().any(|(demand, _)| *demand == check)
            }
        };
        let mut checks = Vec::with_capacity(CheckName::ALL.len());
        for name in CheckName::ALL.iter().copied().filter(|name| asked(*name)) {
            let passed = failed != Some(name);
            checks.push(Check { name, passed });
            if !passed {
                break;
            }
        }
        checks
    }
}

/// Makes the offers of a profile.
pub(crate) struct OfferMaker<'a> {
    pub(crate) vocabulary: &'a Vocabulary,
    pub(crate) profile: &'a Profile,
    pub(crate) tools: &'a BTreeMap<String, ToolFacts>,
    pub(crate) entities: &'a mut Vec<Entity>,
    pub(crate) grants: &'a mut Vec<Policy>,
    /// Conditions by their text: most offers share most of them.
    pub(crate) parsed: &'a mut HashMap<String, Expression>,
}

impl OfferMaker<'_> {
    pub(crate) fn make(
        &mut self,
        name: &str,
        offered: Offered<'_>,
        side_effect: Option<SideEffect>,
    ) -> Result<Offer, CedarError> {
        let route = &self.profile.route;
        let id = format!("{route}/{name}");
        let uid = self.vocabulary.uid(Type::Offer, &id)?;
        let tool = match offered {
            Offered::Access(_) => None,
            Offered::Tool(..) | Offered::Unlisted => Some(self.vocabulary.uid(Type::Tool, name)?),
        };
        let mut parents = vec![self.vocabulary.uid(Type::Route, route)?];
        parents.extend(tool.clone());
        let (tier, private, untrusted) = match offered {
            Offered::Tool(_, facts) => (tier_rank(facts.tier), facts.private, facts.untrusted),
            Offered::Unlisted | Offered::Access(_) => (0, true, true),
        };
        let attributes = HashMap::from([
            (
                "call".to_owned(),
                RestrictedExpression::new_bool(tool.is_some()),
            ),
            (
                "tier".to_owned(),
                RestrictedExpression::new_long(i64::try_from(tier).unwrap_or(i64::MAX)),
            ),
            (
                "private".to_owned(),
                RestrictedExpression::new_bool(private),
            ),
            (
                "untrusted".to_owned(),
                RestrictedExpression::new_bool(untrusted),
            ),
        ]);
        let entity = Entity::new(uid.clone(), attributes, parents.into_iter().collect())
            .map_err(|error| CedarError::new(&id, error))?;
        self.entities.push(entity);
        let conditions = conditions(self.profile, self.tools, offered, side_effect);
        if !matches!(offered, Offered::Unlisted) {
            let text = grant(&id, side_effect, &conditions);
            let policy = Policy::parse(Some(PolicyId::new(&id)), &text)
                .map_err(|error| CedarError::new(&id, error))?;
            self.grants.push(policy);
        }
        let mut demands = Vec::with_capacity(conditions.len());
        for Condition { check, text } in conditions {
            demands.push((check, self.parse(&id, check, text)?));
        }
        Ok(Offer {
            uid,
            tool,
            side_effect,
            demands,
        })
    }

    fn parse(
        &mut self,
        id: &str,
        check: CheckName,
        text: String,
    ) -> Result<Expression, CedarError> {
        if let Some(known) = self.parsed.get(&text) {
            return Ok(known.clone());
        }
        let expression = Expression::from_str(&text)
            .map_err(|error| CedarError::new(format!("{id}: {}", check.as_str()), error))?;
        self.parsed.insert(text, expression.clone());
        Ok(expression)
    }
}
