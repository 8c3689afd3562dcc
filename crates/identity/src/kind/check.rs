//! Whether the settings of a credential can be used.

use http::HeaderName;
use url::{Host, Url};

use super::{Kind, KindError};
use crate::{
    limits::{MAX_STAND_IN_BYTES, MAX_WORD_BYTES, MAX_WORDS, MIN_SECRET_BYTES},
    secret::is_line,
};

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
    /// Whether its settings can be used.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self) -> Result<(), KindError> {
        match self {
            Self::Bearer {} | Self::Mtls {} => Ok(()),
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
            Self::Path { stand_in: text } => stand_in("stand-in", text, b"_-.:"),
            Self::Body {
                field,
                stand_in: text,
            } => {
                word("field", field)?;
                stand_in("stand-in", text, b"_-.")
            }
            Self::PostgresPassword { user } => word("user", user),
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
            Self::OauthClient { .. }
            | Self::AzureSas { .. }
            | Self::OauthRefresh { .. }
            | Self::JwtBearer { .. } => self.check_fetched(),
            Self::TokenExchange { .. }
            | Self::OidcFederation { .. }
            | Self::AzureManagedIdentity { .. }
            | Self::GithubApp { .. } => self.check_exchanged(),
        }
    }

    /// Of kinds by which tokens are fetched with a secret of a client or of an issuer.
    fn check_fetched(&self) -> Result<(), KindError> {
        match self {
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
            Self::AzureSas {
                token_url,
                client_id,
                blob_url,
                account,
                container,
                permissions: allowed,
                ..
            } => {
                url("token-url", token_url)?;
                word("client-id", client_id)?;
                url("blob-url", blob_url)?;
                part("account", account)?;
                part("container", container)?;
                permissions("allow", allowed)
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
            // The others are not asked here.
            _ => Ok(()),
        }
    }

    /// Of kinds by which something else than a client's secret is exchanged for tokens.
    fn check_exchanged(&self) -> Result<(), KindError> {
        match self {
            Self::TokenExchange {
                token_url,
                client_id,
                subject_token_type,
                audience,
                resource,
                scopes,
                ..
            } => {
                url("token-url", token_url)?;
                optional("client-id", client_id.as_deref())?;
                word("subject-token-type", subject_token_type)?;
                optional("audience", audience.as_deref())?;
                optional("resource", resource.as_deref())?;
                words("scope", scopes)
            }
            Self::OidcFederation {
                token_url,
                client_id,
                assertion,
                scopes,
                audience,
            } => {
                url("token-url", token_url)?;
                word("client-id", client_id)?;
                file("assertion", assertion)?;
                words("scope", scopes)?;
                optional("audience", audience.as_deref())
            }
            Self::AzureManagedIdentity {
                resource,
                client_id,
                endpoint,
            } => {
                word("resource", resource)?;
                optional("client-id", client_id.as_deref())?;
                endpoint
                    .as_ref()
                    .map_or(Ok(()), |endpoint| here("endpoint", endpoint))
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
            // The others are not asked here.
            _ => Ok(()),
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

/// Something that every client spells in the same way, and nobody by chance.
fn stand_in(name: &'static str, text: &str, beside: &[u8]) -> Result<(), KindError> {
    let good = (MIN_SECRET_BYTES..=MAX_STAND_IN_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || beside.contains(&byte));
    if good {
        Ok(())
    } else {
        Err(KindError::StandIn(name))
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

/// A URL of this host, in clear.
fn here(name: &'static str, text: &str) -> Result<(), KindError> {
    word(name, text)?;
    let good = Url::parse(text).is_ok_and(|url| {
        let is_here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        is_here
            && url.scheme() == "http"
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if good {
        Ok(())
    } else {
        Err(KindError::Here(name))
    }
}

/// Letters that the service knows, in its order and once each.
fn permissions(name: &'static str, text: &str) -> Result<(), KindError> {
    let mut known = "racwdl".chars();
    let is_next = |letter| known.any(|next| next == letter);
    if !text.is_empty() && text.chars().all(is_next) {
        Ok(())
    } else {
        Err(KindError::Permissions(name))
    }
}

/// The name of a file, which leads nowhere else.
fn file(name: &'static str, text: &str) -> Result<(), KindError> {
    match part(name, text) {
        Ok(()) if !text.starts_with('.') => Ok(()),
        _ => Err(KindError::File(name)),
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
