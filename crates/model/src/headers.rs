//! Headers that mean more than they say, in one table for whoever reads requests.

/// By which a server takes another method than the one of the request line.
const METHOD: &[&str] = &[
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
];

/// That are a credential, or may be.
const CREDENTIAL: &[&str] = &[
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-auth-token",
    "x-amz-security-token",
    "private-token",
];

/// Whether `name` is the header `known`, with `_` or `.` for `-` too, as gateways to scripts read it.
#[must_use]
pub fn is_header(name: &str, known: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' | b'.' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.len() == known.len() && name.bytes().map(plain).eq(known.bytes().map(plain))
}

/// Whether a header of this name says another method than the request has.
#[must_use]
pub fn overrides_method(name: &str) -> bool {
    METHOD.iter().any(|known| is_header(name, known))
}

/// Whether a header of this name is a credential, or may be.
#[must_use]
pub fn is_credential(name: &str) -> bool {
    CREDENTIAL.iter().any(|known| is_header(name, known))
}
