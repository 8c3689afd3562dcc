//! What goes into one request.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_model::Digest;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    Handle, Kind, Login, Presented, Secret, Secrets,
    limits::{MAX_SIGNED, MIN_SECRET_BYTES},
    login, sigv4,
};

/// One request that is about to be sent, as far as a grant is bound to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The credential that it is to have.
    pub handle: Handle,
    /// The rule that lets it through.
    pub rule: String,
    /// Its method.
    pub method: String,
    /// Its host, which proved its name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its path.
    pub path: String,
    /// What follows the question mark.
    pub query: Option<String>,
    /// The digest of its body, or of no bytes; none if the body streams.
    pub body: Option<Digest>,
    /// What it is, if it is a login and no request of HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// The fields that a signature has to be over ([`Request::signs`]), in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed: Vec<(String, String)>,
}

impl Request {
    /// Whether a signature has to be over a field by this name, in lower case, that comes from the client.
    #[must_use]
    pub fn signs(name: &str) -> bool {
        name.starts_with("x-amz-") && !sigv4::OWN.contains(&name)
    }
}

/// What goes into one request, and by what it is known again in the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rendered {
    /// Header fields.
    pub fields: Vec<(String, Secret)>,
    /// Something at the end of the query.
    pub query: Option<Secret>,
    /// What takes the place of something that is in the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<InPlace>,
    /// What proves a connection, of a credential that goes into no request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<Presented>,
    /// What must not come back, in this answer or another.
    pub hidden: Vec<Secret>,
    /// When nobody takes that any more, in milliseconds since 1970, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
    /// What is good for this request only, and must not come back in its answer.
    pub once: Vec<Secret>,
}

/// A secret that takes the place of something in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InPlace {
    /// Of this, which has to be there once.
    pub stand_in: String,
    /// In this field of the body; in the path, if none is named.
    pub field: Option<String>,
    /// The secret.
    pub secret: Secret,
}

/// Why a request cannot have a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RenderError {
    /// A signature is over the whole body, and nobody has seen it.
    #[error(
        "a body that streams cannot be signed, and nothing put into it: send it with its length, within what may be judged"
    )]
    Body,
    /// A signature is for one account.
    #[error("the signature is for another host")]
    Host,
    /// The fields cannot be signed, since they can be read in two ways or are too many.
    #[error("the fields `x-amz-*` cannot be signed: each once, and {MAX_SIGNED} at most")]
    Fields,
    /// It is for another protocol.
    #[error("a credential of this kind is for another protocol than that of the rule")]
    Protocol,
    /// There are too many handshakes at once, or the kernel gave no random bytes.
    #[error("there are too many handshakes at once")]
    Tickets,
    /// A handshake is not what it has to be.
    #[error("the handshake is not signed")]
    Handshake,
    /// A password is one user's.
    #[error("the password is another user's than the rule's")]
    User,
    /// What the destination asks for is no challenge, or none that is answered.
    #[error("the destination asks for proof in a way that is not answered")]
    Challenge,
    /// What the secret takes the place of is not there, or is twice, or nobody but the program said where.
    #[error(
        "its path does not have what stands for the secret once, and where a path of the rule has it written out"
    )]
    Place,
    /// The query cannot be signed, since it can be read in two ways.
    #[error("the query cannot be signed")]
    Query,
}

impl Rendered {
    fn lasting(fields: Vec<(String, Secret)>, hidden: Vec<Secret>) -> Self {
        Self {
            fields,
            query: None,
            in_place: None,
            presented: None,
            hidden,
            expires_at_ms: None,
            once: Vec::new(),
        }
    }

    /// The answers to a challenge, in their order.
    pub(crate) fn answering(answers: Vec<Secret>, hidden: Vec<Secret>) -> Self {
        let named = answers.into_iter();
        let named = named.map(|answer| ("answer".to_owned(), answer));
        Self::lasting(named.collect(), hidden)
    }

    /// Bytes that it takes at most in JSON.
    pub(crate) fn room(&self) -> usize {
        let fields = self
            .fields
            .iter()
            .map(|(name, value)| name.len() + value.room());
        let hidden = self.hidden.iter().chain(&self.once).chain(&self.query);
        let in_place = self.in_place.iter().map(|put| &put.secret);
        let hidden = hidden.chain(in_place).map(Secret::room);
        256 + fields.chain(hidden).sum::<usize>()
    }

    /// The same, which expires then, if that is known.
    pub(crate) fn expiring(self, expires_at_ms: Option<u64>) -> Self {
        Self {
            expires_at_ms,
            ..self
        }
    }

    /// Pairs at the end of a query.
    pub(crate) fn in_query(pairs: Secret, hidden: Vec<Secret>) -> Self {
        Self {
            query: Some(pairs),
            ..Self::lasting(Vec::new(), hidden)
        }
    }

    /// What a connection is proven with.
    pub(crate) fn presented(presented: Presented) -> Self {
        Self {
            presented: Some(presented),
            ..Self::lasting(Vec::new(), Vec::new())
        }
    }

    /// A secret in the place of something.
    fn in_place(stand_in: &str, field: Option<&str>, secret: &Secret) -> Self {
        Self {
            in_place: Some(InPlace {
                stand_in: stand_in.to_owned(),
                field: field.map(ToOwned::to_owned),
                secret: secret.clone(),
            }),
            ..Self::lasting(Vec::new(), vec![secret.clone()])
        }
    }

    /// A bearer token.
    pub(crate) fn bearer(token: &Secret) -> Self {
        let value = Secret::made(format!("Bearer {}", token.expose()));
        Self::lasting(vec![("authorization".into(), value)], vec![token.clone()])
    }
}

/// What a credential that is not fetched comes to in `request`.
pub(crate) fn render(
    kind: &Kind,
    secrets: &Secrets,
    request: &Request,
    now_ms: u64,
) -> Result<Rendered, RenderError> {
    let main = &secrets.main;
    if request.login.is_some() && !kind.logs_in() {
        return Err(RenderError::Protocol);
    }
    Ok(match kind {
        Kind::PostgresPassword { user } => {
            let login = request.login.as_ref().ok_or(RenderError::Protocol)?;
            login::answer(user, main, login)?
        }
        Kind::Header { name } => Rendered::lasting(
            vec![(name.to_ascii_lowercase(), main.clone())],
            with_parts(main),
        ),
        Kind::Basic { user } => {
            let pair = Zeroizing::new(format!("{user}:{}", main.expose()));
            let value = Secret::made(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            Rendered::lasting(vec![("authorization".into(), value)], vec![main.clone()])
        }
        Kind::Query { name } => {
            let encoded =
                |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let value = Zeroizing::new(encoded(main.expose()));
            let pair = Secret::made(format!("{}={}", encoded(name), *value));
            Rendered::in_query(pair, vec![main.clone()])
        }
        Kind::Path { stand_in } => {
            if request.path.matches(stand_in.as_str()).count() != 1 {
                return Err(RenderError::Place);
            }
            Rendered::in_place(stand_in, None, main)
        }
        Kind::Body { field, stand_in } => {
            // Nobody knows what is in a body that streams.
            request.body.ok_or(RenderError::Body)?;
            Rendered::in_place(stand_in, Some(field), main)
        }
        Kind::AwsSigv4 { .. } => sigv4::sign(kind, secrets, request, now_ms)?,
        Kind::Hmac {
            header,
            time_header,
        } => sign(header, time_header, main, request, now_ms)?,
        // It goes into no request.
        Kind::Mtls {} => return Err(RenderError::Protocol),
        // A token that was fetched is one.
        Kind::Bearer {}
        | Kind::OauthClient { .. }
        | Kind::AzureSas { .. }
        | Kind::OauthRefresh { .. }
        | Kind::JwtBearer { .. }
        | Kind::TokenExchange { .. }
        | Kind::OidcFederation { .. }
        | Kind::AzureManagedIdentity { .. }
        | Kind::GithubApp { .. } => Rendered::bearer(main),
    })
}

/// A secret as a whole, and each word of it that could be looked for: of `Token SECRET` a destination may show the second only.
fn with_parts(secret: &Secret) -> Vec<Secret> {
    let parts = secret.expose().split(' ');
    let long = parts.filter(|part| part.len() >= MIN_SECRET_BYTES && *part != secret.expose());
    let long = long.map(|part| Secret::made(part.to_owned()));
    std::iter::once(secret.clone()).chain(long).collect()
}

/// Signs the method, the target, the time and the digest of the body, one in each line.
fn sign(
    header: &str,
    time_header: &str,
    key: &Secret,
    request: &Request,
    now_ms: u64,
) -> Result<Rendered, RenderError> {
    let body = request.body.ok_or(RenderError::Body)?;
    let time = (now_ms / 1_000).to_string();
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let text = format!(
        "{}\n{}:{}\n{target}\n{time}\n{}",
        request.method,
        request.host,
        request.port,
        hex(body.as_bytes())
    );
    let signature = Secret::made(hex(
        hmac_sha256(key.expose().as_bytes(), text.as_bytes()).as_ref()
    ));
    Ok(Rendered {
        fields: vec![
            (header.to_ascii_lowercase(), signature.clone()),
            (time_header.to_ascii_lowercase(), Secret::made(time)),
        ],
        query: None,
        in_place: None,
        presented: None,
        hidden: Vec::new(),
        expires_at_ms: None,
        once: vec![signature],
    })
}

pub(crate) fn hmac_sha256(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Form;

    fn secrets(text: &str) -> Secrets {
        Secrets::of(Secret::read(text.as_bytes(), Form::Line).unwrap())
    }

    fn request(body: Option<&[u8]>) -> Request {
        Request {
            handle: "cred:a".parse().unwrap(),
            rule: "a".into(),
            method: "POST".into(),
            host: "api.example.com".into(),
            port: 443,
            path: "/v1/a".into(),
            query: Some("x=1".into()),
            body: body.map(Digest::of),
            login: None,
            signed: Vec::new(),
        }
    }

    /// R75: each kind is put where its protocol has it.
    #[test]
    fn secrets_go_where_protocols_have_them() {
        let of =
            |kind: &Kind, secret: &str| render(kind, &secrets(secret), &request(None), 0).unwrap();
        let field = |rendered: &Rendered| {
            (
                rendered.fields[0].0.clone(),
                rendered.fields[0].1.expose().to_owned(),
            )
        };
        assert_eq!(
            field(&of(&Kind::Bearer {}, "tok-12345")),
            ("authorization".into(), "Bearer tok-12345".into())
        );
        assert_eq!(
            field(&of(
                &Kind::Header {
                    name: "X-Api-Key".into()
                },
                "tok-12345"
            )),
            ("x-api-key".into(), "tok-12345".into())
        );
        // RFC 7617, 2.
        let basic = of(
            &Kind::Basic {
                user: "Aladdin".into(),
            },
            "open sesame",
        );
        assert_eq!(
            field(&basic),
            (
                "authorization".into(),
                "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".into()
            )
        );
        let query = of(&Kind::Query { name: "key".into() }, "a&b=c d+e");
        assert_eq!(query.query.unwrap().expose(), "key=a%26b%3Dc+d%2Be");
        assert!(query.fields.is_empty());
    }

    /// R78: of a field with a word before the key, the key alone does not come back either.
    #[test]
    fn each_part_of_a_field_is_hidden() {
        let kind = Kind::Header {
            name: "authorization".into(),
        };
        let hidden = |secret: &str| -> Vec<_> {
            let rendered = render(&kind, &secrets(secret), &request(None), 0).unwrap();
            let hidden = rendered.hidden.iter();
            hidden.map(|secret| secret.expose().to_owned()).collect()
        };
        assert_eq!(
            hidden("Token ghp-abcdefgh  other-12"),
            ["Token ghp-abcdefgh  other-12", "ghp-abcdefgh", "other-12"]
        );
        assert_eq!(hidden("ghp-abcdefgh"), ["ghp-abcdefgh"]);
        // What is too short to be told from ordinary text is hidden in the whole only.
        assert_eq!(hidden("Token abc"), ["Token abc"]);
    }

    /// A signature is for one request: everything of it that a server acts on changes it, and a body that nobody saw has none.
    #[test]
    fn a_signature_is_of_one_request() {
        let kind = Kind::Hmac {
            header: "x-sig".into(),
            time_header: "x-time".into(),
        };
        let sign = |request: &Request, now| {
            render(&kind, &secrets("key-of-test"), request, now)
                .map(|rendered| rendered.fields[0].1.clone())
        };
        let good = request(Some(b"body"));
        let first = sign(&good, 1_000).unwrap();
        assert_eq!(sign(&good, 1_999).unwrap(), first);
        let mut others = vec![request(Some(b"bodY"))];
        for change in [
            |r: &mut Request| r.method = "PUT".into(),
            |r: &mut Request| r.host = "api.example.org".into(),
            |r: &mut Request| r.port = 444,
            |r: &mut Request| r.path = "/v1/b".into(),
            |r: &mut Request| r.query = None,
        ] {
            let mut other = good.clone();
            change(&mut other);
            others.push(other);
        }
        for other in &others {
            assert_ne!(sign(other, 1_000).unwrap(), first, "{other:?}");
        }
        assert_ne!(sign(&good, 2_000).unwrap(), first);
        assert_eq!(sign(&request(None), 1_000), Err(RenderError::Body));
        let rendered = render(&kind, &secrets("key-of-test"), &good, 0).unwrap();
        assert_eq!((rendered.hidden.len(), rendered.once.len()), (0, 1));
    }
}
