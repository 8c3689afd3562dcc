//! Asking token endpoints.

use std::{fmt, path::Path, time::Duration};

use casemate_https::{AuthoritiesError, Plain, client};
use zeroize::Zeroizing;

use crate::{
    Secret,
    limits::{ENDPOINT_TIMEOUT, MAX_ANSWER_BYTES},
};

/// Whom a request for a token is for.
#[derive(Debug)]
pub enum Issuer {
    /// One that is asked over TLS.
    Remote,
    /// The platform that this host runs on, which is asked in clear, and wants this header.
    Platform(&'static str, Secret),
}

/// A request for a token.
pub struct TokenRequest {
    /// For whom.
    pub issuer: Issuer,
    /// Where: a URL of a credential's settings.
    pub url: String,
    /// Who asks, if that is said in the header.
    pub authorization: Option<Secret>,
    /// The version of the service that is asked, if it wants to be told (`x-ms-version`).
    pub version: Option<&'static str>,
    /// What its body is.
    pub content_type: &'static str,
    /// Its body.
    pub body: Zeroizing<String>,
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRequest({})", self.url)
    }
}

/// What an endpoint answered.
pub struct TokenAnswer {
    /// The status.
    pub status: u16,
    /// How long it asks to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenAnswer({})", self.status)
    }
}

/// Nobody answered, or not as HTTP.
#[derive(Debug, thiserror::Error)]
#[error("the token endpoint cannot be reached: {0}")]
pub struct EndpointError(pub String);

/// Asks token endpoints: the only network that identity has.
pub trait Endpoint: fmt::Debug + Send + Sync {
    /// Asks one; blocks.
    ///
    /// # Errors
    /// When there is no answer. What the endpoint does not like is an answer.
    fn ask(&self, request: &TokenRequest) -> Result<TokenAnswer, EndpointError>;
}

/// Token endpoints over HTTPS: certificates verified, no redirect followed, no connection reused. Only the platform of this host is asked in
/// clear, as it answers in no other way.
#[derive(Debug)]
pub struct HttpsEndpoint {
    remote: ureq::Agent,
    platform: ureq::Agent,
}

impl HttpsEndpoint {
    /// Believes the authorities in a file, or else those of this host.
    ///
    /// # Errors
    /// When no authorities are found.
    pub fn new(authorities: Option<&Path>) -> Result<Self, AuthoritiesError> {
        Ok(Self {
            remote: client(authorities, ENDPOINT_TIMEOUT, Plain::Refused)?,
            platform: client(authorities, ENDPOINT_TIMEOUT, Plain::Loopback)?,
        })
    }
}

impl Endpoint for HttpsEndpoint {
    fn ask(&self, request: &TokenRequest) -> Result<TokenAnswer, EndpointError> {
        let failed = |error: ureq::Error| EndpointError(error.to_string());
        let response = match &request.issuer {
            Issuer::Platform(name, value) => self
                .platform
                .get(&request.url)
                .header(*name, value.expose())
                .call(),
            Issuer::Remote => {
                let mut post = self
                    .remote
                    .post(&request.url)
                    .header("accept", "application/json")
                    .header("user-agent", "casemate")
                    .header("content-type", request.content_type);
                if let Some(version) = request.version {
                    post = post.header("x-ms-version", version);
                }
                if let Some(authorization) = &request.authorization {
                    post = post.header("authorization", authorization.expose());
                }
                post.send(request.body.as_bytes())
            }
        };
        let mut response = response.map_err(failed)?;
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok());
        let retry_after = retry_after.map(|seconds| Duration::from_secs(seconds).as_millis());
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec();
        Ok(TokenAnswer {
            status: response.status().as_u16(),
            retry_after_ms: retry_after.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            body: Zeroizing::new(body.map_err(failed)?),
        })
    }
}
