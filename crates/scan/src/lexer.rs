//! The tokens of Python, as far as they matter: names, strings, and single characters.

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'s> {
    /// A name or a keyword.
    Name(&'s str),
    /// What is between the quotes of a string, as it is written.
    Text(&'s str),
    /// The same of a string with expressions in it.
    Format(&'s str),
    /// Anything else that is no space.
    Sign(char),
    /// The end of a line, or a semicolon.
    End,
}

/// Reads the tokens of a source.
pub(crate) struct Lexer<'s> {
    rest: &'s str,
    line: usize,
    pub(crate) unfinished: bool,
}

impl<'s> Lexer<'s> {
    pub(crate) const fn new(source: &'s str, line: usize) -> Self {
        Self {
            rest: source,
            line,
            unfinished: false,
        }
    }

    /// Whether nothing comes any more.
    pub(crate) const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes so many bytes, which end at a character.
    fn take(&mut self, bytes: usize) -> &'s str {
        let (taken, rest) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count();
        self.rest = rest;
        taken
    }

    /// A string whose opening quotes come next.
    fn string(&mut self) -> &'s str {
        let quote = self.rest.get(..1).unwrap_or_default();
        let long = ["\"\"\"", "'''"]
            .into_iter()
            .find(|quotes| self.rest.starts_with(quotes));
        let quotes = long.unwrap_or(quote);
        self.take(quotes.len());
        let mut escaped = false;
        let mut end = None;
        for (at, c) in self.rest.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                // In a raw string too, the quote after it does not end it.
                escaped = true;
            } else if self
                .rest
                .get(at..)
                .is_some_and(|rest| rest.starts_with(quotes))
            {
                end = Some(at);
                break;
            } else if matches!(c, '\n' | '\r') && long.is_none() {
                break;
            }
        }
        let Some(end) = end else {
            // The rest is read as code: nothing hides in a string without an end.
            self.unfinished = true;
            return "";
        };
        let content = self.take(end);
        self.take(quotes.len());
        content
    }
}

impl<'s> Iterator for Lexer<'s> {
    type Item = (usize, Token<'s>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let c = self.rest.chars().next()?;
            let line = self.line;
            let token = match c {
                '\n' | ';' => {
                    self.take(1);
                    Token::End
                }
                // It ends a line, alone or before a newline.
                '\r' => {
                    if self.rest.starts_with("\r\n") {
                        self.take(2);
                    } else {
                        self.take(1);
                        self.line += 1;
                    }
                    Token::End
                }
                '#' => {
                    let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
                    self.take(end);
                    continue;
                }
                '\\' if self.rest.starts_with("\\\r\n") => {
                    self.take(3);
                    continue;
                }
                '\\' if self.rest.starts_with("\\\n") => {
                    self.take(2);
                    continue;
                }
                // After one without an end none is looked for: each would be looked for until the end of the source.
                '"' | '\'' if !self.unfinished => Token::Text(self.string()),
                c if c.is_alphanumeric() || c == '_' => {
                    let part = |c: char| c.is_alphanumeric() || c == '_';
                    let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
                    let name = self.take(end);
                    let prefix = name.len() <= 2 && name.chars().all(|c| "rRbBuUfFtT".contains(c));
                    if prefix && !self.unfinished && self.rest.starts_with(['"', '\'']) {
                        let content = self.string();
                        if name.contains(['f', 'F', 't', 'T']) {
                            Token::Format(content)
                        } else {
                            Token::Text(content)
                        }
                    } else {
                        Token::Name(name)
                    }
                }
                c if c.is_whitespace() => {
                    self.take(c.len_utf8());
                    continue;
                }
                c => {
                    self.take(c.len_utf8());
                    Token::Sign(c)
                }
            };
            return Some((line, token));
        }
    }
}
