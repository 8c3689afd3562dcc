//! Connect, with JSON: one message each way, or envelopes one after the other.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use crate::{
    Code, Fault,
    limits::{ENVELOPE_HEAD_BYTES, MAX_MESSAGE_BYTES},
};

/// The type of one message.
pub const UNARY: &str = "application/json";
/// The type of a stream of envelopes.
pub const STREAM: &str = "application/connect+json";

/// What an envelope with the end of a stream has in its first byte.
const END: u8 = 0b10;
/// What a compressed one has.
const COMPRESSED: u8 = 0b01;

/// Whether a request is of this type.
///
/// # Errors
/// When it is of another, or of another version of the protocol.
pub fn check(headers: &http::HeaderMap, kind: &str) -> Result<(), Fault> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = text("content-type").unwrap_or_default();
    let given = given.split(';').next().unwrap_or_default().trim();
    if !given.eq_ignore_ascii_case(kind) {
        return Err(Fault {
            status: http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ..Fault::invalid(format!("this method takes `{kind}`"))
        });
    }
    if text("connect-protocol-version").is_some_and(|version| version != "1") {
        return Err(Fault::invalid("this is version 1 of the Connect protocol"));
    }
    for name in ["content-encoding", "connect-content-encoding"] {
        if text(name).is_some_and(|coding| coding != "identity") {
            return Err(Fault::new(
                Code::Unimplemented,
                "messages are not taken compressed",
            ));
        }
    }
    Ok(())
}

/// How long a client waits for the answer, in milliseconds, if it says so.
///
/// # Errors
/// When it says it otherwise than in at most ten digits.
pub fn timeout_ms(headers: &http::HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get("connect-timeout-ms") else {
        return Ok(None);
    };
    let digits = value.to_str().ok().filter(|text| {
        (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    let parsed = digits.and_then(|text| text.parse::<u64>().ok());
    match parsed {
        // None at all, as clients mean it.
        Some(0) => Ok(None),
        Some(ms) => Ok(Some(ms)),
        None => Err(Fault::invalid(
            "`Connect-Timeout-Ms` has at most ten digits",
        )),
    }
}

/// A message.
///
/// # Errors
/// When the bytes are not one.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    // A message without members may be left out.
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    // A list would be taken for the members in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Fault::invalid("the message is not an object"));
    }
    serde_json::from_slice(bytes).map_err(|error| Fault::invalid(format!("the message: {error}")))
}

/// An envelope with a message.
#[must_use]
pub fn envelope(message: &impl Serialize) -> Vec<u8> {
    framed(0, &serde_json::to_vec(message).unwrap_or_default())
}

/// The end of a stream.
#[must_use]
pub fn end(fault: Option<&Fault>) -> Vec<u8> {
    let end = fault.map_or_else(|| json!({}), |fault| json!({ "error": fault.to_connect() }));
    framed(END, &serde_json::to_vec(&end).unwrap_or_default())
}

fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(ENVELOPE_HEAD_BYTES + message.len());
    framed.push(flags);
    framed.extend(bytes.to_be_bytes());
    framed.extend(message);
    framed
}

/// Takes the envelopes of a client apart.
#[derive(Debug, Default)]
pub struct Envelopes {
    bytes: Vec<u8>,
}

impl Envelopes {
    /// More bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// When what comes next is too large, compressed, or of a kind that clients do not send.
    pub fn next_message(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let Some((head, rest)) = self.bytes.split_first_chunk::<ENVELOPE_HEAD_BYTES>() else {
            return Ok(None);
        };
        let [flags, a, b, c, d] = *head;
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > MAX_MESSAGE_BYTES {
            let why = format!("a message has at most {MAX_MESSAGE_BYTES} bytes");
            return Err(Fault::new(Code::ResourceExhausted, why));
        }
        match flags {
            0 => {}
            COMPRESSED => {
                return Err(Fault::new(
                    Code::Unimplemented,
                    "messages are not taken compressed",
                ));
            }
            _ => return Err(Fault::invalid("an envelope of a client has no flags")),
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        let message = message.to_vec();
        self.bytes.drain(..ENVELOPE_HEAD_BYTES + length);
        Ok(Some(message))
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// When a message is cut off.
    pub fn finish(&self) -> Result<(), Fault> {
        match self.bytes.is_empty() {
            true => Ok(()),
            false => Err(Fault::invalid("the stream ends within a message")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn envelopes_come_apart_wherever_they_are_cut() {
        let messages = [json!({}), json!({"a": "b"}), json!([1, 2, 3])];
        let stream: Vec<u8> = messages.iter().flat_map(envelope).collect();
        for cut in 0..=stream.len() {
            let (mut envelopes, mut read) = (Envelopes::default(), Vec::new());
            for part in [&stream[..cut], &stream[cut..]] {
                envelopes.push(part);
                while let Some(message) = envelopes.next_message().unwrap() {
                    read.push(serde_json::from_slice::<Value>(&message).unwrap());
                }
            }
            assert_eq!(read, messages, "{cut}");
            assert!(envelopes.finish().is_ok());
        }
    }

    #[test]
    fn what_is_no_envelope_of_a_client_is_refused_before_it_is_kept() {
        let large = u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_be_bytes();
        for (flags, length, code) in [
            (0, large, Code::ResourceExhausted),
            (COMPRESSED, [0; 4], Code::Unimplemented),
            (END, [0; 4], Code::InvalidArgument),
            (0x80, [0; 4], Code::InvalidArgument),
        ] {
            let mut envelopes = Envelopes::default();
            envelopes.push(&[flags]);
            envelopes.push(&length);
            assert_eq!(envelopes.next_message().unwrap_err().code, code, "{flags}");
        }
        let mut envelopes = Envelopes::default();
        envelopes.push(&envelope(&json!({"a": 1}))[..7]);
        assert_eq!(envelopes.next_message(), Ok(None));
        assert!(envelopes.finish().is_err());
    }

    #[test]
    fn a_message_is_an_object_or_nothing() {
        assert_eq!(
            read::<serde_json::Map<String, Value>>(b""),
            Ok(serde_json::Map::new())
        );
        for bad in [&b"[]"[..], b"null", b"1", b"{", b"\xff", b" "] {
            assert!(read::<Value>(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_time_to_wait_is_at_most_ten_digits() {
        let of = |value: &'static str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("connect-timeout-ms", value.parse().unwrap());
            timeout_ms(&headers)
        };
        assert_eq!(of("60000"), Ok(Some(60_000)));
        assert_eq!(of("0"), Ok(None));
        for bad in ["", "-1", "1e3", "99999999999", " 1"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
