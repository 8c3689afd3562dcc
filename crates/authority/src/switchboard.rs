//! Throwing switches.

use std::{path::Path, sync::Arc};

use crate::{
    Board, Epoch, FileError, Switch, SwitchError, Throw, Unreadable,
    board_file::{self, BOARD, Content},
    dir::{Dir, Held},
    limits::{LOCK_WAIT_MS, MAX_SWITCHES},
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
        let opened = Dir::open_or_make(dir)?;
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
        let dir = Dir::open(self.board.dir())?;
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

        content.epoch = content.epoch.next();
        let before = content
            .switches
            .iter()
            .position(|switch| switch.is_of(&throw));
        let before = before.map(|index| content.switches.remove(index));
        make_room(&mut content)?;
        let switch = Switch::thrown(before.as_ref(), throw, content.epoch);
        content.switches.push(switch.clone());
        write(&dir, &held, &content)?;
        board_file::mark(&dir, &held, content.epoch)?;
        Ok(switch)
    }
}

/// Forgets the switch that has been on for longest, if there is no room for another one.
fn make_room(content: &mut Content) -> Result<(), SwitchError> {
    if content.switches.len() < MAX_SWITCHES {
        return Ok(());
    }
    let on = content.switches.iter().position(|switch| !switch.is_off());
    let forgotten = content.switches.remove(on.ok_or(SwitchError::Full)?);
    content.forgotten = forgotten.epoch;
    Ok(())
}

fn write(dir: &Dir, held: &Held, content: &Content) -> Result<(), SwitchError> {
    let bytes = board_file::encode(content)
        .map_err(|error| FileError::io("encode", dir.path(BOARD))(error))?;
    Ok(dir.replace(held, BOARD, &bytes)?)
}
