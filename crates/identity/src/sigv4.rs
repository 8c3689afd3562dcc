//! AWS Signature Version 4, for one request whose body is known.

use std::collections::BTreeSet;

use jiff::Timestamp;
use url::form_urlencoded;

use crate::{
    Kind, Rendered, Request, Secret, Secrets,
    limits::MAX_SIGNED,
    render::{RenderError, hex, hmac_sha256},
};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service that takes paths as they are.
const OBJECTS: &str = "s3";
const BODY: &str = "x-amz-content-sha256";
const DATE: &str = "x-amz-date";
const SESSION: &str = "x-amz-security-token";
/// The fields that are not the client's.
pub(crate) const OWN: [&str; 3] = [BODY, DATE, SESSION];

/// Signs `request` for the region and the service of its credential, whatever the client thinks that they are.
pub(crate) fn sign(
    kind: &Kind,
    secrets: &Secrets,
    request: &Request,
    now_ms: u64,
) -> Result<Rendered, RenderError> {
    let Kind::AwsSigv4 {
        access_key_id,
        region,
        service,
    } = kind
    else {
        return Err(RenderError::Query);
    };
    let body = hex(request.body.ok_or(RenderError::Body)?.as_bytes());
    let time =
        Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(i64::MAX)).unwrap_or_default();
    let (day, time) = (
        time.strftime("%Y%m%d").to_string(),
        time.strftime("%Y%m%dT%H%M%SZ").to_string(),
    );
    let host = match request.port {
        443 => request.host.clone(),
        port => format!("{}:{port}", request.host),
    };
    let mut fields = vec![
        ("host", host.clone()),
        (BODY, body.clone()),
        (DATE, time.clone()),
    ];
    if request.signed.len() > MAX_SIGNED {
        return Err(RenderError::Fields);
    }
    for (name, value) in &request.signed {
        let words: Vec<_> = value.split(' ').filter(|word| !word.is_empty()).collect();
        fields.push((name.as_str(), words.join(" ")));
    }
    fields.sort();
    let names: BTreeSet<_> = fields.iter().map(|(name, _)| *name).collect();
    if names.len() < fields.len() || names.contains(SESSION) {
        return Err(RenderError::Fields);
    }
    let token = secrets.second.as_ref();
    let token = token.map(|token| (SESSION, token.expose()));
    let plain = fields.iter().map(|(name, value)| (*name, value.as_str()));
    let mut fields: Vec<_> = plain.chain(token).collect();
    fields.sort_unstable();
    let names = fields
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(";");
    let lines = fields
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect::<String>();
    let canonical = [
        request.method.as_str(),
        &path(&request.path, service),
        &query(request.query.as_deref().unwrap_or_default())?,
        &lines,
        &names,
        &body,
    ]
    .join("\n");
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let digest = casemate_model::Digest::of(canonical.as_bytes());
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(digest.as_bytes()));
    let seed = Secret::made(format!("AWS4{}", secrets.main.expose()));
    let mut key = hmac_sha256(seed.expose().as_bytes(), day.as_bytes());
    for part in [region.as_str(), service, "aws4_request"] {
        key = hmac_sha256(key.as_ref(), part.as_bytes());
    }
    let signature = hex(hmac_sha256(key.as_ref(), text.as_bytes()).as_ref());
    let value = format!(
        "{ALGORITHM} Credential={access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    let mut rendered = vec![
        ("authorization".to_owned(), Secret::made(value)),
        (BODY.to_owned(), Secret::made(body.clone())),
        (DATE.to_owned(), Secret::made(time.clone())),
    ];
    let mut hidden = Vec::new();
    if let Some(token) = &secrets.second {
        rendered.push((SESSION.to_owned(), token.clone()));
        hidden.push(token.clone());
    }
    Ok(Rendered {
        expires_at_ms: None,
        fields: rendered,
        query: None,
        in_place: None,
        presented: None,
        // The session token goes into every request until it expires; a signature into one.
        hidden,
        once: vec![Secret::made(signature)],
    })
}

/// The path as it is signed: escaped once more, but for objects.
fn path(path: &str, service: &str) -> String {
    if service == OBJECTS {
        return path.to_owned();
    }
    path.split('/').map(escape).collect::<Vec<_>>().join("/")
}

/// The query as it is signed: each name and value in one spelling, in order.
fn query(query: &str) -> Result<String, RenderError> {
    // In signatures a `+` is a plus, in forms it is a space: what servers make of it is not known.
    if query.contains('+') {
        return Err(RenderError::Query);
    }
    let mut pairs: Vec<_> = form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| (escape(&name), escape(&value)))
        .collect();
    pairs.sort();
    Ok(pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("&"))
}

/// Every byte but the unreserved ones of RFC 3986.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use casemate_model::Digest;

    use super::*;
    use crate::Form;

    /// 2013-05-24T00:00:00Z, the day of the examples in the documentation of Amazon S3.
    const DAY_MS: u64 = 1_369_353_600_000;

    fn secrets() -> Secrets {
        // The key of those examples, which opens nothing.
        let key = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        Secrets::of(Secret::read(key, Form::Line).unwrap())
    }

    fn kind() -> Kind {
        Kind::AwsSigv4 {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            region: "us-east-1".into(),
            service: "s3".into(),
        }
    }

    fn request(method: &str, query: &str) -> Request {
        Request {
            handle: "cred:s3".parse().unwrap(),
            rule: "s3".into(),
            method: method.into(),
            host: "examplebucket.s3.amazonaws.com".into(),
            port: 443,
            path: "/".into(),
            query: Some(query.into()),
            body: Some(Digest::of(b"")),
            login: None,
            signed: Vec::new(),
        }
    }

    fn signature(request: &Request) -> String {
        let rendered = sign(&kind(), &secrets(), request, DAY_MS).unwrap();
        let value = rendered.fields[0].1.expose().to_owned();
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    /// The signatures of Amazon's own examples ("GET Bucket Lifecycle", "GET Bucket (List Objects)").
    #[test]
    fn signatures_are_those_of_the_examples() {
        assert_eq!(
            signature(&request("GET", "lifecycle")),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature(&request("GET", "max-keys=2&prefix=J")),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        // The order in which a client names things does not matter.
        assert_eq!(
            signature(&request("GET", "prefix=J&max-keys=2")),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    fn field(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    /// The signature of Amazon's own example ("PUT Object"), which is over a field that the client says.
    #[test]
    fn fields_of_the_client_are_signed() {
        let storage = field("x-amz-storage-class", "REDUCED_REDUNDANCY");
        let date = field("date", "Fri, 24 May 2013 00:00:00 GMT");
        let put = Request {
            path: "/test%24file.text".into(),
            query: None,
            body: Some(Digest::of(b"Welcome to Amazon S3.")),
            signed: vec![date.clone(), storage.clone()],
            ..request("PUT", "")
        };
        let expected = "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
        assert_eq!(signature(&put), expected);
        let rendered = sign(&kind(), &secrets(), &put, DAY_MS).unwrap();
        let value = rendered.fields[0].1.expose();
        let names = "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,";
        assert!(value.contains(names), "{value}");
        // Spaces do not matter, and everything else does.
        let with = |signed: Vec<_>| Request {
            signed,
            ..put.clone()
        };
        let spaced = field("x-amz-storage-class", "  REDUCED_REDUNDANCY ");
        assert_eq!(signature(&with(vec![date.clone(), spaced])), expected);
        let other = field("x-amz-storage-class", "STANDARD");
        assert_ne!(signature(&with(vec![date.clone(), other])), expected);
        assert_ne!(signature(&with(vec![date])), expected);
        // Who says one twice, or one of ours, or too many, is not understood.
        let many = (0..=MAX_SIGNED).map(|number| field(&format!("x-amz-{number}"), "x"));
        for wrong in [
            vec![storage.clone(), storage],
            vec![field("x-amz-date", "20130524T000000Z")],
            vec![field("x-amz-security-token", "x")],
            many.collect(),
        ] {
            let signed = sign(&kind(), &secrets(), &with(wrong), DAY_MS);
            assert_eq!(signed, Err(RenderError::Fields));
        }
    }

    #[test]
    fn what_is_not_certain_is_not_signed() {
        let mut streamed = request("PUT", "");
        streamed.body = None;
        assert_eq!(
            sign(&kind(), &secrets(), &streamed, DAY_MS),
            Err(RenderError::Body)
        );
        assert_eq!(
            sign(&kind(), &secrets(), &request("GET", "a=b+c"), DAY_MS),
            Err(RenderError::Query)
        );
    }

    #[test]
    fn a_session_token_is_signed_and_hidden() {
        let mut secrets = secrets();
        secrets.second = Some(Secret::made("session-token".into()));
        let rendered = sign(&kind(), &secrets, &request("GET", ""), DAY_MS).unwrap();
        let named = |name: &str| {
            rendered
                .fields
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, value)| value.expose())
        };
        assert_eq!(named("x-amz-security-token"), Some("session-token"));
        assert!(
            named("authorization")
                .unwrap()
                .contains("x-amz-date;x-amz-security-token,")
        );
        let hidden: Vec<_> = rendered.hidden.iter().map(Secret::expose).collect();
        assert_eq!(hidden, ["session-token"]);
        assert!(!rendered.once.is_empty());
    }

    #[test]
    fn paths_are_escaped_twice_but_for_objects() {
        assert_eq!(path("/a%20b/c", "s3"), "/a%20b/c");
        assert_eq!(path("/a%20b/c", "es"), "/a%2520b/c");
    }
}
