//! The system's clock and entropy.

use std::{
    io,
    time::{SystemTime, UNIX_EPOCH},
};

use casemate_gateway::{Clock, Entropy};
use rustix::rand::{GetRandomFlags, getrandom};

/// The system's clock and entropy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct System;

impl Clock for System {
    fn now_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        since_1970.map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
    }
}

impl Entropy for System {
    fn fill(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let filled = getrandom(&mut *bytes, GetRandomFlags::empty())?;
            bytes = bytes
                .split_at_mut_checked(filled)
                .map_or(&mut [], |(_, rest)| rest);
        }
        Ok(())
    }
}
