//! The records whose sum is the state of budgets, and their bytes.
//!
//! A record is a line: eight hex digits of a CRC-32, a space, JSON. The CRC is also over the one of the line before, so
//! that a line that is missing in the middle, or was moved, is found out.

use std::borrow::Cow;

use crc::{CRC_32_ISO_HDLC, Crc};
use serde::{Deserialize, Serialize};

use crate::{
    Amounts, BudgetDamage,
    books::{Account, Books, Open, key_of, names},
    limits::MAX_RECORD_BYTES,
    name::is_name,
};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const FORMAT: u32 = 1;
/// Hex digits of a CRC.
const CRC_DIGITS: usize = 8;

/// Names of a tenant, an agent and a thread, as many as there are.
type Names<'a> = Vec<Cow<'a, str>>;

/// Something that changes who has spent what.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Record<'a> {
    /// The first, which says what the state was that the next ones hold.
    Begin {
        format: u32,
        next: u64,
        day: u64,
        accounts: usize,
        open: usize,
    },
    /// What somebody has used.
    Account {
        names: Names<'a>,
        total: Amounts,
        day: u64,
        today: Amounts,
    },
    /// A new reservation, or one that was open.
    Reserve {
        id: u64,
        names: Names<'a>,
        day: u64,
        at_ms: u64,
        amounts: Amounts,
    },
    /// The end of a reservation.
    Settle { id: u64, actual: Amounts },
    /// The end of all reservations before one.
    ForgetBefore { id: u64 },
    /// The end of a thread.
    ForgetThread { names: Names<'a> },
}

impl<'a> Record<'a> {
    pub(crate) fn reserve(id: u64, open: &'a Open) -> Self {
        Self::Reserve {
            id,
            names: names(&open.key).into_iter().map(Cow::Borrowed).collect(),
            day: open.day,
            at_ms: open.at_ms,
            amounts: open.amounts,
        }
    }

    pub(crate) fn forget_thread(key: &'a str) -> Self {
        Self::ForgetThread {
            names: names(key).into_iter().map(Cow::Borrowed).collect(),
        }
    }
}

/// The records of a state and nothing before it, one by one.
pub(crate) fn snapshot(books: &Books) -> impl Iterator<Item = Record<'_>> {
    let begin = Record::Begin {
        format: FORMAT,
        next: books.next,
        day: books.day,
        accounts: books.accounts.len(),
        open: books.open.len(),
    };
    let accounts = books.accounts.iter().map(|(key, account)| Record::Account {
        names: names(key).into_iter().map(Cow::Borrowed).collect(),
        total: account.total.used,
        day: account.day,
        today: account.today.used,
    });
    let open = books
        .open
        .iter()
        .map(|(id, open)| Record::reserve(*id, open));
    [begin].into_iter().chain(accounts).chain(open)
}

/// Appends the JSON of a record.
pub(crate) fn json(record: &Record<'_>) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record)
}

/// Appends a line to `lines`. Returns its CRC, on which that of the next line depends.
pub(crate) fn line(lines: &mut Vec<u8>, before: u32, json: &[u8]) -> u32 {
    let crc = crc_of(before, json);
    lines.extend(format!("{crc:08x} ").as_bytes());
    lines.extend(json);
    lines.push(b'\n');
    crc
}

fn crc_of(before: u32, json: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&before.to_le_bytes());
    digest.update(json);
    digest.finalize()
}

/// What a file holds.
#[derive(Debug)]
pub(crate) struct Sum {
    pub(crate) books: Books,
    /// The CRC of its last line.
    pub(crate) crc: u32,
    /// Its bytes up to the end of the last line. What comes after them was not finished, and nobody was told of it.
    pub(crate) len: u64,
}

/// Adds up the records of a file.
pub(crate) fn sum(mut bytes: &[u8]) -> Result<Sum, (u64, BudgetDamage)> {
    let mut sum = Sum {
        books: Books::default(),
        crc: 0,
        len: 0,
    };
    let mut rest_of_snapshot = None;
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        let at = sum.len;
        let record = parse(&mut sum.crc, line).map_err(|damage| (at, damage))?;
        apply(&mut sum.books, &mut rest_of_snapshot, record).ok_or((at, BudgetDamage::Unsound))?;
        sum.len += end as u64 + 1;
        bytes = rest.strip_prefix(b"\n").unwrap_or(rest);
    }
    match rest_of_snapshot {
        Some((0, 0)) => Ok(sum),
        // It was whole before the file got its name.
        _ => Err((sum.len, BudgetDamage::Cut)),
    }
}

fn parse<'a>(crc: &mut u32, line: &'a [u8]) -> Result<Record<'a>, BudgetDamage> {
    let (digits, json) = line.split_at_checked(CRC_DIGITS).ok_or(BudgetDamage::Crc)?;
    let json = json.strip_prefix(b" ").ok_or(BudgetDamage::Crc)?;
    let found = crc_of(*crc, json);
    if format!("{found:08x}").as_bytes() != digits || json.len() > MAX_RECORD_BYTES {
        return Err(BudgetDamage::Crc);
    }
    *crc = found;
    serde_json::from_slice(json).map_err(BudgetDamage::Json)
}

/// Adds one record. Nothing if none of ours could be there. `rest` counts the accounts and open reservations that the
/// first record announced.
fn apply(books: &mut Books, rest: &mut Option<(usize, usize)>, record: Record<'_>) -> Option<()> {
    match (record, &mut *rest) {
        (
            Record::Begin {
                format: FORMAT,
                next,
                day,
                accounts,
                open,
            },
            None,
        ) => {
            (books.next, books.day) = (next, day);
            *rest = Some((accounts, open));
            Some(())
        }
        (
            Record::Account {
                names,
                total,
                day,
                today,
            },
            Some((accounts, _)),
        ) => {
            *accounts = accounts.checked_sub(1)?;
            let mut account = Account {
                day,
                ..Account::default()
            };
            (account.total.used, account.today.used) = (total, today);
            let key = checked_key(&names, 1)?;
            books.accounts.insert(key, account).is_none().then_some(())
        }
        (
            Record::Reserve {
                id,
                names,
                day,
                at_ms,
                amounts,
            },
            Some((0, open)),
        ) => {
            *open = open.saturating_sub(1);
            let key = checked_key(&names, 2)?;
            let entry = Open {
                key,
                day,
                at_ms,
                amounts,
            };
            let new = !books.open.contains_key(&id);
            books.reserve(id, entry);
            new.then_some(())
        }
        (Record::Settle { id, actual }, Some((0, 0))) => books.settle(id, &actual).then_some(()),
        (Record::ForgetBefore { id }, Some((0, 0))) => {
            books.forget_before(id);
            Some(())
        }
        (Record::ForgetThread { names }, Some((0, 0))) => {
            books.accounts.remove(&checked_key(&names, 3)?).map(|_| ())
        }
        _ => None,
    }
}

/// The key of `least` to three names.
fn checked_key(names: &[Cow<'_, str>], least: usize) -> Option<Box<str>> {
    let fits = (least..=3).contains(&names.len()) && names.iter().all(|name| is_name(name));
    fits.then(|| key_of(names))
}
