//! Escapes: of every byte, and of those alone that an encoder has to escape.

use super::{Case, Spelling, each, two_digits};

/// Every byte; and as the encoders do that leave most characters as they are.
pub(super) fn percent(secret: &[u8]) -> Vec<Spelling> {
    /// What is left as it is beside letters and digits, and what a space is.
    const ENCODERS: &[(&[u8], &[u8])] = &[
        // RFC 3986, unreserved.
        (b"-._~", b"%20"),
        // encodeURIComponent.
        (b"-._~!*'()", b"%20"),
        // A segment of a path.
        (b"-._~!$&'()*+,;=:@", b"%20"),
        // encodeURI.
        (b"-._~!$&'()*+,;=:@/?#", b"%20"),
        // Forms.
        (b"-._*", b"+"),
        // Forms, of Python and Go.
        (b"-._~", b"+"),
    ];
    let escape = |byte, case, out: &mut Vec<u8>| {
        out.push(b'%');
        two_digits(byte, case, out);
    };
    let mut all = Vec::new();
    for case in [Case::Lower, Case::Upper] {
        all.push(each(secret, |byte, out| escape(byte, case, out)));
        for (kept, space) in ENCODERS {
            all.push(each(secret, |byte, out| match byte {
                b' ' => out.extend_from_slice(space),
                byte if byte.is_ascii_alphanumeric() || kept.contains(&byte) => out.push(byte),
                byte => escape(byte, case, out),
            }));
        }
    }
    all
}

/// Every character as `\u`; and as encoders do that escape what they must, or also slashes, what HTML means something by, or all that is not ASCII.
pub(super) fn json(secret: &[u8]) -> Vec<Spelling> {
    let mut all = Vec::new();
    for case in [Case::Lower, Case::Upper] {
        all.push(characters(secret, |character, _, out| {
            units(character, case, out);
        }));
        for (slash, html, ascii) in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (false, false, true),
            (true, false, true),
            (true, true, true),
        ] {
            all.push(characters(
                secret,
                |character, bytes, out| match character {
                    '"' | '\\' => out.extend([b'\\', character as u8]),
                    '/' if slash => out.extend(b"\\/"),
                    '\n' => out.extend(b"\\n"),
                    '\r' => out.extend(b"\\r"),
                    '\t' => out.extend(b"\\t"),
                    '\u{8}' => out.extend(b"\\b"),
                    '\u{c}' => out.extend(b"\\f"),
                    '<' | '>' | '&' | '\'' if html => units(character, case, out),
                    '\0'..' ' => units(character, case, out),
                    '\x7f'.. if ascii => units(character, case, out),
                    _ => out.extend_from_slice(bytes),
                },
            ));
        }
    }
    all
}

/// Every character as a number; and with names or numbers for the five that an encoder must escape.
pub(super) fn html(secret: &[u8]) -> Vec<Spelling> {
    let mut all = vec![characters(secret, |character, _, out| {
        out.extend_from_slice(format!("&#{};", u32::from(character)).as_bytes());
    })];
    for case in [Case::Lower, Case::Upper] {
        all.push(characters(secret, |character, _, out| {
            let number = match case {
                Case::Lower => format!("&#x{:x};", u32::from(character)),
                Case::Upper => format!("&#x{:X};", u32::from(character)),
            };
            out.extend_from_slice(number.as_bytes());
        }));
    }
    for double in ["\"", "&quot;", "&#34;", "&#x22;"] {
        for single in ["'", "&#39;", "&#x27;", "&apos;"] {
            all.push(characters(secret, |character, bytes, out| {
                out.extend_from_slice(match character {
                    '&' => b"&amp;",
                    '<' => b"&lt;",
                    '>' => b"&gt;",
                    '"' => double.as_bytes(),
                    '\'' => single.as_bytes(),
                    _ => bytes,
                });
            }));
        }
    }
    all
}

/// What `write` makes of each character and its bytes. Bytes that are not UTF-8 are characters of Latin-1: nothing else could be meant.
fn characters(secret: &[u8], mut write: impl FnMut(char, &[u8], &mut Vec<u8>)) -> Spelling {
    let Ok(text) = std::str::from_utf8(secret) else {
        return each(secret, |byte, out| write(char::from(byte), &[byte], out));
    };
    let mut spelling = Spelling::new(Vec::with_capacity(secret.len() * super::MOST_FOR_A_BYTE));
    for character in text.chars() {
        let mut bytes = [0; 4];
        write(
            character,
            character.encode_utf8(&mut bytes).as_bytes(),
            &mut spelling,
        );
    }
    spelling
}

/// `\u0041`, and two of them for what is beyond the first plane.
fn units(character: char, case: Case, out: &mut Vec<u8>) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        out.extend(b"\\u");
        for byte in unit.to_be_bytes() {
            two_digits(byte, case, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(spellings: &[Spelling], text: &str) -> bool {
        spellings
            .iter()
            .any(|spelling| text.as_bytes() == &spelling[..])
    }

    proptest! {
        /// An encoder that is not ours writes one of our spellings.
        #[test]
        fn what_serde_json_writes_is_a_spelling(secret in "[ -~\n\té€😀]{8,20}") {
            let text = serde_json::to_string(&secret).unwrap();
            let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap();
            prop_assert!(holds(&json(secret.as_bytes()), text), "{text}");
        }
    }

    #[test]
    fn each_encoder_of_the_table_is_known() {
        let secret = "a/b c+d\"e'f&<g>~é";
        let forms = percent(secret.as_bytes());
        for text in [
            "a%2Fb%20c%2Bd%22e%27f%26%3Cg%3E~%C3%A9",
            "a%2fb%20c%2bd%22e%27f%26%3cg%3e~%c3%a9",
            "a%2Fb%20c%2Bd%22e'f%26%3Cg%3E~%C3%A9",
            "a%2Fb+c%2Bd%22e%27f%26%3Cg%3E%7E%C3%A9",
            "a%2Fb+c%2Bd%22e%27f%26%3Cg%3E~%C3%A9",
            "%61%2f%62%20%63%2b%64%22%65%27%66%26%3c%67%3e%7e%c3%a9",
        ] {
            assert!(holds(&forms, text), "{text}");
        }
        let forms = json(secret.as_bytes());
        for text in [
            r#"a/b c+d\"e'f&<g>~é"#,
            r#"a\/b c+d\"e'f&<g>~é"#,
            r#"a/b c+d\"e\u0027f\u0026\u003cg\u003e~é"#,
            r#"a\/b c+d\"e'f&<g>~\u00e9"#,
            r"\u0061\u002F\u0062\u0020\u0063\u002B\u0064\u0022\u0065\u0027\u0066\u0026\u003C\u0067\u003E\u007E\u00E9",
        ] {
            assert!(holds(&forms, text), "{text}");
        }
        let forms = html(secret.as_bytes());
        for text in [
            "a/b c+d&quot;e&#39;f&amp;&lt;g&gt;~é",
            "a/b c+d&#34;e&#39;f&amp;&lt;g&gt;~é",
            "a/b c+d\"e'f&amp;&lt;g&gt;~é",
            "&#97;&#47;&#98;&#32;&#99;&#43;&#100;&#34;&#101;&#39;&#102;&#38;&#60;&#103;&#62;&#126;&#233;",
            "&#x61;&#x2F;&#x62;&#x20;&#x63;&#x2B;&#x64;&#x22;&#x65;&#x27;&#x66;&#x26;&#x3C;&#x67;&#x3E;&#x7E;&#xE9;",
        ] {
            assert!(holds(&forms, text), "{text}");
        }
        assert!(holds(
            &json("😀abc😀".as_bytes()),
            r"\ud83d\ude00abc\ud83d\ude00"
        ));
    }
}
