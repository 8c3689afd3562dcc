//! What is to run, as far as it can be switched off.

use std::borrow::Cow;

use crate::{SwitchKind, host::normal_host, name::is_name};

/// Everything by which a call, a connection or a use of a credential can be stopped.
///
/// A field is left out when there is nothing of its kind, never because it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Whose tenant it is.
    pub tenant: Option<&'a str>,
    /// For which user.
    pub user: Option<&'a str>,
    /// By which agent.
    pub agent: Option<&'a str>,
    /// Over which route.
    pub route: Option<&'a str>,
    /// With which tool.
    pub tool: Option<&'a str>,
    /// To which host, without a port.
    pub destination: Option<&'a str>,
    /// Of which model.
    pub model: Option<&'a str>,
    /// With which credential handle.
    pub credential: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// The fields that are there.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (SwitchKind, &'a str)> {
        [
            (SwitchKind::Tenant, self.tenant),
            (SwitchKind::User, self.user),
            (SwitchKind::Agent, self.agent),
            (SwitchKind::Route, self.route),
            (SwitchKind::Tool, self.tool),
            (SwitchKind::Destination, self.destination),
            (SwitchKind::Model, self.model),
            (SwitchKind::Credential, self.credential),
        ]
        .into_iter()
        .filter_map(|(kind, name)| name.map(|name| (kind, name)))
    }
}

/// The name under which a field is looked up. Nothing if no switch can have it.
pub(crate) fn lookup_name(kind: SwitchKind, name: &str) -> Option<Cow<'_, str>> {
    match kind {
        SwitchKind::Destination => normal_host(name),
        _ => is_name(name).then_some(Cow::Borrowed(name)),
    }
}
