//! Answers of token endpoints, whose tokens an agent gets as handles.
//!
//! Whoever keeps the tokens is another process. So the tokens are taken out first, and the handles put in when it has answered.

mod form;
mod json;

use bytes::Bytes;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{Hits, MIN_SECRET_BYTES, Scrubber, Secret};

/// A larger answer is not one of a token endpoint.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// More tokens than this are not in one answer.
pub const MAX_TOKENS: usize = 16;
/// A longer handle does not fit where tokens are kept.
pub const MAX_HANDLE_BYTES: usize = 512;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TokenKind {
    /// It opens an API.
    Access,
    /// It fetches other tokens.
    Refresh,
    /// It says who somebody is.
    Id,
}

impl TokenKind {
    /// What a member with this name is, however it is written: `access_token`, `accessToken`, `Access-Token`.
    fn of(name: &str) -> Option<Self> {
        let letters: String = name
            .chars()
            .filter(|character| !matches!(character, '_' | '-'))
            .map(|character| character.to_ascii_lowercase())
            .collect();
        match letters.as_str() {
            "accesstoken" => Some(Self::Access),
            "refreshtoken" => Some(Self::Refresh),
            "idtoken" => Some(Self::Id),
            _ => None,
        }
    }
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// `application/json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

impl AnswerForm {
    /// What a `Content-Type` says.
    ///
    /// # Errors
    /// When it is neither.
    pub fn of(content_type: &str) -> Result<Self, SealError> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        if kind.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Ok(Self::Form)
        } else {
            Err(SealError::Form)
        }
    }
}

/// Whether the endpoint says that it gave something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A status of 200 to 299: there must be an access token.
    Granted,
    /// Any other status. Tokens are taken out all the same.
    Refused,
}

/// Why an answer is not passed on. None of it is in the error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is neither JSON nor a form.
    #[error("the answer of the token endpoint is neither JSON nor a form")]
    Form,
    /// It is longer than such answers are.
    #[error("the answer of the token endpoint is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// It can be read in more than one way, or in none.
    #[error("the answer of the token endpoint is not what it says, or says something twice")]
    Unreadable,
    /// What should be a token is not text, or so short that it could not be looked for.
    #[error("the token endpoint gave as {0:?} token what cannot be one")]
    NoToken(TokenKind),
    /// There are too many.
    #[error("the token endpoint gave more than {MAX_TOKENS} tokens")]
    TooMany,
    /// It grants something that was not found.
    #[error("the token endpoint granted something, and it is not where tokens are")]
    NothingFound,
    /// The handles are not one for each token, or cannot stand where one did.
    #[error(
        "the handles for the tokens are not one for each, of letters, digits, `_`, `-`, `.` and `~`"
    )]
    Handles,
    /// A token is somewhere else in the answer too.
    #[error("the answer of the token endpoint repeats a token where none belongs")]
    Repeated,
}

/// A token that was taken out. Erased when it is dropped.
#[expect(missing_debug_implementations, reason = "it is a secret")]
pub struct Token {
    /// What it is for.
    pub kind: TokenKind,
    /// The token.
    pub value: Zeroizing<String>,
}

/// An answer without its tokens.
#[expect(missing_debug_implementations, reason = "it holds secrets")]
pub struct TokenAnswer {
    document: Document,
    tokens: Vec<Token>,
}

enum Document {
    Json(serde_json::Value),
    Form(Vec<(String, Zeroizing<String>)>),
}

impl TokenAnswer {
    /// Takes the tokens out of a whole answer.
    ///
    /// # Errors
    /// When it cannot be said for certain what in it is a token.
    pub fn read(form: AnswerForm, outcome: Outcome, body: &[u8]) -> Result<Self, SealError> {
        if body.len() > MAX_ANSWER_BYTES {
            return Err(SealError::TooLong);
        }
        let mut tokens = Vec::new();
        let document = match form {
            AnswerForm::Json => Document::Json(json::read(body, &mut tokens)?),
            AnswerForm::Form => Document::Form(form::read(body, &mut tokens)?),
        };
        let granted = tokens.iter().any(|token| token.kind == TokenKind::Access);
        if outcome == Outcome::Granted && !granted {
            return Err(SealError::NothingFound);
        }
        Ok(Self { document, tokens })
    }

    /// What was taken out, in the order in which [`TokenAnswer::seal`] wants the handles.
    #[must_use]
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The answer with a handle in place of each token.
    ///
    /// # Errors
    /// When the handles do not fit, or a token is still in the answer in some encoding.
    pub fn seal(mut self, handles: &[String]) -> Result<Bytes, SealError> {
        let fits = |handle: &String| {
            (1..=MAX_HANDLE_BYTES).contains(&handle.len())
                && handle
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-.~".contains(&byte))
        };
        if handles.len() != self.tokens.len() || !handles.iter().all(fits) {
            return Err(SealError::Handles);
        }
        let mut handles = handles.iter();
        let sealed = match &mut self.document {
            Document::Json(value) => json::write(value, &mut handles)?,
            Document::Form(pairs) => form::write(pairs, &mut handles),
        };
        let secrets = self
            .tokens
            .iter()
            .map(|token| Secret::new("token", token.value.as_bytes().to_vec()))
            .collect::<Result<_, _>>();
        let scrubber = secrets.ok().and_then(|secrets| Scrubber::new(secrets).ok());
        let Some(scrubber) = scrubber else {
            return Err(SealError::TooLong);
        };
        let mut hits = Hits::default();
        scrubber.value(&sealed, &mut hits);
        if hits.is_empty() {
            Ok(sealed.into())
        } else {
            Err(SealError::Repeated)
        }
    }
}

/// Moves a token out of `value`, and leaves nothing there.
fn take(kind: TokenKind, value: &mut String, tokens: &mut Vec<Token>) -> Result<(), SealError> {
    let value = Zeroizing::new(std::mem::take(value));
    if value.len() < MIN_SECRET_BYTES {
        return Err(SealError::NoToken(kind));
    }
    if tokens.len() == MAX_TOKENS {
        return Err(SealError::TooMany);
    }
    tokens.push(Token { kind, value });
    Ok(())
}

/// Erases what is left of an answer that is not passed on.
impl Drop for Document {
    fn drop(&mut self) {
        fn erase(value: &mut serde_json::Value) {
            match value {
                serde_json::Value::String(text) => text.zeroize(),
                serde_json::Value::Array(all) => all.iter_mut().for_each(erase),
                serde_json::Value::Object(all) => all.values_mut().for_each(erase),
                _ => {}
            }
        }
        if let Self::Json(value) = self {
            erase(value);
        }
    }
}
