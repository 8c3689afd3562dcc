//! Queries, whose names are read in one way by whoever reads requests.

/// The name of each pair of a query, decoded as far as that is certain.
pub fn query_names(query: &str) -> impl Iterator<Item = Option<String>> {
    // Some servers cut at `;` too.
    query
        .split(['&', ';'])
        .filter(|pair| !pair.is_empty())
        .map(|pair| decoded(pair.split('=').next().unwrap_or_default()))
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    char::from(bytes.next()?)
                        .to_digit(16)
                        .and_then(|digit| u8::try_from(digit).ok())
                };
                let (high, low) = (digit(), digit());
                high? << 4 | low?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded_as_far_as_that_is_certain() {
        let names: Vec<_> = query_names("a=1&b;%63=2&&d+e=%zz&%zz=3&%FF").collect();
        let certain = |name: &str| Some(name.to_owned());
        assert_eq!(
            names,
            [
                certain("a"),
                certain("b"),
                certain("c"),
                certain("d e"),
                None,
                None
            ]
        );
    }
}
