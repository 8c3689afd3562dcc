//! GraphQL.

use apollo_parser::{
    Parser,
    cst::{Definition, OperationDefinition, Selection},
};
use serde_json::{Map, Value};

use super::{
    super::{BodyRule, GraphqlKind},
    Ambiguous,
    members::text,
};

const MAX_TOKENS: usize = 10_000;
const MAX_DEPTH: usize = 64;

/// Adds for each field that an operation of the message asks for at its top whether it is what the rule is about.
pub(super) fn parts(
    rule: &BodyRule,
    message: &Map<String, Value>,
    parts: &mut Vec<bool>,
) -> Result<(), Ambiguous> {
    // Without a query the server takes one that it remembers.
    let query = text(message, "query")?;
    let tree = Parser::new(query)
        .recursion_limit(MAX_DEPTH)
        .token_limit(MAX_TOKENS)
        .parse();
    if tree.errors().next().is_some() {
        return Err(Ambiguous);
    }
    for definition in tree.document().definitions() {
        match definition {
            Definition::OperationDefinition(operation) => of_operation(rule, &operation, parts)?,
            Definition::FragmentDefinition(_) => {}
            _ => return Err(Ambiguous),
        }
    }
    Ok(())
}

fn of_operation(
    rule: &BodyRule,
    operation: &OperationDefinition,
    parts: &mut Vec<bool>,
) -> Result<(), Ambiguous> {
    let kind = match operation.operation_type() {
        None => GraphqlKind::Query,
        Some(kind) if kind.mutation_token().is_some() => GraphqlKind::Mutation,
        Some(kind) if kind.subscription_token().is_some() => GraphqlKind::Subscription,
        Some(_) => GraphqlKind::Query,
    };
    let name = operation.name().map(|name| name.text().to_string());
    let has = |list: &Option<Vec<String>>, name: Option<&String>| {
        list.as_ref()
            .is_none_or(|list| name.is_some_and(|name| list.contains(name)))
    };
    let kinds = rule.graphql_kinds.as_ref();
    let is_meant = kinds.is_none_or(|kinds| kinds.contains(&kind))
        && has(&rule.graphql_operations, name.as_ref());
    for selection in operation.selection_set().ok_or(Ambiguous)?.selections() {
        // What a fragment brings in at the top would have to be looked for elsewhere.
        let Selection::Field(field) = selection else {
            return Err(Ambiguous);
        };
        let name = field.name().ok_or(Ambiguous)?.text().to_string();
        parts.push(is_meant && has(&rule.graphql_fields, Some(&name)));
    }
    Ok(())
}
