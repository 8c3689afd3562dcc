//! Secrets that take the place of something in a request: of a part of its path, or of the value of a field of its body.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use casemate_egress::{Facts, Injection};
use casemate_identity::InPlace;
use casemate_model::{JsonBounds, check_path, strict_json};
use http::{HeaderMap, header};
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// As much of JSON as rules read.
const BOUNDS: JsonBounds = JsonBounds {
    depth: 64,
    members: 100_000,
};

/// Puts a secret into the path or the body of the request of `facts`; nothing if what it takes the place of is not there, or could be read in two ways.
pub(super) fn put(put: &InPlace, facts: &Facts, injection: Injection) -> Option<Injection> {
    match &put.field {
        None => Some(injection.with_path(path(put, &facts.path)?)),
        Some(field) => {
            let body = &facts.body.as_ref()?.bytes;
            Some(injection.with_body(body_with(put, field, body, &facts.fields)?))
        }
    }
}

fn path(put: &InPlace, path: &str) -> Option<String> {
    let (before, after) = path.split_once(&put.stand_in)?;
    let path = format!("{before}{}{after}", put.secret.expose());
    (!after.contains(&put.stand_in) && check_path(&path).is_ok()).then_some(path)
}

/// How a body says what it says.
#[derive(Clone, Copy)]
enum Form {
    Json,
    Urlencoded,
}

impl Form {
    fn of(fields: &HeaderMap) -> Option<Self> {
        let mut types = fields.get_all(header::CONTENT_TYPE).iter();
        let (Some(media), None) = (types.next(), types.next()) else {
            return None;
        };
        if fields.contains_key(header::CONTENT_ENCODING) {
            return None;
        }
        let media = media.to_str().ok()?.to_ascii_lowercase();
        let (media, more) = media.split_once(';').unwrap_or((&media, ""));
        // In another character set the bytes would mean something else.
        if !matches!(more.trim(), "" | "charset=utf-8") {
            return None;
        }
        match media.trim_end() {
            "application/json" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Urlencoded),
            media => media.ends_with("+json").then_some(Self::Json),
        }
    }

    /// The value of a field that is there once.
    fn value(self, body: &[u8], field: &str) -> Option<Zeroizing<String>> {
        match self {
            Self::Json => {
                let all = strict_json(body, BOUNDS).ok()?;
                let value = match field.starts_with('/') {
                    true => all.pointer(field),
                    false => all.get(field),
                };
                value
                    .and_then(Value::as_str)
                    .map(|value| Zeroizing::new(value.to_owned()))
            }
            Self::Urlencoded => {
                // What is no text would be read as something else.
                std::str::from_utf8(body).ok()?;
                let pairs = form_urlencoded::parse(body);
                // Servers take names in other spellings for the same field.
                let mut meant = pairs.filter(|(name, _)| name.eq_ignore_ascii_case(field));
                match (meant.next(), meant.next()) {
                    (Some((name, value)), None) if name == field => {
                        Some(Zeroizing::new(value.into_owned()))
                    }
                    _ => None,
                }
            }
        }
    }

    fn spelled(self, secret: &str) -> Option<Zeroizing<String>> {
        Some(Zeroizing::new(match self {
            Self::Json => {
                let quoted = Zeroizing::new(serde_json::to_string(secret).ok()?);
                quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned()
            }
            Self::Urlencoded => form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
        }))
    }
}

fn body_with(put: &InPlace, field: &str, body: &[u8], fields: &HeaderMap) -> Option<Bytes> {
    let form = Form::of(fields)?;
    let is_value =
        |body: &[u8], value: &str| form.value(body, field).is_some_and(|there| *there == value);
    let stand_in = put.stand_in.as_bytes();
    let mut places = body
        .windows(stand_in.len())
        .enumerate()
        .filter(|(_, part)| *part == stand_in);
    let (Some((at, _)), None) = (places.next(), places.next()) else {
        return None;
    };
    if !is_value(body, &put.stand_in) {
        return None;
    }
    let (before, after) = (body.get(..at)?, body.get(at + stand_in.len()..)?);
    let secret = form.spelled(put.secret.expose())?;
    let with = Bytes::from([before, secret.as_bytes(), after].concat());
    // Another spelling of it may be the field's value, and this be somewhere else.
    is_value(&with, put.secret.expose()).then_some(with)
}
