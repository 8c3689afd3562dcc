//! What a change of policies permits.

use cedar_policy::{PolicySet, Schema};

use crate::{
    Counterexample, ProveError, Solver, Unknown, Verdict, inclusion::Side, question::Question,
    requests::Requests,
};

/// How new policies compare with old ones.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// They allow the same.
    Equal,
    /// The new ones allow less, and nothing else.
    Narrower,
    /// The new ones allow what the old ones did not: an example for each kind of request in which they do.
    Wider(Vec<Counterexample>),
    /// The solver cannot say: treat it as wider.
    Unknown(Unknown),
}

/// Compares the `new` policies with the `old` ones under one schema.
///
/// # Errors
/// When policies do not fit the schema, the solver fails, or its example does not replay.
pub async fn compare(
    schema: &Schema,
    old: &PolicySet,
    new: &PolicySet,
    solver: &mut Solver,
) -> Result<Change, ProveError> {
    let requests = Requests::of(schema)?;
    let old = Side::new(&requests, "the old policies", old)?;
    let new = Side::new(&requests, "the new policies", new)?;

    let question = Question::new(schema, "what is newly allowed".to_owned(), solver);
    let (mut wider, mut unknown) = (Vec::new(), None);
    for kind in new.within(&old) {
        match kind.check(&question, solver).await? {
            Verdict::Proved => {}
            Verdict::Violated(example) => wider.push(*example),
            Verdict::Unknown(why) => unknown = Some(why),
        }
    }
    if !wider.is_empty() {
        return Ok(Change::Wider(wider));
    }
    if let Some(why) = unknown {
        return Ok(Change::Unknown(why));
    }

    let question = Question::new(schema, "what is no longer allowed".to_owned(), solver);
    for kind in old.within(&new) {
        match kind.check(&question, solver).await? {
            Verdict::Proved => {}
            Verdict::Violated(_) => return Ok(Change::Narrower),
            Verdict::Unknown(why) => return Ok(Change::Unknown(why)),
        }
    }
    Ok(Change::Equal)
}
