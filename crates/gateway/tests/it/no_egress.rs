//! Egress that is not there.

use std::sync::Arc;

use casemate_ports::{
    Egress, EgressError, NewWay, Owner, Pending, ServedWay, WayAuthority, WayRules, WaySockets,
    Witness,
};

/// Nobody serves ways out.
#[derive(Debug)]
pub(crate) struct NoEgress;

fn none<T>() -> Result<T, EgressError> {
    Err(EgressError::Unavailable("there is none".to_owned()))
}

impl Egress for NoEgress {
    fn authority<'a>(
        &'a self,
        _: &'a Owner,
        _: &'a WayRules,
    ) -> Pending<'a, Result<WayAuthority, EgressError>> {
        Box::pin(std::future::ready(none()))
    }

    fn open<'a>(
        &'a self,
        _: &'a Owner,
        _: NewWay,
        _: Option<WaySockets>,
        _: Arc<dyn Witness>,
    ) -> Pending<'a, Result<Box<dyn ServedWay>, EgressError>> {
        Box::pin(std::future::ready(none()))
    }
}
