//! Python: what is imported, which names are used, and what constants say.

use std::collections::HashMap;

use casemate_model::Capability;

use crate::{
    Gap, Report,
    lexer::{Lexer, Token},
    tables::{BUILTINS, DECODERS, PYTHON, outside},
};

/// From so many characters on, text that could be base64 is taken for hidden bytes.
const LONG_TEXT: usize = 512;

/// From so many escapes on, text is taken for hidden bytes.
const MANY_ESCAPES: usize = 24;

/// The most names with which a source renames what it imports.
const MAX_ALIASES: usize = 4_096;

/// The longest full name, in bytes, of what is imported: one is kept for each alias and read for each use.
const MAX_NAME: usize = 256;

pub(crate) fn scan(source: &str, report: &mut Report) {
    let mut reader = Reader {
        report,
        aliases: HashMap::new(),
        decodes: None,
        executes: false,
    };
    reader.read(source);
    if let Some(line) = reader.decodes.filter(|_| reader.executes) {
        reader
            .report
            .find(Capability::Obfuscation, "executes what it decodes", line);
    }
}

struct Reader<'r, 's> {
    report: &'r mut Report,
    /// What a name stands for, by how it is called here.
    aliases: HashMap<&'s str, String>,
    decodes: Option<usize>,
    executes: bool,
}

/// What the tokens before the next one make of it.
#[derive(Default)]
struct Before<'s> {
    /// A name with dots, and its line.
    name: Vec<&'s str>,
    line: usize,
    /// After its last dot.
    dotted: bool,
    /// Text that was put together of pieces.
    text: String,
    pieces: usize,
    /// After a `+` between pieces.
    joined: bool,
}

impl<'s> Reader<'_, 's> {
    fn read(&mut self, source: &'s str) {
        // Expressions in strings are read like code, from here.
        let mut sources = vec![(source, 1)];
        while let Some((source, line)) = sources.pop() {
            let mut lexer = Lexer::new(source, line);
            let mut before = Before::default();
            let mut starts = true;
            while let Some((line, token)) = lexer.next() {
                if starts && matches!(token, Token::Name("import" | "from")) {
                    self.statement(token, line, &mut lexer);
                    continue;
                }
                starts = matches!(token, Token::End | Token::Sign(':'));
                self.look(token);
                match token {
                    Token::Name(name) if before.dotted => {
                        before.name.push(name);
                        before.dotted = false;
                    }
                    Token::Name(name) => {
                        self.close(&mut before);
                        before.name.push(name);
                        before.line = line;
                    }
                    Token::Sign('.') if !before.name.is_empty() => before.dotted = true,
                    Token::Text(text) => self.piece(&mut before, text, line),
                    Token::Format(text) => {
                        self.piece(&mut before, text, line);
                        // Nothing in there is deeper than its braces: no piece is looked at twice.
                        let inner = text.split('{').skip(1);
                        sources.extend(
                            inner.map(|inner| (inner.split('}').next().unwrap_or(inner), line)),
                        );
                    }
                    Token::Sign('+') if before.pieces > 0 => before.joined = true,
                    Token::Sign(_) | Token::End => self.close(&mut before),
                }
            }
            self.close(&mut before);
            if lexer.unfinished {
                self.report.leave(Gap::Unfinished);
            }
        }
    }

    /// Python takes some letters for others.
    fn look(&mut self, token: Token<'s>) {
        if matches!(token, Token::Name(name) if !name.is_ascii()) {
            self.report.leave(Gap::Unclear);
        }
    }

    /// `import a.b as c, d` and `from a.b import c as d, e`.
    fn statement(&mut self, first: Token<'s>, line: usize, lexer: &mut Lexer<'s>) {
        let is_from = first == Token::Name("from");
        let (mut module, mut imports, mut path, mut last): (String, _, Vec<&str>, _) =
            (String::new(), !is_from, Vec::new(), None);
        let mut renames = false;
        let mut open = false;
        loop {
            let token = lexer.next().map_or(Token::End, |(_, token)| token);
            self.look(token);
            match token {
                Token::Sign('*') if imports => self.report.leave(Gap::Unclear),
                Token::Name("import") if is_from && !imports => {
                    module = path.join(".");
                    path.clear();
                    imports = true;
                }
                Token::Name("as") => renames = true,
                Token::Name(name) if renames => {
                    last = Some(name);
                    renames = false;
                }
                Token::Name(name) => path.push(name),
                Token::Sign('(') => open = true,
                Token::Sign(',' | ')') | Token::End if imports => {
                    let module = is_from.then_some(module.as_str());
                    self.imported(module, &path, last, line);
                    path.clear();
                    last = None;
                }
                _ => {}
            }
            open &= token != Token::Sign(')');
            if token == Token::End && (!open || lexer.is_done()) {
                return;
            }
        }
    }

    /// One of the names of an import: what it is, and what it is called from here on.
    fn imported(
        &mut self,
        module: Option<&str>,
        path: &[&'s str],
        renamed: Option<&'s str>,
        line: usize,
    ) {
        let parts = module.iter().chain(path);
        if parts.clone().map(|part| part.len() + 1).sum::<usize>() > MAX_NAME {
            self.report.leave(Gap::TooLarge);
            return;
        }
        let all = parts.copied().collect::<Vec<_>>().join(".");
        self.named(&all, line);
        let Some(called) = renamed.or_else(|| path.first().copied()) else {
            return;
        };
        if self.aliases.len() == MAX_ALIASES && !self.aliases.contains_key(called) {
            self.report.leave(Gap::TooMany);
            return;
        }
        let means = if renamed.is_some() || module.is_some() {
            all
        } else {
            called.to_owned()
        };
        self.aliases.insert(called, means);
    }

    /// A piece of text: pieces beside each other, or with a `+` in between, are one text.
    fn piece(&mut self, before: &mut Before<'s>, text: &str, line: usize) {
        if before.pieces == 0 || !(before.joined || before.name.is_empty()) {
            self.close(before);
        }
        before.line = line;
        before.pieces += 1;
        before.joined = false;
        before.text.push_str(text);
    }

    /// What comes to an end is looked up.
    fn close(&mut self, before: &mut Before<'s>) {
        let Before {
            name,
            line,
            text,
            pieces,
            ..
        } = std::mem::take(before);
        if let Some((first, rest)) = name.split_first() {
            let means = self.aliases.get(first).cloned();
            let mut all = means.clone().unwrap_or_else(|| (*first).to_owned());
            for part in rest {
                all.push('.');
                all.push_str(part);
            }
            if means.is_some() {
                self.named(&all, line);
            }
            for part in &name {
                if DECODERS.contains(part) {
                    self.decodes.get_or_insert(line);
                }
            }
            let builtin = |part: &&str| BUILTINS.iter().find(|(known, _)| known == part);
            // A method may be called as a function is; those with underscores are no accident.
            let parts = name.iter().enumerate();
            for (at, part) in parts {
                if let Some((known, capability)) = builtin(part)
                    && (at == 0 || known.starts_with("__"))
                {
                    self.executes = true;
                    self.report.find(*capability, known, line);
                }
            }
        }
        if pieces > 0 {
            self.text(&text, pieces, line);
        }
    }

    /// A module or function by its full name.
    fn named(&mut self, all: &str, line: usize) {
        let below = |name: &str, above: &str| {
            let rest = name.strip_prefix(above);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        for (known, capability) in PYTHON {
            if below(all, known) {
                self.executes |= *capability == Capability::DynamicExecution;
                self.report.find(*capability, known, line);
            }
        }
        if all.split('.').any(|part| DECODERS.contains(&part)) {
            self.decodes.get_or_insert(line);
        }
    }

    fn text(&mut self, text: &str, pieces: usize, line: usize) {
        if let Some((known, capability)) = outside(text) {
            self.report.find(capability, known, line);
        }
        if pieces > 1 {
            let hidden = PYTHON.iter().chain(BUILTINS);
            for (known, capability) in hidden.filter(|(known, _)| *known == text) {
                self.report
                    .find(Capability::Obfuscation, "a name in pieces", line);
                self.report.find(*capability, known, line);
            }
        }
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=_-\\\n".contains(c);
        if text.len() >= LONG_TEXT && text.chars().all(is_base64) {
            self.report
                .find(Capability::Obfuscation, "long encoded text", line);
        }
        if text.matches("\\x").count() >= MANY_ESCAPES {
            self.report
                .find(Capability::Obfuscation, "text of escapes", line);
        }
    }
}
