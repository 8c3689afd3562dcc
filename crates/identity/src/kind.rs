//! What kinds of credentials there are, and what is said of one in clear.

mod check;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Form,
    limits::{MAX_STAND_IN_BYTES, MAX_WORD_BYTES, MAX_WORDS, MIN_SECRET_BYTES},
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
    /// The secret takes the place of something in the path.
    Path {
        /// What is there instead of it, in requests of clients and in paths of rules.
        stand_in: String,
    },
    /// The secret takes the place of the value of a field in the body: of JSON, or of a form.
    Body {
        /// Which: a name, or a JSON pointer (RFC 6901).
        field: String,
        /// What is there instead of it in requests of clients.
        stand_in: String,
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
    /// The secret is that of a client of Entra, by whose rights requests to a container of Azure Storage are signed (user delegation SAS).
    AzureSas {
        /// Where its tokens are fetched.
        token_url: String,
        /// The client.
        client_id: String,
        /// How the client proves who it is.
        #[serde(default)]
        auth: ClientAuth,
        /// The account's blob service, such as `https://ACCOUNT.blob.core.windows.net`.
        blob_url: String,
        /// The account.
        account: String,
        /// The container.
        container: String,
        /// What may be done: letters of `racwdl`, in that order.
        permissions: String,
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
    /// The secret is a token, which is exchanged for another one (RFC 8693).
    TokenExchange {
        /// Where.
        token_url: String,
        /// The client, if it says who it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
        /// How the client proves who it is, if it has a secret too.
        #[serde(default)]
        auth: ClientAuth,
        /// What the token is (RFC 8693, 3).
        subject_token_type: String,
        /// For whom the other one is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
        /// What the other one is for: a URI (RFC 8707).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resource: Option<String>,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
    },
    /// There is no secret: the platform gives this host an assertion of who it is, which changes, and which gets tokens (RFC 7523, 2.2).
    OidcFederation {
        /// Where.
        token_url: String,
        /// The client.
        client_id: String,
        /// The file of the assertion, in the directory for them.
        assertion: String,
        /// What is asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        scopes: Vec<String>,
        /// For whom the tokens are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audience: Option<String>,
    },
    /// The platform that this host runs on gives it tokens (Azure managed identities). The secret is what its endpoint wants to be shown, if
    /// there is one.
    AzureManagedIdentity {
        /// What the tokens are for.
        resource: String,
        /// Which of its identities, if it has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
        /// The endpoint of App Service (`IDENTITY_ENDPOINT`); that of virtual machines if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
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
    /// The secret is a private key and the certificates for it, by which a client proves who it is when it connects (TLS 1.3).
    Mtls {},
    /// The secret is the password of a user of PostgreSQL.
    PostgresPassword {
        /// The user.
        user: String,
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
    /// Such endpoints are on this host only.
    #[error(
        "`{0}` must be an `http://` URL of this host (127.0.0.1, ::1 or localhost), without user, query and fragment"
    )]
    Here(&'static str),
    /// More than is said, or nothing.
    #[error("`{0}` must be some of the letters `racwdl`, in that order, such as `rl`")]
    Permissions(&'static str),
    /// It would lead elsewhere.
    #[error(
        "`{0}` must be the name of a file in `identity/assertions` of the state directory: letters, digits, `_`, `-` and `.`"
    )]
    File(&'static str),
    /// It would be found by chance, or is spelled in several ways.
    #[error(
        "`{0}` must be {MIN_SECRET_BYTES} to {MAX_STAND_IN_BYTES} letters, digits, `_`, `-` and `.`, and in paths `:`: it is looked for byte for byte"
    )]
    StandIn(&'static str),
    /// It could not be put there without being spelled in another way.
    #[error("the secret has a character that cannot stand in a path as it is")]
    Segment,
    /// There is no certificate for the key.
    #[error(
        "the secret has no certificate for its key: pass one file of PEM with the private key, its certificate, and those between it and the authority"
    )]
    Certificate,
    /// A second secret that the kind does not have.
    #[error("a credential of the kind `{0}` has no second secret")]
    Second(&'static str),
}

impl Kind {
    /// The words for all kinds.
    pub const WORDS: &'static [&'static str] = &[
        "header",
        "bearer",
        "basic",
        "query",
        "path",
        "body",
        "oauth-client",
        "oauth-refresh",
        "jwt-bearer",
        "token-exchange",
        "oidc-federation",
        "azure-managed-identity",
        "azure-sas",
        "github-app",
        "aws-sigv4",
        "hmac",
        "mtls",
        "postgres-password",
    ];
    /// Kinds that people ask for and that there are not.
    pub const ABSENT: &'static [&'static str] =
        &["aws-sigv4a", "cookie", "on-behalf-of", "ssh-key"];

    /// Its word.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Header { .. } => "header",
            Self::Bearer {} => "bearer",
            Self::Basic { .. } => "basic",
            Self::Query { .. } => "query",
            Self::Path { .. } => "path",
            Self::Body { .. } => "body",
            Self::OauthClient { .. } => "oauth-client",
            Self::AzureSas { .. } => "azure-sas",
            Self::OauthRefresh { .. } => "oauth-refresh",
            Self::JwtBearer { .. } => "jwt-bearer",
            Self::TokenExchange { .. } => "token-exchange",
            Self::OidcFederation { .. } => "oidc-federation",
            Self::AzureManagedIdentity { .. } => "azure-managed-identity",
            Self::GithubApp { .. } => "github-app",
            Self::AwsSigv4 { .. } => "aws-sigv4",
            Self::Hmac { .. } => "hmac",
            Self::Mtls {} => "mtls",
            Self::PostgresPassword { .. } => "postgres-password",
        }
    }

    /// What its secret looks like.
    #[must_use]
    pub const fn form(&self) -> Form {
        match self {
            Self::JwtBearer { .. } | Self::GithubApp { .. } | Self::Mtls {} => Form::Pem,
            Self::OidcFederation { .. } | Self::AzureManagedIdentity { endpoint: None, .. } => {
                Form::Nothing
            }
            _ => Form::Line,
        }
    }

    /// Whether there may be a second secret: of the client, or of the session.
    #[must_use]
    pub const fn has_second(&self) -> bool {
        matches!(
            self,
            Self::OauthRefresh { .. } | Self::TokenExchange { .. } | Self::AwsSigv4 { .. }
        )
    }

    /// Whether it is used by getting a token with it.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        matches!(
            self,
            Self::OauthClient { .. }
                | Self::AzureSas { .. }
                | Self::OauthRefresh { .. }
                | Self::JwtBearer { .. }
                | Self::TokenExchange { .. }
                | Self::OidcFederation { .. }
                | Self::AzureManagedIdentity { .. }
                | Self::GithubApp { .. }
        )
    }

    /// Whether it signs whole requests: their bodies have to be known.
    #[must_use]
    pub const fn signs(&self) -> bool {
        matches!(self, Self::AwsSigv4 { .. } | Self::Hmac { .. })
    }

    /// Whether it is for logins, and not for requests of HTTP.
    #[must_use]
    pub const fn logs_in(&self) -> bool {
        matches!(self, Self::PostgresPassword { .. })
    }

    /// Whether it is presented when a connection is made, and not put into requests.
    #[must_use]
    pub const fn is_presented(&self) -> bool {
        matches!(self, Self::Mtls {})
    }

    /// The scopes that it asks for, as its issuer calls them.
    #[must_use]
    pub fn scopes(&self) -> Vec<String> {
        match self {
            Self::OauthClient { scopes, .. }
            | Self::OauthRefresh { scopes, .. }
            | Self::JwtBearer { scopes, .. }
            | Self::TokenExchange { scopes, .. }
            | Self::OidcFederation { scopes, .. } => scopes.clone(),
            Self::AzureManagedIdentity { resource, .. } => vec![resource.clone()],
            Self::AzureSas {
                account,
                container,
                permissions,
                ..
            } => vec![format!("{account}/{container}:{permissions}")],
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
}
