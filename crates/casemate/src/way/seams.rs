//! What the proxy needs of this machine: the time and chance.

use std::io;

use casemate_egress::{Clock, Entropy};

use crate::system::System;

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
