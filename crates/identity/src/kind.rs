//! What kinds of credentials there are, and what is said of one in clear.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    Form,
    limits::{MAX_WORD_BYTES, MAX_WORDS},
    secret::is_line,
};

/// A kind of credential with its settings, none of which is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kind {
    /// The secret is the value of a header.
    Header {
        /// Which.
        name: String,
    },
    /// The secret is a bearer token (RFC 6750).
    Bearer {},
    /// The secret is the password of a user (RFC 7617).
    Basic {
        /// The user.
        user: String,
    },
    /// The secret is the value of a name in the query.
    Query {
        /// Which.
        name: String,
    },
    /// The secret is that of a client, which gets tokens with it (RFC 6749, 4.4).
    OauthClient {
        /// Where.
        token_url: String,
        /// The client.
        client_id: String,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
        /// For whom the tokens are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
        /// How the client proves who it is.
        #[serde(default)]
        auth: ClientAuth,
    },
    /// The secret is a refresh token (RFC 6749, 6); each answer may bring the next one.
    OauthRefresh {
        /// Where.
        token_url: String,
        /// The client.
        client_id: String,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
        /// How the client proves who it is, if it has a secret too.
        #[serde(default)]
        auth: ClientAuth,
    },
    /// The secret is a private key, by which assertions are signed that get tokens (RFC 7523).
    JwtBearer {
        /// Where.
        token_url: String,
        /// Who asserts.
        issuer: String,
        /// About whom.
        subject: String,
        /// To whom; the token endpoint if nobody is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
        /// The name of the key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_id: Option<String>,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
    },
    /// The secret is the private key of a GitHub App, which gets tokens of one installation.
    GithubApp {
        /// The API, such as `https://api.github.com`.
        api_url: String,
        /// The app.
        app_id: String,
        /// The installation.
        installation: u64,
        /// The repositories; all of the installation if there are none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        repositories: Vec<String>,
        /// What may be done; all that the installation may if nothing is said.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        permissions: BTreeMap<String, String>,
    },
    /// The secret is a secret access key of AWS, by which requests are signed (Signature Version 4).
    AwsSigv4 {
        /// Its public half.
        access_key_id: String,
        /// The region that it is for.
        region: String,
        /// The service that it is for.
        service: String,
    },
    /// The secret is a key by which requests are signed (HMAC-SHA-256).
    Hmac {
        /// The header of the signature.
        header: String,
        /// The header of the time.
        time_header: String,
    },
}

/// How a client proves who it is to a token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// In the header (`client_secret_basic`).
    #[default]
    Basic,
    /// In the form (`client_secret_post`).
    Post,
}

/// Why a credential cannot be one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// A setting is empty, too long, or has characters that it cannot have.
    #[error("`{0}` must be 1 to {MAX_WORD_BYTES} visible ASCII characters")]
    Word(&'static str),
    /// There are too many.
    #[error("`{0}` can be said at most {MAX_WORDS} times")]
    TooMany(&'static str),
    /// It is no header, or one that says where a message ends or goes.
    #[error("no credential can be put into the header `{0}`")]
    Header(String),
    /// Tokens are fetched over TLS only, from where a person wrote it.
    #[error(
        "`{0}` must be an `https://` URL of a host, without user, query and fragment: tokens are fetched from nowhere else"
    )]
    Url(&'static str),
    /// A user of Basic authentication cannot have a colon.
    #[error("a user name cannot contain `:`")]
    User,
    /// It cannot sign.
    #[error(
        "the secret is no private key that can sign: RSA with 2048 bits or more, or P-256, in PEM and not encrypted"
    )]
    Key,
    /// A second secret that the kind does not have.
    #[error("a credential of the kind `{0}` has no second secret")]
    Second(&'static str),
}

/// Headers in which a credential would change what a request is.
const TAKEN: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl Kind {
    /// The words for all kinds.
    pub const WORDS: &'static [&'static str] = &[
        "header",
        "bearer",
        "basic",
        "query",
        "oauth-client",
        "oauth-refresh",
        "jwt-bearer",
        "github-app",
        "aws-sigv4",
        "hmac",
    ];
    /// Kinds that people ask for and that there are not.
    pub const ABSENT: &'static [&'static str] = &[
        "aws-sigv4a",
        "azure-federated",
        "azure-managed-identity",
        "azure-sas",
        "body",
        "cookie",
        "mtls",
        "oidc-federation",
        "on-behalf-of",
        "path",
        "postgres",
        "ssh",
        "token-exchange",
    ];

    /// Its word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Header { .. } => "header",
            Self::Bearer {} => "bearer",
            Self::Basic { .. } => "basic",
            Self::Query { .. } => "query",
            Self::OauthClient { .. } => "oauth-client",
            Self::OauthRefresh { .. } => "oauth-refresh",
            Self::JwtBearer { .. } => "jwt-bearer",
            Self::GithubApp { .. } => "github-app",
            Self::AwsSigv4 { .. } => "aws-sigv4",
            Self::Hmac { .. } => "hmac",
        }
    }

    /// What its secret looks like.
    #[must_use]
    pub const fn form(&self) -> Form {
        match self {
            Self::JwtBearer { .. } | Self::GithubApp { .. } => Form::Pem,
            _ => Form::Line,
        }
    }

    /// Whether there may be a second secret: of the client, or of the session.
    #[must_use]
    pub const fn has_second(&self) -> bool {
        matches!(self, Self::OauthRefresh { .. } | Self::AwsSigv4 { .. })
    }

    /// Whether it is used by getting a token with it.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        matches!(
            self,
            Self::OauthClient { .. }
                | Self::OauthRefresh { .. }
                | Self::JwtBearer { .. }
                | Self::GithubApp { .. }
        )
    }

    /// Whether it signs whole requests: their bodies have to be known.
    #[must_use]
    pub const fn signs(&self) -> bool {
        matches!(self, Self::AwsSigv4 { .. } | Self::Hmac { .. })
    }

    /// The scopes that it asks for, as its issuer calls them.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        match self {
            Self::OauthClient { scopes, .. }
            | Self::OauthRefresh { scopes, .. }
            | Self::JwtBearer { scopes, .. } => scopes.clone(),
            Self::GithubApp {
                repositories,
                permissions,
                ..
            } => {
                let permissions = permissions
                    .iter()
                    .map(|(what, level)| format!("{what}:{level}"));
                let repositories = repositories.iter().map(|name| format!("repository:{name}"));
                permissions.chain(repositories).collect()
            }
            Self::AwsSigv4 {
                region, service, ..
            } => vec![format!("{service}:{region}")],
            _ => Vec::new(),
        }
    }

    /// Whether its settings can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), KindError> {
        match self {
            Self::Bearer {} => Ok(()),
            Self::Header { name } => header(name),
            Self::Basic { user } => {
                word("user", user)?;
                if user.contains(':') {
                    Err(KindError::User)
                } else {
                    Ok(())
                }
            }
            Self::Query { name } => word("name", name),
            Self::OauthClient {
                token_url,
                client_id,
                scopes,
                audience,
                ..
            } => {
                url("token-url", token_url)?;
                word("client-id", client_id)?;
                words("scope", scopes)?;
                optional("audience", audience.as_deref())
            }
            Self::OauthRefresh {
                token_url,
                client_id,
                scopes,
                ..
            } => {
                url("token-url", token_url)?;
                word("client-id", client_id)?;
                words("scope", scopes)
            }
            Self::JwtBearer {
                token_url,
                issuer,
                subject,
                audience,
                key_id,
                scopes,
            } => {
                url("token-url", token_url)?;
                word("issuer", issuer)?;
                word("subject", subject)?;
                optional("audience", audience.as_deref())?;
                optional("key-id", key_id.as_deref())?;
                words("scope", scopes)
            }
            Self::GithubApp {
                api_url,
                app_id,
                repositories,
                permissions,
                ..
            } => {
                url("api-url", api_url)?;
                word("app-id", app_id)?;
                words("repository", repositories)?;
                let (what, levels): (Vec<_>, Vec<_>) = permissions
                    .iter()
                    .map(|(what, level)| (what.clone(), level.clone()))
                    .unzip();
                words("permission", &what)?;
                words("permission", &levels)
            }
            Self::AwsSigv4 {
                access_key_id,
                region,
                service,
            } => {
                part("access-key-id", access_key_id)?;
                part("region", region)?;
                part("service", service)
            }
            Self::Hmac {
                header: signature,
                time_header,
            } => {
                header(signature)?;
                header(time_header)
            }
        }
    }
}

fn word(name: &'static str, text: &str) -> Result<(), KindError> {
    if text.is_empty() || text.len() > MAX_WORD_BYTES || !is_line(text) {
        return Err(KindError::Word(name));
    }
    Ok(())
}

/// A part of a list with slashes in between.
fn part(name: &'static str, text: &str) -> Result<(), KindError> {
    word(name, text)?;
    let good = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if good {
        Ok(())
    } else {
        Err(KindError::Word(name))
    }
}

fn optional(name: &'static str, text: Option<&str>) -> Result<(), KindError> {
    text.map_or(Ok(()), |text| word(name, text))
}

/// Words that stand in one list, with spaces in between.
fn words(name: &'static str, all: &[String]) -> Result<(), KindError> {
    if all.len() > MAX_WORDS {
        return Err(KindError::TooMany(name));
    }
    all.iter().try_for_each(|one| match one.contains(' ') {
        true => Err(KindError::Word(name)),
        false => word(name, one),
    })
}

fn url(name: &'static str, text: &str) -> Result<(), KindError> {
    word(name, text)?;
    let good = Url::parse(text).is_ok_and(|url| {
        url.scheme() == "https"
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if good {
        Ok(())
    } else {
        Err(KindError::Url(name))
    }
}

fn header(name: &str) -> Result<(), KindError> {
    let lower = name.to_ascii_lowercase();
    let known = HeaderName::try_from(lower.as_str()).is_ok();
    if !known || TAKEN.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        let shown = name
            .chars()
            .filter(char::is_ascii_graphic)
            .take(64)
            .collect();
        return Err(KindError::Header(shown));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A credential cannot say where a request ends or goes, and no token is fetched where others could read it.
    #[test]
    fn settings_that_change_a_request_or_leak_are_refused() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "proxy-authorization",
            "x y",
            "",
            "x:y",
            "Range",
        ] {
            assert!(
                Kind::Header { name: name.into() }.check().is_err(),
                "{name}"
            );
        }
        Kind::Header {
            name: "X-Api-Key".into(),
        }
        .check()
        .unwrap();
        for token_url in [
            "http://id.example/token",
            "https://",
            "https://u:p@id.example/token",
            "https://id.example/token?x=1",
            "https://id.example/token#x",
            "file:///etc/passwd",
            "id.example",
            "",
        ] {
            let kind = Kind::OauthClient {
                token_url: token_url.into(),
                client_id: "c".into(),
                scopes: Vec::new(),
                audience: None,
                auth: ClientAuth::Basic,
            };
            assert!(kind.check().is_err(), "{token_url}");
        }
        assert_eq!(
            Kind::Basic { user: "a:b".into() }.check(),
            Err(KindError::User)
        );
        let region = Kind::AwsSigv4 {
            access_key_id: "AKID".into(),
            region: "eu/x".into(),
            service: "s3".into(),
        };
        assert!(region.check().is_err());
    }

    #[test]
    fn every_kind_has_its_word_on_disk() {
        let kind = Kind::Basic { user: "u".into() };
        assert_eq!(
            serde_json::to_string(&kind).unwrap(),
            r#"{"kind":"basic","user":"u"}"#
        );
        assert!(Kind::WORDS.contains(&kind.as_str()));
        assert!(serde_json::from_str::<Kind>(r#"{"kind":"bearer","user":"u"}"#).is_err());
        assert!(Kind::WORDS.iter().all(|word| !Kind::ABSENT.contains(word)));
    }
}
