//! Queries of requests.

use casemate_model::query_names;

/// Names under which APIs take a credential in a query, without `_`, `-` and `.`.
const CREDENTIALS: &[&str] = &[
    "accesstoken",
    "apikey",
    "authtoken",
    "authorization",
    "bearer",
    "clientsecret",
    "key",
    "password",
    "privatetoken",
    "secret",
    "sig",
    "signature",
    "token",
    "xamzcredential",
    "xamzsecuritytoken",
    "xamzsignature",
    "xgoogsignature",
    "xgoogcredential",
];

/// Names under which servers take another method than the request has.
pub(super) const METHOD_NAMES: &[&str] = &["_method", "x-http-method-override"];

/// Whether only names of `known` are in a query, spelled as they are there; of one that has a value there, with that value only.
#[must_use]
pub fn query_has_only(query: &str, known: &[String]) -> bool {
    let is_known = |pair: &str| {
        let name = pair.split('=').next();
        known.iter().any(|known| match known.contains('=') {
            true => known == pair,
            false => Some(known.as_str()) == name,
        })
    };
    let mut pairs = query.split('&').filter(|pair| !pair.is_empty());
    !query.contains(';') && pairs.all(is_known)
}

/// Whether it may have a credential in it. What cannot be read may.
pub(super) fn has_credential(query: &str) -> bool {
    query_names(query).any(|name| {
        let Some(name) = name else { return true };
        let plain: String = name
            .chars()
            .filter(|char| char.is_ascii_alphanumeric())
            .map(|char| char.to_ascii_lowercase())
            .collect();
        CREDENTIALS.contains(&plain.as_str())
    })
}

/// Whether it may say another method than the request has.
pub(super) fn overrides_method(query: &str) -> bool {
    query_names(query).any(|name| {
        name.is_none_or(|name| METHOD_NAMES.contains(&name.to_ascii_lowercase().as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C27 of the corpus: a second credential is seen however it is spelled.
    #[test]
    fn a_credential_is_seen_in_every_spelling() {
        for query in [
            "access_token=x",
            "a=b&Access-Token=x",
            "%61ccess_token=x",
            "api_key",
            "X-Amz-Signature=x",
            "a;key=x",
            "sig=x",
            "%zz=x",
            "%FF=x",
        ] {
            assert!(has_credential(query), "{query}");
        }
        for query in ["", "a=b", "q=token", "tokens=1", "page=2&sort=key"] {
            assert!(!has_credential(query), "{query}");
        }
        assert!(
            overrides_method("_method=DELETE")
                && overrides_method("a=1;%5Fmethod=PUT")
                && overrides_method("%=1")
        );
        assert!(!overrides_method("method=GET"));
    }

    #[test]
    fn names_are_known_as_they_are_spelled() {
        let known = ["q".to_owned(), "page".to_owned()];
        for query in ["", "q=1", "q=1&page=2", "page&q", "q=a%26b"] {
            assert!(query_has_only(query, &known), "{query}");
        }
        for query in ["x=1", "q=1&x", "Q=1", "%71=1", "q=1;x=2", "=1", "q%3D1"] {
            assert!(!query_has_only(query, &known), "{query}");
        }
    }

    /// A value is the whole value, in one spelling, each time the name is there.
    #[test]
    fn values_are_known_as_they_are_spelled() {
        let known = ["service=git-upload-pack".to_owned(), "page".to_owned()];
        for query in [
            "",
            "page=2",
            "service=git-upload-pack",
            "page&service=git-upload-pack&service=git-upload-pack",
        ] {
            assert!(query_has_only(query, &known), "{query}");
        }
        for query in [
            "service",
            "service=",
            "service=git-receive-pack",
            "service=git-upload-pack2",
            "service=git-upload-pack=",
            "service=git-upload-pac%6B",
            "service=git-upload-pack&service=git-receive-pack",
            "service=git-receive-pack&service=git-upload-pack",
            "service=git-upload-pack;service=git-receive-pack",
            "Service=git-upload-pack",
            "%73ervice=git-upload-pack",
        ] {
            assert!(!query_has_only(query, &known), "{query}");
        }
    }
}
