//! Throwing switches, on record.

use casemate_authority::{Position, Switch, SwitchError, Switchboard, Throw};
use casemate_policy::{Claims, Verified};

use crate::{Journal, Operation, RecordError};

/// Why a switch was not thrown, or is not on record.
#[derive(Debug, thiserror::Error)]
pub enum ThrowError {
    /// It was not thrown.
    #[error(transparent)]
    Switch(#[from] SwitchError),
    /// It is not on record. One that was to stop something is thrown all the same.
    #[error("cannot record the switch")]
    Record(#[from] RecordError),
}

impl Journal {
    /// Throws a switch. To stop is safe, and done even if it cannot be recorded; to start again is recorded first.
    ///
    /// # Errors
    /// When it cannot be thrown, or not recorded.
    pub fn throw(
        &self,
        board: &Switchboard,
        throw: Throw,
        claims: &Verified<Claims>,
    ) -> Result<Switch, ThrowError> {
        let operation = Operation::of_throw(&throw);
        if throw.to == Position::Off {
            let switch = board.throw(throw)?;
            self.operate(operation, claims)?.close(Ok(()))?;
            return Ok(switch);
        }
        let open = self.operate(operation, claims)?;
        let thrown = board.throw(throw);
        let why = thrown.as_ref().err().map(ToString::to_string);
        let closed = open.close(why.as_deref().map_or(Ok(()), Err));
        let switch = thrown?;
        closed?;
        Ok(switch)
    }
}
