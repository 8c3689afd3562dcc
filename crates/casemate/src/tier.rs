//! Which keeper makes the sandboxes of a profile: that of its tier, or none.

use std::env;

use casemate_model::IsolationTier;
use casemate_policy::Profile;
use casemate_sandbox::{NoGvisor, Runsc};

/// What makes sandboxes of a tier.
#[derive(Debug)]
pub(crate) enum Tier {
    /// The host's kernel.
    Namespace,
    /// gVisor, as it was found.
    Gvisor(Runsc),
}

/// The tier of a profile. A tier that nothing makes comes to the strongest that is made, which is measured and refused.
///
/// # Errors
/// When gVisor is wanted and cannot be used: what to install.
pub(crate) fn of(profile: &Profile) -> Result<Tier, NoGvisor> {
    match profile.sandbox.tier {
        IsolationTier::Namespace | IsolationTier::Vm => Ok(Tier::Namespace),
        IsolationTier::Gvisor => gvisor().map(Tier::Gvisor),
    }
}

/// gVisor, as it is found in `PATH`.
pub(crate) fn gvisor() -> Result<Runsc, NoGvisor> {
    Runsc::find(env::var_os("PATH"))
}
