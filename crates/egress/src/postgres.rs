//! What a client of PostgreSQL says first: one of four messages, and nothing else.

use std::collections::BTreeSet;

use crate::{
    Code,
    limits::{MAX_STARTUP_BYTES, MAX_STARTUP_PARAMETERS},
};

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
/// Version 3.0, which all servers and clients of today speak.
const VERSION: u32 = 196_608;

/// The first message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// It asks for TLS.
    Tls,
    /// It asks for an encryption that there is not here.
    Gss,
    /// It logs in.
    Start(Start),
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// As whom.
    pub(crate) user: String,
    /// To which database.
    pub(crate) database: String,
    /// What else it sets, in its order.
    pub(crate) parameters: Vec<(String, String)>,
}

/// Reads it from the front of what has come, with its length; nothing if there has to be more.
///
/// # Errors
/// When it is something else, or what nobody may ask here: to cancel what another connection does, or to replicate.
pub(crate) fn read_first(front: &[u8]) -> Result<Option<(First, usize)>, Code> {
    let Some(length) = number(front, 0) else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(|_| Code::NotPostgres)?;
    if !(8..=MAX_STARTUP_BYTES).contains(&length) {
        return Err(Code::NotPostgres);
    }
    let Some(code) = number(front, 4) else {
        return Ok(None);
    };
    let first = match (code, length) {
        (SSL, 8) => First::Tls,
        (GSS, 8) => First::Gss,
        (CANCEL, _) => return Err(Code::MethodRefused),
        (VERSION, _) => match front.get(8..length) {
            Some(rest) => First::Start(start(rest)?),
            None => return Ok(None),
        },
        _ => return Err(Code::NotPostgres),
    };
    Ok(Some((first, length)))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// Names and values, each with a zero behind it, and a zero at the end.
fn start(rest: &[u8]) -> Result<Start, Code> {
    let text = std::str::from_utf8(rest).map_err(|_| Code::NotPostgres)?;
    let pairs = match text {
        "\0" => "",
        _ => text.strip_suffix("\0\0").ok_or(Code::NotPostgres)?,
    };
    let mut words = pairs.split('\0');
    let mut names = BTreeSet::new();
    let (mut user, mut database, mut parameters) = (None, None, Vec::new());
    while let Some(name) = words.next().filter(|_| !pairs.is_empty()) {
        let value = words.next().ok_or(Code::NotPostgres)?;
        // What is said twice could be read in two ways.
        if name.is_empty() || !names.insert(name) || names.len() > MAX_STARTUP_PARAMETERS {
            return Err(Code::NotPostgres);
        }
        match name {
            "user" => user = Some(value.to_owned()),
            "database" => database = Some(value.to_owned()),
            // A connection of another kind, whatever its value.
            "replication" => return Err(Code::MethodRefused),
            // Extensions of the protocol.
            _ if name.starts_with("_pq_.") => return Err(Code::NotPostgres),
            _ => parameters.push((name.to_owned(), value.to_owned())),
        }
    }
    let user = user
        .filter(|user| !user.is_empty())
        .ok_or(Code::NotPostgres)?;
    Ok(Start {
        // As servers read it.
        database: database
            .filter(|database| !database.is_empty())
            .unwrap_or_else(|| user.clone()),
        user,
        parameters,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
    }

    fn start_of(rest: &[u8]) -> Result<Start, Code> {
        match read_first(&message(VERSION, rest))? {
            Some((First::Start(start), length)) if length == 8 + rest.len() => Ok(start),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn clients_ask_for_tls_and_log_in() {
        assert_eq!(read_first(&message(SSL, b"")), Ok(Some((First::Tls, 8))));
        assert_eq!(read_first(&message(GSS, b"")), Ok(Some((First::Gss, 8))));
        let start = start_of(b"user\0app\0database\0orders\0application_name\0psql\0\0").unwrap();
        assert_eq!(
            (start.user.as_str(), start.database.as_str()),
            ("app", "orders")
        );
        assert_eq!(
            start.parameters,
            [("application_name".to_owned(), "psql".to_owned())]
        );
        // Without a database it is that of the user.
        assert_eq!(start_of(b"user\0app\0\0").unwrap().database, "app");
        assert_eq!(
            start_of(b"user\0app\0database\0\0options\0\0\0")
                .unwrap()
                .database,
            "app"
        );
        let whole = message(VERSION, b"user\0app\0\0");
        for cut in 0..whole.len() {
            assert_eq!(read_first(&whole[..cut]), Ok(None), "{cut}");
        }
    }

    /// I6: whatever is no first message of a client ends the connection, and so does one that asks for more than a login.
    #[test]
    fn nothing_else_begins_a_connection() {
        for rest in [
            &b""[..],
            b"\0",
            b"user\0app\0",
            b"user\0app",
            b"user\0\0\0",
            b"database\0app\0\0",
            b"user\0app\0user\0root\0\0",
            b"user\0app\0database\0a\0database\0b\0\0",
            b"user\0app\0\0more\0",
            b"user\0app\0_pq_.x\0y\0\0",
            b"user\0\xff\0\0",
            b"user\0app\0\0x\0\0",
        ] {
            assert_eq!(start_of(rest), Err(Code::NotPostgres), "{rest:?}");
        }
        let many: Vec<u8> = (0..=MAX_STARTUP_PARAMETERS)
            .flat_map(|number| format!("p{number}\0x\0").into_bytes())
            .chain(*b"user\0app\0\0")
            .collect();
        assert_eq!(start_of(&many), Err(Code::NotPostgres));
        for value in ["true", "database", "off", ""] {
            let rest = format!("user\0app\0replication\0{value}\0\0");
            assert_eq!(start_of(rest.as_bytes()), Err(Code::MethodRefused));
        }
        let cancel = message(CANCEL, &[0; 8]);
        assert_eq!(read_first(&cancel), Err(Code::MethodRefused));
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01",
            &message(131_072, b"user\0app\0\0"),
            &message(196_610, b"user\0app\0\0"),
            &message(SSL, b"more"),
            &[0, 0, 0, 7, 0, 3, 0, 0],
            &[0, 0, 0, 0],
            &[255; 8],
        ] {
            assert_eq!(read_first(bytes), Err(Code::NotPostgres), "{bytes:?}");
        }
    }
}
