//! Key sets from HTTPS servers.

use std::{path::Path, time::Duration};

use casemate_https::{Plain, client};

use crate::{
    KeySource, KeySourceError,
    limits::{FETCH_TIMEOUT_MS, MAX_JWKS_BYTES},
};

/// A key set on an HTTPS server, whose certificate is verified. No redirect is followed, no proxy used, no cookie kept.
#[derive(Debug)]
pub struct HttpsSource {
    url: String,
    agent: ureq::Agent,
}

impl HttpsSource {
    /// The key set at `url`, from a server that an authority in `authorities` vouches for, or else one of this host.
    ///
    /// # Errors
    /// When it is no HTTPS URL, or no authorities are found.
    pub fn new(url: &str, authorities: Option<&Path>) -> Result<Self, KeySourceError> {
        if !url.starts_with("https://") {
            return Err(KeySourceError::Place(url.to_owned()));
        }
        let timeout = Duration::from_millis(FETCH_TIMEOUT_MS);
        let agent = client(authorities, timeout, Plain::Refused)?;
        Ok(Self {
            url: url.to_owned(),
            agent,
        })
    }
}

impl KeySource for HttpsSource {
    fn fetch(&self) -> Result<Vec<u8>, KeySourceError> {
        let failed = |source| KeySourceError::Fetch {
            url: self.url.clone(),
            source: Box::new(source),
        };
        let request = self
            .agent
            .get(&self.url)
            .header("accept", "application/json");
        let mut response = request.call().map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            status => {
                let url = self.url.clone();
                return Err(KeySourceError::Status { url, status });
            }
        }
        let body = response.body_mut().with_config().limit(MAX_JWKS_BYTES);
        body.read_to_vec().map_err(failed)
    }
}
