//! A child that dies with whoever has it.

use std::process::Child;

/// A child that dies with this value.
#[derive(Debug)]
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended is only to be forgotten by the system.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
