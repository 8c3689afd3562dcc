//! Reads a tree as a table of keys says, and reports everything that does not fit.

use casemate_model::MAX_LIMITS;

use crate::{
    diagnostic::{Fault, Report},
    key::{Absent, Faults, Form, Key, Kind, MAX_TEXT_BYTES, Subject, all_keys, keys_of},
    rules::{listed, nearest},
    tree::{Member, Node, Placed, Value},
    visible::{quoted, shown},
};

/// The longest list or free section, in entries.
const MAX_ENTRIES: usize = 1024;

/// Reads the tree into `subject`, which is worth something only if nothing was reported.
pub(crate) fn walk<T: Subject>(root: &Node, subject: &mut T, report: &mut Report<'_>) {
    Walker { subject, report }.section("", root, 0);
}

/// Reads a section of a larger file as one with keys of its own.
pub(crate) fn walk_part<T: Subject>(part: &Node, subject: &mut T, report: &mut Report<'_>) {
    Walker { subject, report }.section("", part, part.at);
}

struct Walker<'w, 's, T> {
    subject: &'w mut T,
    report: &'w mut Report<'s>,
}

impl<T: Subject> Walker<'_, '_, T> {
    /// Reads the keys of a section whose own key is at `at`.
    fn section(&mut self, path: &'static str, node: &Node, at: usize) {
        let Value::Table(members) = &node.value else {
            let expected = if path.is_empty() {
                "an object"
            } else {
                "a section"
            };
            return self.wrong_kind(path, node, expected);
        };
        self.duplicates(path, members);
        for key in keys_of::<T>(path) {
            match members.iter().find(|member| member.key == key.name()) {
                Some(member) => self.value(key, member),
                None => self.absent(key, at),
            }
        }
        for member in members {
            if !keys_of::<T>(path).any(|key| key.name() == member.key) {
                let at_path = join(path, &member.key);
                self.report
                    .add(member.at, &at_path, || unknown::<T>(path, &member.key));
            }
        }
    }

    fn duplicates(&mut self, path: &str, members: &[Member]) {
        let mut sorted: Vec<&Member> = members.iter().collect();
        sorted.sort_by(|a, b| (&a.key, a.at).cmp(&(&b.key, b.at)));
        for (first, second) in sorted.iter().zip(sorted.iter().skip(1)) {
            if first.key == second.key {
                self.report.add(second.at, &join(path, &second.key), || {
                    Fault::new(
                        format!("{} is given twice", quoted(&second.key)),
                        "remove one of them",
                    )
                });
            }
        }
    }

    fn value(&mut self, key: &'static Key<T>, member: &Member) {
        let node = &member.node;
        match &key.kind {
            Kind::Section => self.section(key.path, node, member.at),
            Kind::Text { set, max_bytes, .. } => {
                if let Some(text) = self.text(key.path, node, *max_bytes)
                    && let Err(fault) = set(self.subject, text)
                {
                    self.report.add(node.at, key.path, || fault);
                }
            }
            Kind::List { set, .. } => self.list(key.path, node, *set),
            Kind::Pairs { set, .. } => self.pairs(key.path, node, *set),
            Kind::Limit { unit, of, at } => {
                let most = *at(&mut MAX_LIMITS.clone());
                if let Some(number) = self.number(key.path, node, unit, (1, most)) {
                    *at(of(self.subject)) = number;
                }
            }
            Kind::Number {
                unit,
                least,
                most,
                set,
                ..
            } => {
                if let Some(number) = self.number(key.path, node, unit, (*least, *most))
                    && let Err(fault) = set(self.subject, number)
                {
                    self.report.add(node.at, key.path, || fault);
                }
            }
            Kind::Always { why } => match node.value {
                Value::Bool(true) => {}
                Value::Bool(false) => self.report.add(node.at, key.path, || {
                    Fault::new("cannot be switched off", format!("write `true`: {why}"))
                }),
                _ => self.wrong_kind(key.path, node, "`true`"),
            },
            Kind::Numbers {
                unit,
                least,
                most,
                set,
            } => self.numbers(key.path, node, unit, (*least, *most), *set),
            Kind::Each { most, read, .. } => self.each(key.path, node, *most, *read),
            Kind::Tree { set, .. } => {
                for Placed { at, path, fault } in set(self.subject, node) {
                    let path = format!("{}{path}", key.path);
                    self.report.add(at, &path, || fault);
                }
            }
        }
    }

    fn absent(&mut self, key: &'static Key<T>, at: usize) {
        let faults = match (&key.absent, &key.kind) {
            (Absent::Refused, _) => {
                self.report.add(at, key.path, || missing(key));
                return;
            }
            (Absent::Words(words), Kind::List { set, .. }) => set(self.subject, words),
            (Absent::Words([word]), Kind::Text { set, .. }) => match set(self.subject, word) {
                Ok(()) => return,
                Err(fault) => vec![(0, fault)],
            },
            (Absent::Standard, Kind::Number { standard, set, .. }) => {
                match set(self.subject, *standard) {
                    Ok(()) => return,
                    Err(fault) => vec![(0, fault)],
                }
            }
            (Absent::Standard, Kind::Section) => {
                for key in keys_of::<T>(key.path) {
                    self.absent(key, at);
                }
                return;
            }
            (Absent::Riskier(_), _) => return self.subject.assume(key.path),
            // What is read into starts with the standard limits, and with what is described.
            _ => return,
        };
        for (_, fault) in faults {
            self.report.add(at, key.path, || fault);
        }
    }

    fn list(&mut self, path: &str, node: &Node, set: fn(&mut T, &[&str]) -> Faults) {
        let Value::List(entries) = &node.value else {
            return self.wrong_kind(path, node, "a list of strings");
        };
        if entries.len() > MAX_ENTRIES {
            return self.too_many(path, node, MAX_ENTRIES);
        }
        let mut places = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(text) = self.text(&path, entry, MAX_TEXT_BYTES) else {
                continue;
            };
            if texts.contains(&text) {
                self.report.add(entry.at, &path, || {
                    Fault::new(
                        format!("{} is listed twice", quoted(text)),
                        "remove one of them",
                    )
                });
            }
            places.push((entry.at, path));
            texts.push(text);
        }
        let faults = set(self.subject, &texts);
        self.report_at(&places, faults);
    }

    fn pairs(&mut self, path: &str, node: &Node, set: fn(&mut T, &[(&str, &str)]) -> Faults) {
        let Value::Table(members) = &node.value else {
            return self.wrong_kind(path, node, "a section");
        };
        if members.len() > MAX_ENTRIES {
            return self.too_many(path, node, MAX_ENTRIES);
        }
        self.duplicates(path, members);
        let mut places = Vec::new();
        let mut pairs = Vec::new();
        for member in members {
            let path = join(path, &member.key);
            if let Value::Table(_) = member.node.value {
                self.report.add(member.at, &path, || {
                    Fault::new(
                        "expected a string, found a section",
                        "put a name that has dots in quotes",
                    )
                });
            } else if let Some(text) = self.text(&path, &member.node, MAX_TEXT_BYTES) {
                places.push((member.at, path));
                pairs.push((member.key.as_str(), text));
            }
        }
        let faults = set(self.subject, &pairs);
        self.report_at(&places, faults);
    }

    fn numbers(
        &mut self,
        path: &str,
        node: &Node,
        unit: &str,
        range: (u64, u64),
        set: fn(&mut T, &[u64]),
    ) {
        let Value::List(entries) = &node.value else {
            return self.wrong_kind(path, node, "a list of whole numbers");
        };
        if entries.len() > MAX_ENTRIES {
            return self.too_many(path, node, MAX_ENTRIES);
        }
        let mut numbers = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match self.number(&path, entry, unit, range) {
                Some(number) if numbers.contains(&number) => {
                    self.report.add(entry.at, &path, || {
                        Fault::new(format!("{number} is listed twice"), "remove one of them")
                    })
                }
                Some(number) => numbers.push(number),
                None => {}
            }
        }
        set(self.subject, &numbers);
    }

    fn each(
        &mut self,
        path: &str,
        node: &Node,
        most: usize,
        read: fn(&mut T, &Node, &mut Report<'_>),
    ) {
        let Value::List(entries) = &node.value else {
            return self.wrong_kind(path, node, "a list of sections");
        };
        if entries.len() > most {
            return self.too_many(path, node, most);
        }
        for (index, entry) in entries.iter().enumerate() {
            let subject = &mut *self.subject;
            self.report.within(format!("{path}[{index}]"), |report| {
                read(subject, entry, report)
            });
        }
    }

    /// The number of this range that `node` is, or nothing after reporting why it is none.
    fn number(
        &mut self,
        path: &str,
        node: &Node,
        unit: &str,
        (least, most): (u64, u64),
    ) -> Option<u64> {
        let Value::Number { digits, radix } = &node.value else {
            self.wrong_kind(path, node, "a whole number");
            return None;
        };
        match u64::from_str_radix(digits, *radix) {
            Ok(number) if (least..=most).contains(&number) => Some(number),
            _ => {
                self.report.add(node.at, path, || {
                    Fault::new(
                        format!(
                            "expected a whole number from {least} to {most}, found {}",
                            quoted(digits)
                        ),
                        format!("the unit is {unit}"),
                    )
                });
                None
            }
        }
    }

    /// The string that `node` is, or nothing after reporting why it is none.
    fn text<'n>(&mut self, path: &str, node: &'n Node, max_bytes: usize) -> Option<&'n str> {
        let Value::Text(text) = &node.value else {
            self.wrong_kind(path, node, "a string");
            return None;
        };
        let (message, hint) = if text.is_empty() {
            ("an empty string", "leave it out or fill it in".to_owned())
        } else if text.len() > max_bytes {
            (
                "too long a string",
                format!("write at most {max_bytes} bytes"),
            )
        } else {
            return Some(text);
        };
        self.report.add(node.at, path, || Fault::new(message, hint));
        None
    }

    fn wrong_kind(&mut self, path: &str, node: &Node, expected: &str) {
        self.report.add(node.at, path, || {
            Fault::new(
                format!("expected {expected}, found {}", node.value.kind()),
                format!("write {expected}"),
            )
        });
    }

    fn too_many(&mut self, path: &str, node: &Node, most: usize) {
        self.report.add(node.at, path, || {
            Fault::new(format!("more than {most} entries"), "shorten it")
        });
    }

    fn report_at(&mut self, places: &[(usize, String)], faults: Faults) {
        for (index, fault) in faults {
            if let Some((at, path)) = places.get(index) {
                self.report.add(*at, path, || fault);
            }
        }
    }
}

pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        shown(name)
    } else {
        format!("{path}.{}", shown(name))
    }
}

fn unknown<T: Subject>(section: &str, name: &str) -> Fault {
    let here = || keys_of::<T>(section).map(Key::name);
    let elsewhere = || all_keys::<T>().find(|key| key.name() == name);
    let hint = match (elsewhere(), nearest(name, here())) {
        (Some(key), _) if key.parent().is_empty() => "it belongs outside of all sections".into(),
        (Some(key), _) => format!("it belongs in `{}`", key.parent()),
        (None, Some(meant)) => format!("did you mean `{meant}`?"),
        (None, None) => format!("known keys here: {}", listed(here())),
    };
    Fault::new(format!("unknown key {}", quoted(name)), hint)
}

fn missing<T: Subject>(key: &Key<T>) -> Fault {
    let what = match &key.kind {
        Kind::Section => {
            let required =
                keys_of::<T>(key.path).filter(|key| matches!(key.absent, Absent::Refused));
            let names = listed(required.map(Key::name));
            return Fault::new(
                format!("the section `{}` is missing", key.name()),
                format!("add it with {names}"),
            );
        }
        Kind::Text { form, .. } => described(form),
        Kind::List { form, .. } => format!("a list, each entry {}", described(form)),
        Kind::Pairs { form, .. } => format!("a section of {}", described(form)),
        Kind::Limit { unit, .. } | Kind::Number { unit, .. } => {
            format!("a whole number of {unit}")
        }
        Kind::Always { .. } => "`true`".to_owned(),
        Kind::Numbers { unit, .. } => format!("a list of whole numbers of {unit}"),
        Kind::Tree { form, .. } | Kind::Each { form, .. } => (*form).to_owned(),
    };
    Fault::new(
        format!("the key `{}` is missing", key.name()),
        format!("add it: {what}"),
    )
}

/// What a string may be, for people.
pub(crate) fn described(form: &Form) -> String {
    match form {
        Form::Words(words) => format!("one of {}", listed(words().into_iter())),
        Form::Free(text) => (*text).to_owned(),
    }
}
