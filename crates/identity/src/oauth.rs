//! What token endpoints are asked, and what their answers mean.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_model::{JsonBounds, strict_json};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::{
    ClientAuth, Form, Issuer, Kind, Secret, Secrets, TokenAnswer, TokenRequest,
    jws::{self, SignError},
    limits::{ASSERTION_SKEW_S, ASSERTION_TTL_S, DEFAULT_TOKEN_LIFE_MS, MAX_TOKEN_LIFE_MS},
    render::hex,
    sas,
};

/// Where virtual machines of Azure get tokens.
const IMDS: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const IMDS_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";
const FORM: &str = "application/x-www-form-urlencoded";
/// Room for what is not secret in a form; if it takes more, only that moves.
const SETTINGS_BYTES: usize = 4_096;
const BOUNDS: JsonBounds = JsonBounds {
    depth: 16,
    members: 4_096,
};

/// A fresh token.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) access: Secret,
    /// How long it is used.
    pub(crate) life_ms: u64,
    /// When nobody takes it any more, if its issuer said so: not when it stops being used, which may be sooner.
    pub(crate) expires_at_ms: Option<u64>,
    /// What takes the place of the refresh token.
    pub(crate) refresh: Option<Secret>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// What was presented is not taken any more, and never will be again.
    #[error("the token endpoint does not take the credential any more (`{0}`)")]
    Invalid(&'static str),
    /// Not now.
    #[error("the token endpoint answered with the status {status}")]
    Status {
        status: u16,
        retry_after_ms: Option<u64>,
    },
    /// No token in it that could be used.
    #[error("the token endpoint answered with something that is no token")]
    Garbage,
}

/// Words by which an issuer says that the credential itself is not taken.
const INVALID: &[&str] = &["invalid_grant", "invalid_client", "unauthorized_client"];

/// What the endpoint of `kind` is asked; nothing for a kind that is not fetched.
pub(crate) fn question(
    kind: &Kind,
    secrets: &Secrets,
    now_ms: u64,
    nonce: &[u8],
) -> Result<Option<TokenRequest>, SignError> {
    Ok(match kind {
        Kind::JwtBearer { .. } | Kind::GithubApp { .. } => signed(kind, secrets, now_ms, nonce)?,
        Kind::AzureManagedIdentity { .. } => platform(kind, secrets),
        _ => presented(kind, secrets),
    })
}

/// Of kinds whose secret is shown to the endpoint.
fn presented(kind: &Kind, secrets: &Secrets) -> Option<TokenRequest> {
    Some(match kind {
        Kind::OauthClient {
            token_url,
            client_id,
            scopes,
            audience,
            auth,
        } => {
            let mut form = Fields::new("client_credentials", secrets.room());
            form.scopes(scopes);
            form.add_some("audience", audience.as_deref());
            form.of_client(token_url, client_id, Some(&secrets.main), *auth)
        }
        Kind::AzureSas {
            token_url,
            client_id,
            auth,
            ..
        } => {
            let mut form = Fields::new("client_credentials", secrets.room());
            form.add("scope", sas::SCOPE);
            form.of_client(token_url, client_id, Some(&secrets.main), *auth)
        }
        Kind::OauthRefresh {
            token_url,
            client_id,
            scopes,
            auth,
        } => {
            let mut form = Fields::new("refresh_token", secrets.room());
            form.add("refresh_token", secrets.main.expose());
            form.scopes(scopes);
            form.of_client(token_url, client_id, secrets.second.as_ref(), *auth)
        }
        Kind::TokenExchange {
            token_url,
            client_id,
            auth,
            subject_token_type,
            audience,
            resource,
            scopes,
        } => {
            let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
            let mut form = Fields::new(grant, secrets.room());
            form.add("subject_token", secrets.main.expose());
            form.add("subject_token_type", subject_token_type);
            form.add(
                "requested_token_type",
                "urn:ietf:params:oauth:token-type:access_token",
            );
            form.add_some("audience", audience.as_deref());
            form.add_some("resource", resource.as_deref());
            form.scopes(scopes);
            match client_id {
                Some(id) => form.of_client(token_url, id, secrets.second.as_ref(), *auth),
                None => form.request(token_url, None),
            }
        }
        Kind::OidcFederation {
            token_url,
            client_id,
            scopes,
            audience,
            ..
        } => {
            let mut form = Fields::new("client_credentials", secrets.room());
            form.add(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            );
            form.add("client_assertion", secrets.main.expose());
            form.scopes(scopes);
            form.add_some("audience", audience.as_deref());
            form.of_client(token_url, client_id, None, ClientAuth::Post)
        }
        _ => return None,
    })
}

/// Of kinds whose secret signs.
fn signed(
    kind: &Kind,
    secrets: &Secrets,
    now_ms: u64,
    nonce: &[u8],
) -> Result<Option<TokenRequest>, SignError> {
    let now = now_ms / 1_000;
    Ok(Some(match kind {
        Kind::JwtBearer {
            token_url,
            issuer,
            subject,
            audience,
            key_id,
            scopes,
        } => {
            let claims = json!({
                "iss": issuer,
                "sub": subject,
                "aud": audience.as_deref().unwrap_or(token_url),
                "iat": now,
                "exp": now.saturating_add(ASSERTION_TTL_S),
                "jti": hex(nonce),
                "scope": scopes.join(" "),
            });
            let assertion = jws::assertion(&secrets.main, key_id.as_deref(), &claims)?;
            let mut form = Fields::new(
                "urn:ietf:params:oauth:grant-type:jwt-bearer",
                assertion.room(),
            );
            form.add("assertion", assertion.expose());
            form.scopes(scopes);
            form.request(token_url, None)
        }
        Kind::GithubApp {
            api_url,
            app_id,
            installation,
            repositories,
            permissions,
        } => {
            let claims = json!({
                "iss": app_id,
                "iat": now.saturating_sub(ASSERTION_SKEW_S),
                "exp": now.saturating_add(ASSERTION_TTL_S),
            });
            let assertion = jws::assertion(&secrets.main, None, &claims)?;
            let mut body = Map::new();
            if !repositories.is_empty() {
                body.insert("repositories".to_owned(), json!(repositories));
            }
            if !permissions.is_empty() {
                body.insert("permissions".to_owned(), json!(permissions));
            }
            let api = api_url.trim_end_matches('/');
            TokenRequest {
                issuer: Issuer::Remote,
                url: format!("{api}/app/installations/{installation}/access_tokens"),
                authorization: Some(Secret::made(format!("Bearer {}", assertion.expose()))),
                version: None,
                content_type: "application/json",
                body: Zeroizing::new(Value::Object(body).to_string()),
            }
        }
        _ => return Ok(None),
    }))
}

/// Of kinds for which the platform of this host is asked.
fn platform(kind: &Kind, secrets: &Secrets) -> Option<TokenRequest> {
    let Kind::AzureManagedIdentity {
        resource,
        client_id,
        endpoint,
    } = kind
    else {
        return None;
    };
    let mut query = form_urlencoded::Serializer::new(String::new());
    let version = match endpoint {
        Some(_) => APP_SERVICE_VERSION,
        None => IMDS_VERSION,
    };
    query.append_pair("api-version", version);
    query.append_pair("resource", resource);
    if let Some(id) = client_id {
        query.append_pair("client_id", id);
    }
    let (at, issuer) = match endpoint {
        Some(endpoint) => (
            endpoint.as_str(),
            Issuer::Platform("x-identity-header", secrets.main.clone()),
        ),
        None => (
            IMDS,
            Issuer::Platform("metadata", Secret::made("true".to_owned())),
        ),
    };
    Some(TokenRequest {
        issuer,
        url: format!("{at}?{}", query.finish()),
        authorization: None,
        version: None,
        content_type: "",
        body: Zeroizing::default(),
    })
}

/// A form that grows in a buffer which leaves no copies.
struct Fields(Zeroizing<String>);

impl Fields {
    /// With room for `secret` bytes and the settings.
    fn new(grant: &str, secret: usize) -> Self {
        let mut form = Self(Zeroizing::new(String::with_capacity(
            secret + SETTINGS_BYTES,
        )));
        form.add("grant_type", grant);
        form
    }

    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(name);
        self.0.push('=');
        self.0
            .extend(form_urlencoded::byte_serialize(value.as_bytes()));
    }

    fn add_some(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    fn scopes(&mut self, scopes: &[String]) {
        if !scopes.is_empty() {
            self.add("scope", &scopes.join(" "));
        }
    }

    /// As the request of a client (RFC 6749, 2.3.1).
    fn of_client(
        mut self,
        url: &str,
        id: &str,
        secret: Option<&Secret>,
        auth: ClientAuth,
    ) -> TokenRequest {
        let authorization = match (secret, auth) {
            (Some(secret), ClientAuth::Basic) => {
                let part = |text: &str| {
                    Zeroizing::new(
                        form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>(),
                    )
                };
                let pair = Zeroizing::new(format!("{}:{}", *part(id), *part(secret.expose())));
                Some(Secret::made(format!(
                    "Basic {}",
                    STANDARD.encode(pair.as_bytes())
                )))
            }
            (Some(secret), ClientAuth::Post) => {
                self.add("client_id", id);
                self.add("client_secret", secret.expose());
                None
            }
            (None, _) => {
                self.add("client_id", id);
                None
            }
        };
        self.request(url, authorization)
    }

    fn request(self, url: &str, authorization: Option<Secret>) -> TokenRequest {
        TokenRequest {
            issuer: Issuer::Remote,
            url: url.to_owned(),
            authorization,
            version: None,
            content_type: FORM,
            body: self.0,
        }
    }
}

/// What an answer means that is none.
pub(crate) fn failed(answer: &TokenAnswer) -> AnswerError {
    let parsed = strict_json(&answer.body, BOUNDS).ok();
    let error = parsed
        .as_ref()
        .and_then(|value| value.get("error"))
        .and_then(Value::as_str);
    let known = error.and_then(|error| INVALID.iter().find(|known| **known == error));
    match known {
        // A server that is ill may say anything.
        Some(word) if matches!(answer.status, 400 | 401) => AnswerError::Invalid(word),
        _ => AnswerError::Status {
            status: answer.status,
            retry_after_ms: answer.retry_after_ms,
        },
    }
}

/// What an answer means.
pub(crate) fn token(kind: &Kind, answer: &TokenAnswer, now_ms: u64) -> Result<Token, AnswerError> {
    let parsed = strict_json(&answer.body, BOUNDS).ok();
    if !(200..300).contains(&answer.status) {
        return Err(failed(answer));
    }
    let parsed = parsed.ok_or(AnswerError::Garbage)?;
    let text = |name: &str| parsed.get(name).and_then(Value::as_str);
    let secret =
        |text: &str| Secret::read(text.as_bytes(), Form::Line).map_err(|_| AnswerError::Garbage);
    if let Kind::GithubApp { .. } = kind {
        let expires: Timestamp = text("expires_at")
            .and_then(|at| at.parse().ok())
            .ok_or(AnswerError::Garbage)?;
        let expires = u64::try_from(expires.as_millisecond()).map_err(|_| AnswerError::Garbage)?;
        return Ok(Token {
            access: secret(text("token").ok_or(AnswerError::Garbage)?)?,
            life_ms: life_ms(Some(expires), now_ms),
            expires_at_ms: Some(expires),
            refresh: None,
        });
    }
    // What is no bearer token cannot be used as one.
    if !text("token_type").is_some_and(|word| word.eq_ignore_ascii_case("bearer")) {
        return Err(AnswerError::Garbage);
    }
    // Some write numbers as texts.
    let number = |name: &str| match parsed.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| AnswerError::Garbage),
        Some(number) => number.as_u64().map(Some).ok_or(AnswerError::Garbage),
    };
    let of = |seconds: u64| seconds.saturating_mul(1_000);
    let expires_at_ms = match (number("expires_in")?, kind) {
        (Some(seconds), _) => Some(now_ms.saturating_add(of(seconds))),
        (None, Kind::AzureManagedIdentity { .. }) => number("expires_on")?.map(of),
        (None, _) => None,
    };
    Ok(Token {
        access: secret(text("access_token").ok_or(AnswerError::Garbage)?)?,
        life_ms: life_ms(expires_at_ms, now_ms),
        expires_at_ms,
        refresh: text("refresh_token").map(secret).transpose()?,
    })
}

/// How long a token is used for which its issuer said this.
fn life_ms(expires_at_ms: Option<u64>, now_ms: u64) -> u64 {
    let said = expires_at_ms.map(|at| at.saturating_sub(now_ms));
    said.unwrap_or(DEFAULT_TOKEN_LIFE_MS).min(MAX_TOKEN_LIFE_MS)
}
