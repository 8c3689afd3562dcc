//! All switches at one epoch, ready to be asked.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
    sync::Arc,
};

use crate::{
    Epoch, Stopped, Subject, Switch, SwitchKind, board_file::Content, subject::lookup_name,
};

/// All switches of a board at one epoch.
#[derive(Debug, Default)]
pub struct Switches {
    epoch: Epoch,
    /// The newest throw that is not known any more: of what works everywhere, within each tenant, and of all.
    forgotten: Epoch,
    forgotten_within: BTreeMap<String, Epoch>,
    forgotten_anywhere: Epoch,
    /// By epoch.
    list: Vec<Arc<Switch>>,
    by_name: HashMap<SwitchKind, HashMap<Box<str>, Named>>,
}

/// The switches of one kind and name.
#[derive(Debug, Default)]
struct Named {
    everywhere: Option<Arc<Switch>>,
    within: HashMap<Box<str>, Arc<Switch>>,
    /// The newest that is off within some tenant: for a subject of which no tenant is known.
    off_somewhere: Option<Arc<Switch>>,
    /// The newest within some tenant.
    newest_somewhere: Option<Arc<Switch>>,
}

impl Switches {
    pub(crate) fn new(content: Content) -> Self {
        let within = content.forgotten_within.values().copied().max();
        let mut switches = Self {
            epoch: content.epoch,
            forgotten: content.forgotten,
            forgotten_anywhere: content.forgotten.max(within.unwrap_or_default()),
            forgotten_within: content.forgotten_within,
            ..Self::default()
        };
        for switch in content.switches {
            switches.add(Arc::new(switch));
        }
        switches
    }

    fn add(&mut self, switch: Arc<Switch>) {
        self.list.push(Arc::clone(&switch));
        let of_kind = self.by_name.entry(switch.kind).or_default();
        let named = of_kind.entry(switch.name.as_str().into()).or_default();
        let Some(tenant) = &switch.tenant else {
            named.everywhere = Some(switch);
            return;
        };
        if switch.is_off() {
            named.off_somewhere = Some(Arc::clone(&switch));
        }
        named.newest_somewhere = Some(Arc::clone(&switch));
        named.within.insert(tenant.as_str().into(), switch);
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// All switches that were ever thrown and are remembered, the last thrown last.
    #[must_use]
    pub fn all(&self) -> &[Arc<Switch>] {
        &self.list
    }

    /// The switches that were thrown after `epoch`, the last thrown last. Nothing if some of them may be forgotten.
    #[must_use]
    pub fn since(&self, epoch: Epoch) -> Option<&[Arc<Switch>]> {
        let first = self.list.partition_point(|switch| switch.epoch <= epoch);
        match epoch < self.forgotten_anywhere {
            true => None,
            false => self.list.get(first..),
        }
    }

    /// Whether something new may run, by the switches of this epoch.
    ///
    /// # Errors
    /// The first switch of it that is off.
    pub fn check(&self, subject: &Subject<'_>) -> Result<Epoch, Stopped> {
        self.each(subject, |named, tenant| match named.off(tenant) {
            Some(off) => Err(Stopped::Off(Arc::clone(off))),
            None => Ok(()),
        })?;
        Ok(self.epoch)
    }

    /// Whether something may still run that was allowed in the epoch `since`, by the switches of this epoch. What was
    /// switched off and on again since then does not get its authority back.
    ///
    /// # Errors
    /// The first switch of it that was thrown since, or is off.
    pub fn check_held(&self, subject: &Subject<'_>, since: Epoch) -> Result<Epoch, Stopped> {
        let forgotten = self.forgotten_of(subject.tenant);
        if since < forgotten {
            return Err(Stopped::TooOld { since, forgotten });
        }
        self.each(subject, |named, tenant| {
            if let Some(off) = named.off(tenant) {
                return Err(Stopped::Off(Arc::clone(off)));
            }
            match named.of(tenant).find(|switch| switch.epoch > since) {
                Some(thrown) => Err(Stopped::Thrown(Arc::clone(thrown))),
                None => Ok(()),
            }
        })?;
        Ok(self.epoch)
    }

    /// The newest throw that is not known any more and could have been of a subject of `tenant`.
    fn forgotten_of(&self, tenant: Option<&str>) -> Epoch {
        match tenant {
            Some(tenant) => {
                let within = self.forgotten_within.get(tenant).copied();
                self.forgotten.max(within.unwrap_or_default())
            }
            None => self.forgotten_anywhere,
        }
    }

    /// Asks `judge` about each of the switches that a subject has.
    fn each(
        &self,
        subject: &Subject<'_>,
        judge: impl Fn(&Named, Option<&str>) -> Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        for (kind, name) in subject.fields() {
            let name = lookup_name(kind, name).ok_or(Stopped::Unnameable(kind))?;
            let Some(of_kind) = self.by_name.get(&kind) else {
                continue;
            };
            if let Some(named) = of_kind.get(&*name) {
                judge(named, subject.tenant)?;
            }
            if kind == SwitchKind::Destination {
                for pattern in patterns(&name) {
                    if let Some(named) = of_kind.get(pattern.as_str()) {
                        judge(named, subject.tenant)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Named {
    /// The switches that work on a subject of `tenant`.
    fn of(&self, tenant: Option<&str>) -> impl Iterator<Item = &Arc<Switch>> {
        let within = match tenant {
            Some(tenant) => self.within.get(tenant),
            None => self.newest_somewhere.as_ref(),
        };
        self.everywhere.iter().chain(within)
    }

    fn off(&self, tenant: Option<&str>) -> Option<&Arc<Switch>> {
        let somewhere = self.off_somewhere.iter().filter(|_| tenant.is_none());
        self.of(tenant)
            .chain(somewhere)
            .find(|switch| switch.is_off())
    }
}

/// The patterns that match a host.
fn patterns(host: &str) -> impl Iterator<Item = String> {
    let mut rest = host;
    iter::from_fn(move || {
        let (_, below) = rest.split_once('.')?;
        rest = below;
        Some(format!("*.{below}"))
    })
}

#[cfg(test)]
mod tests;
