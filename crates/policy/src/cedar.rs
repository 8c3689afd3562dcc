//! Cedar's words: the schema, names of entities, and values that are built without a parser.

use std::{
    collections::BTreeMap,
    str::FromStr as _,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};

use casemate_model::{ControlName, Isolation, SideEffect, Strength};
use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, Schema};
use cedar_policy_core::ast;

use crate::grant::rank;

/// The committed schema.
pub(crate) const SCHEMA: &str = include_str!("../cedar/casemate.cedarschema");

/// A type of entity.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    User,
    Agent,
    Tenant,
    Route,
    Tool,
    Offer,
    Action,
}

impl Type {
    const ALL: [Self; 7] = [
        Self::User,
        Self::Agent,
        Self::Tenant,
        Self::Route,
        Self::Tool,
        Self::Offer,
        Self::Action,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::User => "Casemate::User",
            Self::Agent => "Casemate::Agent",
            Self::Tenant => "Casemate::Tenant",
            Self::Route => "Casemate::Route",
            Self::Tool => "Casemate::Tool",
            Self::Offer => "Casemate::Offer",
            Self::Action => "Casemate::Action",
        }
    }
}

/// Something that Cedar could not take. A build that passed its tests has none but those of policies.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct CedarError {
    pub(crate) what: String,
    pub(crate) why: String,
}

impl CedarError {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors and texts alike, straight from `map_err`"
    )]
    pub(crate) fn new(what: impl Into<String>, why: impl ToString) -> Self {
        Self {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// The schema and the types of entities, read once.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) schema: Schema,
    types: Vec<EntityTypeName>,
    actions: Vec<(SideEffect, EntityUid)>,
}

impl Vocabulary {
    /// Read once for all engines: it is the same for each.
    pub(crate) fn get() -> Result<Arc<Self>, CedarError> {
        static READ: OnceLock<Arc<Vocabulary>> = OnceLock::new();
        if let Some(read) = READ.get() {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(Self::new()?);
        Ok(Arc::clone(READ.get_or_init(|| read)))
    }

    fn new() -> Result<Self, CedarError> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|error| CedarError::new("the schema", error))?;
        let types = Type::ALL.iter().map(|name| {
            EntityTypeName::from_str(name.as_str())
                .map_err(|error| CedarError::new(name.as_str(), error))
        });
        let mut vocabulary = Self {
            schema,
            types: types.collect::<Result<_, _>>()?,
            actions: Vec::new(),
        };
        for side_effect in SideEffect::ALL {
            let uid = vocabulary.uid(Type::Action, side_effect.as_str())?;
            vocabulary.actions.push((*side_effect, uid));
        }
        Ok(vocabulary)
    }

    pub(crate) fn uid(&self, of: Type, id: &str) -> Result<EntityUid, CedarError> {
        let name = self
            .types
            .get(of as usize)
            .ok_or_else(|| CedarError::new(of.as_str(), "no such type"))?;
        Ok(EntityUid::from_type_name_and_id(
            name.clone(),
            EntityId::new(id),
        ))
    }

    pub(crate) fn action(&self, side_effect: SideEffect) -> Result<&EntityUid, CedarError> {
        let mut actions = self.actions.iter();
        actions
            .find(|(named, _)| *named == side_effect)
            .map(|(_, uid)| uid)
            .ok_or_else(|| CedarError::new(side_effect.as_str(), "no such action"))
    }

    /// The value of an entity's name.
    pub(crate) fn entity(&self, of: Type, id: &str) -> Result<ast::Value, CedarError> {
        let uid: ast::EntityUID = self.uid(of, id)?.into();
        Ok(ast::Value::from(uid))
    }

    pub(crate) fn entities(&self, all: Vec<Entity>) -> Result<Entities, CedarError> {
        Entities::from_entities(all, Some(&self.schema))
            .map_err(|error| CedarError::new("the entities", error))
    }
}

/// A record, and the fields that are there.
pub(crate) fn record<const N: usize>(
    fields: [(&'static str, Option<ast::Value>); N],
) -> ast::Value {
    ast::Value::record_arc(Arc::new(fields_of(fields)), None)
}

/// A context of the fields that are there. Built as it is rather than from expressions, which Cedar would evaluate first: that takes
/// longer than the decision.
pub(crate) fn context<const N: usize>(
    fields: [(&'static str, Option<ast::Value>); N],
) -> cedar_policy::Context {
    ast::Context::Value(Arc::new(fields_of(fields))).into()
}

fn fields_of<const N: usize>(
    fields: [(&'static str, Option<ast::Value>); N],
) -> BTreeMap<smol_str::SmolStr, ast::Value> {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((smol_str::SmolStr::new_static(name), value?)))
        .collect()
}

/// A string.
pub(crate) fn string(text: &str) -> ast::Value {
    ast::Value::from(smol_str::SmolStr::new(text))
}

/// A set of strings.
pub(crate) fn strings<'s>(texts: impl Iterator<Item = &'s str>) -> ast::Value {
    let literals = texts.map(|text| ast::Literal::String(smol_str::SmolStr::new(text)));
    ast::Value::set_of_lits(literals, None)
}

/// A number. Cedar's are signed: what does not fit is the largest.
pub(crate) fn number(number: u64) -> ast::Value {
    ast::Value::from(i64::try_from(number).unwrap_or(i64::MAX))
}

/// `text` as Cedar writes it.
pub(crate) fn literal(text: &str) -> String {
    ast::Literal::String(smol_str::SmolStr::new(text)).to_string()
}

/// A list of literals as Cedar writes it.
pub(crate) fn literals<'s>(texts: impl Iterator<Item = &'s str>) -> String {
    format!("[{}]", texts.map(literal).collect::<Vec<_>>().join(", "))
}

/// All of these expressions.
///
/// As a balanced tree: how deep an expression may be is bounded by the stack of whoever evaluates it.
pub(crate) fn all_of(parts: &[String]) -> String {
    tree(parts, "&&").unwrap_or_else(|| "true".to_owned())
}

/// Any of these expressions; as [`all_of`].
pub(crate) fn any_of(parts: &[String]) -> String {
    tree(parts, "||").unwrap_or_else(|| "false".to_owned())
}

fn tree(parts: &[String], operator: &str) -> Option<String> {
    match parts {
        [] => None,
        [part] => Some(part.clone()),
        parts => {
            let (left, right) = parts.split_at(parts.len() / 2);
            let (left, right) = (tree(left, operator)?, tree(right, operator)?);
            Some(format!("({left} {operator} {right})"))
        }
    }
}

/// The policy's own name, or the one that Cedar gave it.
pub(crate) fn name_of(policy: &Policy) -> String {
    policy
        .annotation("id")
        .map_or_else(|| policy.id().to_string(), str::to_owned)
}

/// What sandboxes enforce, as values: a host has few kinds of them, and making the value takes longer than comparing two.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes(RwLock<Vec<(Isolation, ast::Value)>>);

/// The most that are kept. Beyond, all are forgotten.
const MAX_SANDBOXES: usize = 16;

impl Sandboxes {
    /// What a sandbox enforces: a control counts when it is enforced whole.
    pub(crate) fn value(&self, isolation: &Isolation) -> ast::Value {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, value)) = known.iter().find(|(known, _)| known == isolation) {
            return value.clone();
        }
        drop(known);
        let value = sandbox(isolation);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SANDBOXES {
            known.clear();
        }
        known.push((isolation.clone(), value.clone()));
        value
    }
}

fn sandbox(isolation: &Isolation) -> ast::Value {
    let name = |name: &'static str| smol_str::SmolStr::new_static(name);
    let mut fields = BTreeMap::new();
    fields.insert(name("tier"), number(rank(isolation.tier)));
    for control in ControlName::ALL {
        let enforced = isolation.strength(*control) == Strength::Enforced;
        fields.insert(name(control.as_str()), enforced.into());
    }
    ast::Value::record_arc(Arc::new(fields), None)
}
