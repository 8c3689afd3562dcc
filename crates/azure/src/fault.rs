//! What went wrong, in the form of Azure's errors.

use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

use crate::Reply;

/// Where an error's code stands beside the body.
const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The status of HTTP.
    pub status: StatusCode,
    /// The stable code, in `snake_case`.
    pub code: String,
    /// What is the matter, and what can be done.
    pub message: String,
    /// The name under which it is on record, if it is.
    pub record: Option<String>,
}

impl Fault {
    /// A fault with nothing on record.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            record: None,
        }
    }

    /// A request that cannot be followed.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_call", message)
    }

    /// A request that is too large.
    #[must_use]
    pub fn too_large(most: u64) -> Self {
        let message = format!("a request may have at most {most} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    }

    /// As Azure writes codes.
    fn name(&self) -> String {
        let words = self.code.split('_');
        words
            .map(|word| {
                let mut letters = word.chars();
                let first = letters.next().map(|first| first.to_ascii_uppercase());
                first.into_iter().chain(letters).collect::<String>()
            })
            .collect()
    }

    /// The body of an error.
    #[must_use]
    pub fn json(&self) -> Value {
        let message = match &self.record {
            Some(record) => format!("{} ({record})", self.message),
            None => self.message.clone(),
        };
        json!({ "error": {
            "code": self.name(),
            "message": message,
            "target": null,
            "details": [],
            "innererror": { "code": self.code, "decision": self.record },
        }})
    }

    /// The answer.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply {
            status: self.status,
            body: Some(self.json()),
            headers: vec![(ERROR_CODE, self.name())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_has_the_form_that_clients_read_and_names_its_record() {
        let mut fault = Fault::new(StatusCode::FORBIDDEN, "missing_scope", "no");
        assert_eq!(fault.json()["error"]["message"], "no");
        fault.record = Some("dec_1".to_owned());
        let error = &fault.json()["error"];
        assert_eq!(error["code"], "MissingScope");
        assert_eq!(error["message"], "no (dec_1)");
        assert_eq!(error["innererror"]["code"], "missing_scope");
        let response = fault.reply().into_response();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        assert_eq!(response.headers()["x-ms-error-code"], "MissingScope");
    }
}
