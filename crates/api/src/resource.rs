//! What a stranger is told: where to get a credential for the Model Context Protocol (RFC 9728).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use crate::{
    credential::Peer,
    problem::Problem,
    routes::{Keeps, Remembers},
    state::Api,
};

/// Where it is told.
pub(crate) const PATH: &str = "/.well-known/oauth-protected-resource";
/// Where it is told of the endpoint, as the RFC makes its path.
pub(crate) const PATH_OF_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

/// The gateway, under the name by which a request calls it.
pub(crate) struct Resource {
    base: String,
}

impl Resource {
    /// The one that a request over a network is for, if it says so.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        let peer = request.extensions().get::<Peer>()?;
        Self::named(request.headers(), peer)
    }

    /// Its address.
    pub(crate) fn into_base(self) -> String {
        self.base
    }

    fn named(headers: &HeaderMap, peer: &Peer) -> Option<Self> {
        let host = headers.get(header::HOST)?.to_str().ok()?;
        let authority: Authority = host.parse().ok()?;
        let scheme = if peer.tls { "https" } else { "http" };
        // A name with a user in front of it is another one for whoever reads it carelessly.
        (!host.contains('@')).then(|| Self {
            base: format!("{scheme}://{authority}"),
        })
    }

    /// Says in a 401 where to look.
    pub(crate) fn point_out(&self, response: &mut Response) {
        if response.status() != StatusCode::UNAUTHORIZED {
            return;
        }
        let base = &self.base;
        let text = format!("Bearer realm=\"casemate\", resource_metadata=\"{base}{PATH_OF_MCP}\"");
        // An authority has no quotes.
        if let Ok(value) = HeaderValue::from_str(&text) {
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
    }
}

/// `GET /.well-known/oauth-protected-resource`
pub(crate) async fn show<K: Keeps, P: Remembers>(
    State(api): State<Arc<Api<K, P>>>,
    request: Request,
) -> Result<Response, Problem> {
    let callers = api.callers()?;
    let resource = Resource::of(&request)
        .ok_or_else(|| Problem::invalid("the request does not say which host it is for"))?;
    let issuers = callers.issuers();
    // Those that are no addresses cannot be asked for a token.
    let servers: Vec<_> = issuers
        .filter(|issuer| issuer.starts_with("https://"))
        .collect();
    let body = Json(json!({
        "resource": format!("{}/mcp", resource.base),
        "resource_name": "Casemate",
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
    }));
    let kept = [(header::CACHE_CONTROL, "no-store")];
    Ok((kept, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(host: &str, tls: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().ok()?);
        let peer = Peer {
            address: ([127, 0, 0, 1], 1).into(),
            tls,
            certificate: None,
        };
        Resource::named(&headers, &peer).map(|resource| resource.base)
    }

    #[test]
    fn the_resource_is_called_as_the_request_calls_it_or_not_at_all() {
        for (host, tls, base) in [
            ("gw.example:8443", true, Some("https://gw.example:8443")),
            ("127.0.0.1:80", false, Some("http://127.0.0.1:80")),
            ("[::1]:80", false, Some("http://[::1]:80")),
            ("gw.example@evil.example", true, None),
            ("gw.example\"", true, None),
            ("gw.example/x", true, None),
            ("", true, None),
        ] {
            assert_eq!(named(host, tls).as_deref(), base, "{host}");
        }
    }
}
