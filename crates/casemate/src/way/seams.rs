//! What the proxy needs of this machine: the time and chance. There are no credentials yet, and so nothing to look for in
//! answers.

use std::io;

use casemate_egress::{
    Clock, Entropy, Facts, Filter, Filters, InjectError, Injection, Injector, Pending,
};

use crate::system::System;

/// Nobody has credentials: a rule that wants one lets nothing through.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoCredentials;

impl Injector for NoCredentials {
    fn render<'a>(
        &'a self,
        _: &'a str,
        _: &'a Facts,
    ) -> Pending<'a, Result<Injection, InjectError>> {
        Box::pin(std::future::ready(Err(InjectError::Unavailable)))
    }
}

/// There is nothing to look for in answers, because nothing was put into requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoFilters;

impl Filters for NoFilters {
    fn filter(&self, _: &Facts, _: Option<&Injection>) -> Option<Box<dyn Filter>> {
        None
    }
}

impl Clock for System {
    fn now_ms(&self) -> u64 {
        casemate_gateway::Clock::now_ms(self)
    }
}

impl Entropy for System {
    fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
        casemate_gateway::Entropy::fill(self, bytes)
    }
}
