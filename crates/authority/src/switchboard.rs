//! Throwing switches.

use std::{path::Path, sync::Arc};

use casemate_files::{Dir, FileError, Held, Privacy};

use crate::{
    Board, Epoch, Switch, SwitchError, Throw, Unreadable,
    board_file::{self, BOARD, Content},
    limits::{LOCK_WAIT_MS, MAX_FORGETFUL_TENANTS, MAX_SWITCHES, MAX_TENANT_SWITCHES},
};

/// A directory of switches, to throw them.
#[derive(Debug)]
pub struct Switchboard {
    board: Arc<Board>,
}

impl Switchboard {
    /// The switchboard in the directory `dir`. Makes it, with everything on, if there never was one.
    ///
    /// # Errors
    /// The board cannot be read or made. One that was lost is not made anew: what was off would be on.
    pub fn open(dir: &Path) -> Result<Self, SwitchError> {
        casemate_files::make(dir)?;
        let opened = Dir::open(dir, Privacy::Secret)?;
        let held = opened.lock(LOCK_WAIT_MS)?;
        let found = board_file::find(&opened).map_err(Arc::new)?;
        if found.is_none() {
            write(&opened, &held, &Content::default())?;
        }
        let epoch = found.map_or(Epoch::default(), |found| found.content.epoch);
        board_file::mark(&opened, &held, epoch)?;
        Ok(Self {
            board: Arc::new(Board::open(dir)),
        })
    }

    /// Makes a new board in place of one that was lost or damaged, with `throws` and nothing else on it. What else was
    /// off is on; what was allowed before loses its authority.
    ///
    /// # Errors
    /// The board can be read, or its mark cannot: then whoever saw the old one could not be told that this one is newer.
    pub fn begin_again(dir: &Path, throws: Vec<Throw>) -> Result<Self, SwitchError> {
        if throws.len() > MAX_SWITCHES {
            return Err(SwitchError::Full);
        }
        let opened = Dir::open(dir, Privacy::Secret)?;
        let held = opened.lock(LOCK_WAIT_MS)?;
        if board_file::find(&opened).is_ok() {
            return Err(SwitchError::NotLost);
        }
        let mark = board_file::find_mark(&opened).map_err(Arc::new)?;
        let mark = mark.ok_or_else(|| {
            let path = opened.path(BOARD);
            Arc::new(Unreadable::Missing { path })
        })?;
        // One more than the newest that anybody can have seen.
        let mut content = Content {
            epoch: mark.next().next(),
            ..Content::default()
        };
        content.forgotten = content.epoch;
        for throw in throws {
            add(&mut content, throw.checked()?)?;
        }
        write(&opened, &held, &content)?;
        board_file::mark(&opened, &held, content.epoch)?;
        Ok(Self {
            board: Arc::new(Board::open(dir)),
        })
    }

    /// The switches, to ask them.
    #[must_use]
    pub const fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Throws a switch. When this returns it is durable, and every check that begins later sees it.
    ///
    /// Throwing one to where it is renews its stamp: what was allowed before loses its authority.
    ///
    /// # Errors
    /// What is thrown has no proper name, the board is full or cannot be read, or writing it failed.
    pub fn throw(&self, throw: Throw) -> Result<Switch, SwitchError> {
        let throw = throw.checked()?;
        let dir = Dir::open(self.board.dir(), Privacy::Secret)?;
        let held = dir.lock(LOCK_WAIT_MS)?;
        // Against what this process has seen, too.
        self.board.switches()?;
        let missing = || Unreadable::Missing {
            path: dir.path(BOARD),
        };
        let found = board_file::find(&dir).and_then(|found| found.ok_or_else(missing));
        let mut content = found.map_err(Arc::new)?.content;
        // If somebody died before: the mark is never more than one throw behind.
        board_file::mark(&dir, &held, content.epoch)?;

        let switch = add(&mut content, throw)?;
        write(&dir, &held, &content)?;
        board_file::mark(&dir, &held, content.epoch)?;
        Ok(switch)
    }
}

/// Adds a throw to a board.
fn add(content: &mut Content, throw: Throw) -> Result<Switch, SwitchError> {
    content.epoch = content.epoch.next();
    let switches = &mut content.switches;
    let before = switches.iter().position(|switch| switch.is_of(&throw));
    let before = before.map(|index| switches.remove(index));
    make_room(content, throw.tenant.as_deref())?;
    let switch = Switch::thrown(before.as_ref(), throw, content.epoch);
    content.switches.push(switch.clone());
    Ok(switch)
}

/// Forgets the switch that has been on for longest, if there is no room for another one: one within the tenant, if it is the
/// tenant that has no room.
fn make_room(content: &mut Content, tenant: Option<&str>) -> Result<(), SwitchError> {
    if let Some(tenant) = tenant {
        let is_its = |switch: &Switch| switch.tenant.as_deref() == Some(tenant);
        let its = content.switches.iter().filter(|switch| is_its(switch));
        if its.count() >= MAX_TENANT_SWITCHES {
            return forget(content, is_its, SwitchError::TenantFull);
        }
    }
    match content.switches.len() < MAX_SWITCHES {
        true => Ok(()),
        false => forget(content, |_| true, SwitchError::Full),
    }
}

/// Forgets the switch that has been on for longest of those that are `some`.
fn forget(
    content: &mut Content,
    some: impl Fn(&Switch) -> bool,
    full: SwitchError,
) -> Result<(), SwitchError> {
    let on = |switch: &Switch| !switch.is_off() && some(switch);
    let on = content.switches.iter().position(on).ok_or(full)?;
    let forgotten = content.switches.remove(on);
    let Some(tenant) = forgotten.tenant else {
        content.forgotten = content.forgotten.max(forgotten.epoch);
        return Ok(());
    };
    let within = &mut content.forgotten_within;
    within.insert(tenant, forgotten.epoch);
    if within.len() > MAX_FORGETFUL_TENANTS {
        // What is not known of whom it is concerns everybody.
        let oldest = within.iter().min_by_key(|(_, epoch)| **epoch);
        if let Some(tenant) = oldest.map(|(tenant, _)| tenant.clone())
            && let Some(epoch) = within.remove(&tenant)
        {
            content.forgotten = content.forgotten.max(epoch);
        }
    }
    Ok(())
}

fn write(dir: &Dir, held: &Held, content: &Content) -> Result<(), SwitchError> {
    let bytes = board_file::encode(content)
        .map_err(|error| FileError::io("encode", dir.path(BOARD))(error))?;
    Ok(dir.replace(held, BOARD, &bytes)?)
}
