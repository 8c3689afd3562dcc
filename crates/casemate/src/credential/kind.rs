//! The settings of a credential on the command line. None of them is secret.

use std::collections::BTreeMap;

use anyhow::anyhow;
use casemate_identity::{ClientAuth, Kind};
use clap::{Args, ValueEnum};

use crate::report::Failure;

/// What a credential is.
#[derive(Debug, Args)]
pub(crate) struct KindArgs {
    /// `header`, `bearer`, `basic`, `query`, `path`, `body`, `oauth-client`, `oauth-refresh`, `jwt-bearer`, `token-exchange`, `oidc-federation`,
    /// `azure-managed-identity`, `azure-sas`, `github-app`, `aws-sigv4`, `hmac`, `mtls` or `postgres-password`
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// header, query: the name under which the secret is sent
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// path, body: what is in requests of clients where the secret goes
    #[arg(long, value_name = "TEXT")]
    stand_in: Option<String>,
    /// body: the field of JSON or of a form, by its name or a JSON pointer
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// basic, postgres-password: the user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// oauth-client, oauth-refresh, jwt-bearer, token-exchange, oidc-federation, azure-sas: where tokens are fetched, over HTTPS
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// oauth-client, oauth-refresh, oidc-federation, azure-sas: the client; token-exchange: the same, if it has one; azure-managed-identity: which
    /// identity, if there are several
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// oauth-client, oauth-refresh, token-exchange, azure-sas: how the client proves who it is
    #[arg(long, value_enum, default_value = "basic")]
    client_auth: Auth,
    /// oauth-client, oauth-refresh, jwt-bearer, token-exchange, oidc-federation: what is asked for; can be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// oauth-client, jwt-bearer, token-exchange, oidc-federation: for whom
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// jwt-bearer: who asserts
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// jwt-bearer: about whom
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// jwt-bearer: the name of the key
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// token-exchange: what the secret is
    #[arg(
        long,
        value_name = "URN",
        default_value = "urn:ietf:params:oauth:token-type:access_token"
    )]
    subject_token_type: String,
    /// token-exchange, azure-managed-identity: what the tokens are for
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// oidc-federation: the file in `identity/assertions` of the state directory into which the platform writes who this host is
    #[arg(long, value_name = "FILE")]
    assertion: Option<String>,
    /// azure-managed-identity: the endpoint of App Service, whose header is the secret [default: that of virtual machines]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// azure-sas: the account's blob service, such as https://ACCOUNT.blob.core.windows.net
    #[arg(long, value_name = "URL")]
    blob_url: Option<String>,
    /// azure-sas: the account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// azure-sas: the container
    #[arg(long, value_name = "NAME")]
    container: Option<String>,
    /// azure-sas: what may be done, some of `racwdl`
    #[arg(long, value_name = "LETTERS")]
    allow: Option<String>,
    /// github-app: the API
    #[arg(long, value_name = "URL", default_value = "https://api.github.com")]
    api_url: String,
    /// github-app: the app
    #[arg(long, value_name = "ID")]
    app_id: Option<String>,
    /// github-app: the installation
    #[arg(long, value_name = "N")]
    installation: Option<u64>,
    /// github-app: a repository, by its name alone; can be repeated [default: all of the installation]
    #[arg(long = "repository", value_name = "NAME")]
    repositories: Vec<String>,
    /// github-app: what may be done, such as contents=read; can be repeated [default: all that the installation may]
    #[arg(long = "permission", value_name = "NAME=LEVEL", value_parser = pair)]
    permissions: Vec<(String, String)>,
    /// aws-sigv4: the public half of the key
    #[arg(long, value_name = "ID")]
    access_key_id: Option<String>,
    /// aws-sigv4: the region
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// aws-sigv4: the service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// hmac: the header of the signature
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// hmac: the header of the time
    #[arg(long, value_name = "NAME")]
    time_header: Option<String>,
}

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// In a header (`client_secret_basic`)
    Basic,
    /// In the form (`client_secret_post`)
    Post,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, level) = text
        .split_once('=')
        .ok_or("say NAME=LEVEL, such as contents=read")?;
    Ok((name.to_owned(), level.to_owned()))
}

impl KindArgs {
    /// A kind whose secret goes into requests as it is.
    fn put_in(
        &mut self,
        need: impl Fn(Option<String>, &str) -> Result<String, Failure>,
    ) -> Result<Option<Kind>, Failure> {
        Ok(Some(match self.kind.as_str() {
            "bearer" => Kind::Bearer {},
            "header" => Kind::Header {
                name: need(self.name.take(), "name")?,
            },
            "query" => Kind::Query {
                name: need(self.name.take(), "name")?,
            },
            "path" => Kind::Path {
                stand_in: need(self.stand_in.take(), "stand-in")?,
            },
            "body" => Kind::Body {
                field: need(self.field.take(), "field")?,
                stand_in: need(self.stand_in.take(), "stand-in")?,
            },
            "basic" => Kind::Basic {
                user: need(self.user.take(), "user")?,
            },
            _ => return Ok(None),
        }))
    }

    /// The kind with all that it needs.
    pub(super) fn kind(mut self) -> Result<Kind, Failure> {
        let auth = match self.client_auth {
            Auth::Basic => ClientAuth::Basic,
            Auth::Post => ClientAuth::Post,
        };
        let permissions: BTreeMap<_, _> = self.permissions.drain(..).collect();
        let kind = self.kind.clone();
        let need = |value: Option<String>, option: &str| {
            value.ok_or_else(|| {
                Failure::usage(anyhow!(
                    "a credential of the kind `{kind}` needs `--{option}`"
                ))
            })
        };
        if let Some(kind) = self.put_in(need)? {
            return Ok(kind);
        }
        Ok(match kind.as_str() {
            "oauth-client" => Kind::OauthClient {
                token_url: need(self.token_url, "token-url")?,
                client_id: need(self.client_id, "client-id")?,
                scopes: self.scopes,
                audience: self.audience,
                auth,
            },
            "oauth-refresh" => Kind::OauthRefresh {
                token_url: need(self.token_url, "token-url")?,
                client_id: need(self.client_id, "client-id")?,
                scopes: self.scopes,
                auth,
            },
            "jwt-bearer" => Kind::JwtBearer {
                token_url: need(self.token_url, "token-url")?,
                issuer: need(self.issuer, "issuer")?,
                subject: need(self.subject, "subject")?,
                audience: self.audience,
                key_id: self.key_id,
                scopes: self.scopes,
            },
            "token-exchange" => Kind::TokenExchange {
                token_url: need(self.token_url, "token-url")?,
                client_id: self.client_id,
                auth,
                subject_token_type: self.subject_token_type,
                audience: self.audience,
                resource: self.resource,
                scopes: self.scopes,
            },
            "oidc-federation" => Kind::OidcFederation {
                token_url: need(self.token_url, "token-url")?,
                client_id: need(self.client_id, "client-id")?,
                assertion: need(self.assertion, "assertion")?,
                scopes: self.scopes,
                audience: self.audience,
            },
            "azure-managed-identity" => Kind::AzureManagedIdentity {
                resource: need(self.resource, "resource")?,
                client_id: self.client_id,
                endpoint: self.endpoint,
            },
            "azure-sas" => Kind::AzureSas {
                token_url: need(self.token_url, "token-url")?,
                client_id: need(self.client_id, "client-id")?,
                auth,
                blob_url: need(self.blob_url, "blob-url")?,
                account: need(self.account, "account")?,
                container: need(self.container, "container")?,
                permissions: need(self.allow, "allow")?,
            },
            "github-app" => Kind::GithubApp {
                api_url: self.api_url,
                app_id: need(self.app_id, "app-id")?,
                installation: need(self.installation.map(|id| id.to_string()), "installation")?
                    .parse()
                    .map_err(Failure::usage)?,
                repositories: self.repositories,
                permissions,
            },
            "aws-sigv4" => Kind::AwsSigv4 {
                access_key_id: need(self.access_key_id, "access-key-id")?,
                region: need(self.region, "region")?,
                service: need(self.service, "service")?,
            },
            "mtls" => Kind::Mtls {},
            "postgres-password" => Kind::PostgresPassword {
                user: need(self.user, "user")?,
            },
            "hmac" => Kind::Hmac {
                header: need(self.header, "header")?,
                time_header: need(self.time_header, "time-header")?,
            },
            other => return Err(unknown(other)),
        })
    }
}

fn unknown(kind: &str) -> Failure {
    let absent = Kind::ABSENT.contains(&kind);
    let what = match absent {
        true => anyhow!("credentials of the kind `{kind}` are not supported"),
        false => anyhow!("there is no kind `{}` of credentials", kind.escape_debug()),
    };
    Failure::usage(what).hint(format!("there are {}", Kind::WORDS.join(", ")))
}
