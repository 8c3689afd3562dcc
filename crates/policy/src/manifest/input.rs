//! The arguments of a tool: a JSON Schema that was read strictly, closed and compiled.

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value as Json, json};

use super::{close::close, expected, expected::Field, sound};
use crate::{
    arguments::{ArgumentFault, exact},
    diagnostic::Fault,
    rules::prose,
    tree::{Node, Placed, Value},
    visible::quoted,
    walk::join,
};

/// The largest JSON Schema of a tool's arguments, in bytes of its canonical form.
pub const MAX_INPUT_SCHEMA_BYTES: usize = 64 << 10;
/// How deep such a schema may nest.
pub const MAX_INPUT_SCHEMA_DEPTH: usize = 24;

/// The most steps of a compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// The most errors of one schema that are reported.
const MAX_ERRORS: usize = 20;

/// What a tool takes.
#[derive(Clone, Debug)]
pub(crate) struct InputSchema {
    written: Json,
    /// Closed; nothing if the tool takes no arguments.
    compiled: Option<Validator>,
}

impl InputSchema {
    /// No arguments.
    pub(super) fn none() -> Self {
        Self {
            written: json!({ "type": "object", "additionalProperties": false }),
            compiled: None,
        }
    }

    /// The schema as it was written.
    pub(crate) const fn written(&self) -> &Json {
        &self.written
    }

    /// Reads the schema that `node` is.
    pub(super) fn read(node: &Node) -> Result<Self, Vec<Placed>> {
        let mut copy = Copy { faults: Vec::new() };
        let written = copy.value(node, "", 1);
        if !copy.faults.is_empty() {
            return Err(copy.faults);
        }
        let (Value::Table(_), Json::Object(root)) = (&node.value, &written) else {
            return Err(vec![Placed {
                at: node.at,
                path: String::new(),
                fault: Fault::new(
                    format!("expected a schema, found {}", node.value.kind()),
                    "write a section with `type = \"object\"`",
                ),
            }]);
        };
        let placed = |(pointer, fault): (String, Fault)| place(node, &pointer, fault);
        let size = serde_json_canonicalizer::to_vec(&written).map_or(usize::MAX, |form| form.len());
        if size > MAX_INPUT_SCHEMA_BYTES {
            let message = format!("a schema of more than {} KiB", MAX_INPUT_SCHEMA_BYTES >> 10);
            let fault = Fault::new(message, "a tool with so many arguments is several tools");
            return Err(vec![placed((String::new(), fault))]);
        }
        let metaschema = jsonschema::draft202012::meta::validator();
        let errors = metaschema.iter_errors(&written).take(MAX_ERRORS);
        let mut faults: Vec<_> = errors
            .map(|error| placed(unfit(&error, &written)))
            .collect();
        // Each vocabulary says for itself what a schema is.
        faults.dedup_by(|one, other| (one.at, &one.path) == (other.at, &other.path));
        if faults.is_empty() {
            faults.extend(sound::faults(root).into_iter().take(MAX_ERRORS).map(placed));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let compiled = compile(&written).map_err(|error| vec![placed(unfit(&error, &written))])?;
        Ok(Self {
            written,
            compiled: Some(compiled),
        })
    }

    /// Whether `arguments` fit.
    pub(super) fn check(&self, arguments: &Json) -> Result<(), ArgumentFault> {
        let Some(compiled) = &self.compiled else {
            let first = arguments
                .as_object()
                .and_then(|fields| fields.keys().next());
            return match first {
                None => Ok(()),
                Some(name) => Err(ArgumentFault::unknown("", name)),
            };
        };
        compiled.validate(arguments).map_err(|error| {
            let at = error.instance_path().as_str();
            match expected::field(&error, arguments) {
                Field::Missing(name) => ArgumentFault::missing(at, name),
                Field::Unknown(name) => ArgumentFault::unknown(at, name),
                Field::Other => ArgumentFault::unfit(at, expected::expected(error.kind())),
            }
        })
    }
}

/// Patterns run in linear time, and formats are checked; one that is not known is an error.
fn compile(written: &Json) -> Result<Validator, ValidationError<'static>> {
    let mut closed = written.clone();
    close(&mut closed);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN_BYTES))
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(&closed)
}

/// What is wrong with the schema itself, and where.
fn unfit(error: &ValidationError<'_>, schema: &Json) -> (String, Fault) {
    let pointer = error.instance_path().as_str().to_owned();
    let fault = match expected::field(error, schema) {
        Field::Missing(name) => Fault::new(
            format!("the keyword `{name}` is missing"),
            "JSON Schema 2020-12 needs it here",
        ),
        _ if pointer.ends_with("/type") => Fault::new(
            "not a type of JSON",
            "use one of `object`, `array`, `string`, `integer`, `number`, `boolean`, `null`, or a list of them",
        ),
        _ if pointer.ends_with("/pattern") => Fault::new(
            "a pattern that cannot be used",
            "use what runs in linear time: no look-around, no back-references, and not too large",
        ),
        _ if pointer.ends_with("/format") => Fault::new(
            "a format that is not known",
            "use a format of JSON Schema 2020-12, or `pattern`",
        ),
        _ => Fault::new(
            format!("expected {}", expected::expected(error.kind())),
            "this is what JSON Schema 2020-12 says",
        ),
    };
    (pointer, fault)
}

/// Puts `fault` where the node at `pointer` begins, or the deepest one on the way there.
fn place(root: &Node, pointer: &str, fault: Fault) -> Placed {
    let mut node = root;
    let mut at = root.at;
    let mut path = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        match &node.value {
            Value::Table(members) => match members.iter().find(|member| member.key == step) {
                Some(member) => {
                    node = &member.node;
                    at = member.at;
                    path = format!("{path}.{}", join("", &step));
                }
                None => break,
            },
            Value::List(list) => match step.parse().ok().and_then(|index: usize| list.get(index)) {
                Some(element) => {
                    node = element;
                    at = element.at;
                    path = format!("{path}[{step}]");
                }
                None => break,
            },
            _ => break,
        }
    }
    Placed { at, path, fault }
}

/// Copies a tree into JSON, and collects what JSON cannot hold.
struct Copy {
    faults: Vec<Placed>,
}

impl Copy {
    fn value(&mut self, node: &Node, path: &str, depth: usize) -> Json {
        if depth > MAX_INPUT_SCHEMA_DEPTH {
            let message = format!("a schema nested more than {MAX_INPUT_SCHEMA_DEPTH} levels deep");
            self.add(
                node.at,
                path,
                Fault::new(message, "put the inner ones in `$defs`"),
            );
            return Json::Null;
        }
        match &node.value {
            Value::Null => Json::Null,
            Value::Bool(bool) => Json::Bool(*bool),
            Value::Text(text) => {
                if let Err(fault) = prose(text) {
                    self.add(node.at, path, fault);
                }
                Json::String(text.clone())
            }
            Value::Number { digits, radix } => {
                let number = exact(digits, *radix);
                if number.is_none() {
                    let message = format!(
                        "{} is not a number that JSON carries exactly",
                        quoted(digits)
                    );
                    self.add(
                        node.at,
                        path,
                        Fault::new(message, "write one that a double has"),
                    );
                }
                number.map_or(Json::Null, Json::Number)
            }
            Value::Date => {
                let fault = Fault::new("a date, which JSON does not have", "put it in quotes");
                self.add(node.at, path, fault);
                Json::Null
            }
            Value::List(list) => {
                let element =
                    |(index, node)| self.value(node, &format!("{path}[{index}]"), depth + 1);
                Json::Array(list.iter().enumerate().map(element).collect())
            }
            Value::Table(members) => {
                let mut map = Map::new();
                for member in members {
                    let path = format!("{path}.{}", join("", &member.key));
                    if let Err(fault) = prose(&member.key) {
                        self.add(member.at, &path, fault);
                    }
                    let value = self.value(&member.node, &path, depth + 1);
                    if map.insert(member.key.clone(), value).is_some() {
                        let message = format!("{} is given twice", quoted(&member.key));
                        self.add(member.at, &path, Fault::new(message, "remove one of them"));
                    }
                }
                Json::Object(map)
            }
        }
    }

    fn add(&mut self, at: usize, path: &str, fault: Fault) {
        self.faults.push(Placed {
            at,
            path: path.to_owned(),
            fault,
        });
    }
}
