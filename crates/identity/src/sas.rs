//! Shared access signatures of Azure Storage, made with a key that a token of Entra gets (user delegation): they need no key of the account, and
//! are worth nothing once that key is over.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::{
    Issuer, Kind, Rendered, Request, Secret, TokenAnswer, TokenRequest,
    limits::{SAS_LIFE_MS, SAS_SKEW_MS},
    oauth::{AnswerError, Token, failed},
    render::{RenderError, hmac_sha256},
};

/// The version of the service that reads them.
const VERSION: &str = "2023-11-03";
/// What the token is for that gets the key.
pub(crate) const SCOPE: &str = "https://storage.azure.com/.default";

/// The moments between which the key and the signature count.
fn window(now_ms: u64) -> Option<(String, String)> {
    let at = |ms: u64| {
        let at = Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?;
        Some(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    };
    Some((
        at(now_ms.saturating_sub(SAS_SKEW_MS))?,
        at(now_ms.saturating_add(SAS_LIFE_MS))?,
    ))
}

/// Asks for a key, by a token of Entra.
pub(crate) fn question(kind: &Kind, token: &Secret, now_ms: u64) -> Option<TokenRequest> {
    let Kind::AzureSas { blob_url, .. } = kind else {
        return None;
    };
    let (start, expiry) = window(now_ms)?;
    Some(TokenRequest {
        issuer: Issuer::Remote,
        url: format!(
            "{}/?restype=service&comp=userdelegationkey",
            blob_url.trim_end_matches('/')
        ),
        authorization: Some(Secret::made(format!("Bearer {}", token.expose()))),
        version: Some(VERSION),
        content_type: "application/xml",
        body: Zeroizing::new(format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{start}</Start><Expiry>{expiry}</Expiry></KeyInfo>"
        )),
    })
}

/// Makes a signature for the container with the key of an answer. It is the query that goes into requests.
pub(crate) fn token(kind: &Kind, answer: &TokenAnswer, now_ms: u64) -> Result<Token, AnswerError> {
    let Kind::AzureSas {
        account,
        container,
        permissions,
        ..
    } = kind
    else {
        return Err(AnswerError::Garbage);
    };
    if !(200..300).contains(&answer.status) {
        return Err(failed(answer));
    }
    let xml = std::str::from_utf8(&answer.body).map_err(|_| AnswerError::Garbage)?;
    let of = |name: &str| element(xml, name).ok_or(AnswerError::Garbage);
    let key = Zeroizing::new(
        STANDARD
            .decode(of("Value")?)
            .map_err(|_| AnswerError::Garbage)?,
    );
    let (start, expiry) = window(now_ms).ok_or(AnswerError::Garbage)?;
    let resource = format!("/blob/{account}/{container}");
    let (oid, tid) = (of("SignedOid")?, of("SignedTid")?);
    let (from, until) = (of("SignedStart")?, of("SignedExpiry")?);
    let (service, version) = (of("SignedService")?, of("SignedVersion")?);
    // In the order of the service: empty are other users, correlation, addresses, a snapshot, a scope of encryption, and fields of answers.
    let signed = [
        permissions,
        &*start,
        &expiry,
        &resource,
        oid,
        tid,
        from,
        until,
        service,
        version,
        "",
        "",
        "",
        "",
        "https",
        VERSION,
        "c",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
    ]
    .join("\n");
    let signature = STANDARD.encode(hmac_sha256(&key, signed.as_bytes()));
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("sv", VERSION),
        ("sr", "c"),
        ("sp", permissions),
        ("st", &start),
        ("se", &expiry),
        ("spr", "https"),
        ("skoid", oid),
        ("sktid", tid),
        ("skt", from),
        ("ske", until),
        ("sks", service),
        ("skv", version),
        ("sig", &signature),
    ] {
        query.append_pair(name, value);
    }
    Ok(Token {
        access: Secret::made(query.finish()),
        life_ms: SAS_LIFE_MS,
        expires_at_ms: Some(now_ms.saturating_add(SAS_LIFE_MS)),
        refresh: None,
    })
}

/// What is between the tags of an element that is there once, and has no other in it.
fn element<'x>(xml: &'x str, name: &str) -> Option<&'x str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let (_, rest) = xml.split_once(&open)?;
    let (text, rest) = rest.split_once(&close)?;
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'&');
    let is_one = !text.is_empty() && text.bytes().all(good) && !rest.contains(&open);
    is_one.then_some(text)
}

/// Puts a signature into a request for the account that it is for.
pub(crate) fn rendered(
    blob_url: &str,
    token: &Secret,
    request: &Request,
) -> Result<Rendered, RenderError> {
    let host = Url::parse(blob_url).ok();
    let host = host.as_ref().and_then(Url::host_str);
    if host != Some(request.host.as_str()) {
        return Err(RenderError::Host);
    }
    let pairs = form_urlencoded::parse(token.expose().as_bytes());
    let signature = pairs
        .filter(|(name, _)| name == "sig")
        .map(|(_, value)| value);
    let hidden = signature.map(|value| Secret::made(value.into_owned()));
    Ok(Rendered::in_query(token.clone(), hidden.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element that is there twice, or has something in it, is none.
    #[test]
    fn elements_mean_one_thing() {
        let xml =
            "<K><A>one</A><B>two</B><B>three</B><C><D>x</D></C><E></E><F>a b</F><G>&lt;</G></K>";
        assert_eq!(element(xml, "A"), Some("one"));
        assert_eq!(element(xml, "D"), Some("x"));
        for name in ["B", "C", "E", "F", "G", "H", "K"] {
            assert_eq!(element(xml, name), None, "{name}");
        }
    }
}
