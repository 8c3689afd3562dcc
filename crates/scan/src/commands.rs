//! Shell: whether all that a script executes is in it, by name.

/// What executes source that is not here.
const INTERPRETERS: &[&str] = &[
    ".", "source", "sh", "bash", "dash", "ash", "ksh", "zsh", "busybox", "node", "nodejs",
    "python", "python3", "perl", "ruby", "php", "lua", "tclsh", "make",
];
/// What executes what comes after it, somewhere.
const PREFIXES: &[&str] = &[
    "builtin", "chrt", "command", "env", "exec", "flock", "ionice", "nice", "nohup", "parallel",
    "script", "setsid", "stdbuf", "su", "sudo", "taskset", "time", "timeout", "watch", "xargs",
];
/// After these comes a command.
const BEFORE_COMMANDS: &[&str] = &[
    "!", "{", "do", "elif", "else", "if", "then", "until", "while",
];
/// Where no program can put anything.
const SYSTEM: &[&str] = &[
    "/bin/",
    "/sbin/",
    "/usr/bin/",
    "/usr/sbin/",
    "/usr/local/bin/",
    "/dev/null",
];
/// What says where commands come from.
const VARIABLES: &[&str] = &["PATH", "BASH_ENV", "ENV", "SHELLOPTS"];

/// What a word is, by where it stands.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Command,
    Argument,
    /// An argument that may be a command.
    Either,
}

/// What opened a part of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Opened {
    Group,
    Substitution,
    Tick,
}

#[derive(Clone, Default)]
struct State {
    place: Place,
    /// The next word is where something is read or written.
    target: bool,
    word: String,
    /// Something takes the place of a part of the word.
    expands: bool,
    quoted: bool,
}

/// Whether something is executed whose name, or whose source, is not in `source`.
pub(crate) fn are_hidden(source: &str) -> bool {
    let mut chars = source.chars().peekable();
    let mut state = State::default();
    let mut outer: Vec<(Opened, State)> = Vec::new();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let inside = outer.last().map(|(opened, _)| *opened);
        let opens = match (c, next) {
            ('$', Some('(')) => Some(Opened::Substitution),
            ('<' | '>', Some('(')) if !state.quoted => Some(Opened::Substitution),
            ('`', _) if inside != Some(Opened::Tick) => Some(Opened::Tick),
            ('(', _) if !state.quoted => Some(Opened::Group),
            _ => None,
        };
        if let Some(opened) = opens {
            if opened == Opened::Substitution {
                chars.next();
            }
            state.expands |= opened != Opened::Group;
            outer.push((opened, std::mem::take(&mut state)));
            continue;
        }
        match c {
            '\\' => state.word.extend(chars.next().filter(|c| *c != '\n')),
            '\'' if !state.quoted => state.word.extend(chars.by_ref().take_while(|c| *c != '\'')),
            '"' => state.quoted = !state.quoted,
            '`' => {
                if state.hides() {
                    return true;
                }
                state = outer.pop().map(|(_, state)| state).unwrap_or_default();
            }
            // Numbers, of processes and ends.
            '$' if next.is_some_and(|c| "$?#!".contains(c)) => _ = chars.next(),
            '$' => {
                state.expands = true;
                state.word.push(c);
            }
            _ if state.quoted => state.word.push(c),
            ')' => {
                if state.hides() {
                    return true;
                }
                state = match outer.pop() {
                    Some((Opened::Group, _)) | None => State::default(),
                    Some((_, state)) => state,
                };
            }
            '#' if state.word.is_empty() => while chars.next_if(|c| *c != '\n').is_some() {},
            '\n' | ';' | '|' | '&' => {
                if state.hides() {
                    return true;
                }
                state = State::default();
            }
            '<' | '>' => {
                if state.hides() {
                    return true;
                }
                state.target = true;
            }
            '*' | '?' | '[' | '{' | '~' => {
                // The names of commands; else a pattern.
                state.expands |= !state.word.is_empty() && state.word != "[" || "*?~".contains(c);
                state.word.push(c);
            }
            _ if c.is_whitespace() => {
                if state.hides() {
                    return true;
                }
            }
            _ => {
                state.expands |= ["[", "{"].contains(&state.word.as_str());
                state.word.push(c);
            }
        }
    }
    state.hides() || outer.into_iter().any(|(_, mut state)| state.hides())
}

impl State {
    /// Ends a word. Whether it executes what is not seen.
    fn hides(&mut self) -> bool {
        let word = std::mem::take(&mut self.word);
        let expands = std::mem::take(&mut self.expands);
        if word.is_empty() && !expands {
            return false;
        }
        if std::mem::take(&mut self.target) {
            return false;
        }
        if self.place == Place::Argument {
            if ["-exec", "-execdir", "-ok", "-okdir"].contains(&word.as_str()) {
                self.place = Place::Either;
            }
            return false;
        }
        if let Some((name, _)) = word.split_once('=')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            return VARIABLES.contains(&name);
        }
        if self.place == Place::Command && BEFORE_COMMANDS.contains(&word.as_str()) {
            return false;
        }
        let in_system = SYSTEM.iter().any(|start| word.starts_with(start)) && !word.contains("..");
        let name = word.rsplit('/').next().unwrap_or_default();
        // Options and what is said with them are not commands.
        let is_option = self.place == Place::Either && word.starts_with('-') && !expands;
        if !is_option
            && (expands || word.contains('/') && !in_system || INTERPRETERS.contains(&name))
        {
            return true;
        }
        if PREFIXES.contains(&name) {
            self.place = Place::Either;
        } else if self.place == Place::Command {
            self.place = Place::Argument;
        }
        false
    }
}
