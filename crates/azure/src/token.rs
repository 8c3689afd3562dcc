//! The token endpoint of managed identities, as App Service has it: what `DefaultAzureCredential` asks when `IDENTITY_ENDPOINT` and
//! `IDENTITY_HEADER` are set.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// The services for which there are tokens: both names of dynamic sessions.
const RESOURCES: [&str; 2] = ["https://dynamicsessions.io", "https://acasessions.io"];

/// What a client asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenQuery {
    resource: Option<String>,
}

/// Why there is no token, in the form that these clients read.
#[derive(Clone, Debug)]
pub struct TokenFault {
    /// The status of HTTP.
    pub status: StatusCode,
    /// The stable code.
    pub code: String,
    /// What is the matter.
    pub message: String,
}

impl TokenFault {
    /// The body.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "statusCode": self.status.as_u16(), "code": self.code, "message": self.message })
    }
}

impl TokenQuery {
    /// For which service the token is to be.
    ///
    /// # Errors
    /// When it is none of this one.
    pub fn resource(&self) -> Result<&str, TokenFault> {
        let asked = self.resource.as_deref().unwrap_or_default();
        let name = asked.strip_suffix("/.default").unwrap_or(asked);
        let name = name.trim_end_matches('/');
        match RESOURCES.contains(&name) {
            true => Ok(asked),
            false => Err(TokenFault {
                status: StatusCode::BAD_REQUEST,
                code: "invalid_call".to_owned(),
                message: format!(
                    "there are tokens for the resource {}",
                    RESOURCES.join(" or ")
                ),
            }),
        }
    }
}

/// A token.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// Its text.
    pub text: &'a str,
    /// When it ends, in milliseconds since 1970.
    pub expires_at_ms: u64,
    /// What it is for.
    pub resource: &'a str,
}

impl Token<'_> {
    /// The body.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "access_token": self.text,
            "expires_on": (self.expires_at_ms / 1_000).to_string(),
            "resource": self.resource,
            "token_type": "Bearer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_tokens_for_dynamic_sessions_and_for_nothing_else() {
        let asked = |resource: Option<&str>| TokenQuery {
            resource: resource.map(str::to_owned),
        };
        for good in [
            "https://dynamicsessions.io",
            "https://acasessions.io/",
            "https://acasessions.io/.default",
        ] {
            assert_eq!(asked(Some(good)).resource().unwrap(), good);
        }
        for bad in [
            None,
            Some("https://management.azure.com"),
            Some("dynamicsessions.io"),
        ] {
            assert!(asked(bad).resource().is_err());
        }
    }
}
