//! Answers of token endpoints.

use casemate_scrub::{
    AnswerForm, MAX_ANSWER_BYTES, MAX_TOKENS, Outcome, SealError, TokenAnswer, TokenKind,
};
use proptest::prelude::*;

use crate::common::{fresh, holds};

fn read(form: AnswerForm, body: &str) -> Result<TokenAnswer, SealError> {
    TokenAnswer::read(form, Outcome::Granted, body.as_bytes())
}

/// Reads an answer and puts a numbered handle in for each token.
fn seal(form: AnswerForm, body: &str) -> Result<String, SealError> {
    let answer = read(form, body)?;
    let handles: Vec<_> = (1..=answer.tokens().len())
        .map(|nth| format!("handle-{nth}"))
        .collect();
    answer
        .seal(&handles)
        .map(|sealed| String::from_utf8(sealed.to_vec()).unwrap())
}

/// R91: an agent that goes through OAuth gets handles (C15).
#[test]
fn tokens_become_handles_wherever_they_are() {
    let [access, refresh, id, nested] = std::array::from_fn(|_| fresh(40));
    let body = format!(
        r#"{{"access_token":"{access}","expires_in":3600,"id_token":"{id}","refreshToken":"{refresh}","team":{{"authed":[{{"Access-Token":"{nested}"}}]}}}}"#
    );
    let answer = read(AnswerForm::Json, &body).unwrap();
    let kinds: Vec<_> = answer
        .tokens()
        .iter()
        .map(|token| (token.kind, token.value.to_string()))
        .collect();
    assert_eq!(
        kinds,
        [
            (TokenKind::Access, access.clone()),
            (TokenKind::Id, id.clone()),
            (TokenKind::Refresh, refresh.clone()),
            (TokenKind::Access, nested.clone()),
        ]
    );
    assert_eq!(
        seal(AnswerForm::Json, &body).unwrap(),
        r#"{"access_token":"handle-1","expires_in":3600,"id_token":"handle-2","refreshToken":"handle-3","team":{"authed":[{"Access-Token":"handle-4"}]}}"#
    );
    let form = format!("scope=repo%2Cgist&access%5ftoken={access}&token_type=bearer");
    assert_eq!(
        seal(AnswerForm::Form, &form).unwrap(),
        "scope=repo%2Cgist&access_token=handle-1&token_type=bearer"
    );
}

/// What two readers could take for different things is not passed on, nor what holds a token where none is looked for.
#[test]
fn what_is_not_certain_is_refused() {
    let token = fresh(40);
    let json = |text: &str| seal(AnswerForm::Json, &text.replace('T', &token)).unwrap_err();
    let form = |text: &str| seal(AnswerForm::Form, &text.replace('T', &token)).unwrap_err();
    for twice in [
        r#"{"access_token":"T","access_token":"other-token"}"#,
        r#"{"access_token":"T","access\u005ftoken":"other-token"}"#,
        r#"{"access_token":"T"} {"access_token":"T"}"#,
        r#"["T"]"#,
        r#""T""#,
        "T",
        "",
        "\u{feff}{\"access_token\":\"T\"}",
    ] {
        assert_eq!(json(twice), SealError::Unreadable, "{twice}");
    }
    for nothing in [
        r#"{}"#,
        r#"{"token":"T"}"#,
        r#"{"access_token":null}"#,
        r#"{"refresh_token":"T"}"#,
    ] {
        assert_eq!(json(nothing), SealError::NothingFound, "{nothing}");
    }
    for none in [
        r#"{"access_token":["T"]}"#,
        r#"{"access_token":{"value":"T"}}"#,
        r#"{"access_token":7}"#,
        r#"{"access_token":"short"}"#,
    ] {
        assert_eq!(json(none), SealError::NoToken(TokenKind::Access), "{none}");
    }
    assert_eq!(
        json(r#"{"access_token":"T","message":"your token is T"}"#),
        SealError::Repeated
    );
    assert_eq!(
        form("access_token=T&access%5Ftoken=T"),
        SealError::Unreadable
    );
    assert_eq!(form("access_token=T&Access-token=T"), SealError::Unreadable);
    assert_eq!(form("access_token=T&x=%zz"), SealError::Unreadable);
    assert_eq!(form("access_token=T&"), SealError::Unreadable);
    assert_eq!(form("error=x"), SealError::NothingFound);
    assert_eq!(form("access_token=T&again=T"), SealError::Repeated);
}

/// An answer without an end, and one with tokens without an end.
#[test]
fn what_is_too_much_is_refused() {
    let long = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(MAX_ANSWER_BYTES));
    assert_eq!(
        read(AnswerForm::Json, &long).err(),
        Some(SealError::TooLong)
    );
    let members: Vec<_> = (0..=MAX_TOKENS)
        .map(|_| format!(r#"{{"id_token":"{}"}}"#, fresh(20)))
        .collect();
    let many = format!(r#"{{"all":[{}]}}"#, members.join(","));
    assert_eq!(
        read(AnswerForm::Json, &many).err(),
        Some(SealError::TooMany)
    );
}

/// A refusal says what is wrong, and passes; a token in it does not.
#[test]
fn a_refusal_passes_without_a_token() {
    let refused = |body: &str| {
        TokenAnswer::read(AnswerForm::Json, Outcome::Refused, body.as_bytes()).unwrap()
    };
    let sealed = refused(r#"{"error":"invalid_grant"}"#).seal(&[]).unwrap();
    assert_eq!(sealed, r#"{"error":"invalid_grant"}"#);
    assert_eq!(
        refused(&format!(r#"{{"access_token":"{}"}}"#, fresh(20)))
            .tokens()
            .len(),
        1
    );
}

/// There is a handle for each token, and it can stand where a token did.
#[test]
fn handles_that_do_not_fit_are_refused() {
    let body = format!("access_token={}", fresh(20));
    for handles in [&[][..], &["a", "b"], &[""], &["a&b"], &["a\"b"], &["a b"]] {
        let handles: Vec<_> = handles.iter().map(|handle| (*handle).to_owned()).collect();
        let sealed = read(AnswerForm::Form, &body).unwrap().seal(&handles);
        assert_eq!(sealed, Err(SealError::Handles), "{handles:?}");
    }
}

/// A type that says nothing of how to read it is refused, and so is a second type in it.
#[test]
fn the_form_of_an_answer_is_said() {
    assert_eq!(
        AnswerForm::of("Application/JSON; charset=utf-8"),
        Ok(AnswerForm::Json)
    );
    assert_eq!(
        AnswerForm::of("application/x-www-form-urlencoded"),
        Ok(AnswerForm::Form)
    );
    for other in [
        "",
        "text/plain",
        "text/html",
        "application/jsonp",
        "application/json, text/html",
    ] {
        assert_eq!(AnswerForm::of(other), Err(SealError::Form), "{other}");
    }
}

proptest! {
    /// Whatever the rest of an answer is, its token is not in what is passed on.
    #[test]
    fn no_token_comes_through(name in "\\PC{0,12}", text in "\\PC{0,30}", refused in any::<bool>()) {
        let token = fresh(24);
        let body = serde_json::json!({ "access_token": token, name: text }).to_string();
        let outcome = if refused { Outcome::Refused } else { Outcome::Granted };
        if let Ok(answer) = TokenAnswer::read(AnswerForm::Json, outcome, body.as_bytes()) {
            let handles = vec!["handle".to_owned(); answer.tokens().len()];
            if let Ok(sealed) = answer.seal(&handles) {
                prop_assert!(!holds(&sealed, token.as_bytes()));
            }
        }
    }
}
