//! Which tools there are.

use rmcp::model::{Tool, ToolAnnotations};

use crate::{
    plane::{Connected, Conversation, Effects, Offers},
    schema,
};

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Python,
    Shell,
    ReadFile,
    WriteFile,
    ListFiles,
    CallResult,
    OpenSession,
}

impl Name {
    const ALL: [Self; 7] = [
        Self::Python,
        Self::Shell,
        Self::ListFiles,
        Self::ReadFile,
        Self::WriteFile,
        Self::CallResult,
        Self::OpenSession,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Shell => "shell",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::ListFiles => "list_files",
            Self::CallResult => "call_result",
            Self::OpenSession => "open_session",
        }
    }

    pub(crate) fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }
}

/// The tools that are offered, always in the same order.
pub(crate) fn listed(offers: &Offers) -> Vec<Tool> {
    let all = Name::ALL.into_iter();
    let own = all.filter_map(|name| tool(name, offers));
    own.chain(offers.connected.iter().filter_map(of_server))
        .collect()
}

/// The tool of this name, if it is offered.
pub(crate) fn named(name: &str, offers: &Offers) -> Option<Tool> {
    let mut connected = offers.connected.iter();
    match Name::read(name) {
        Some(own) => tool(own, offers),
        None => of_server(connected.find(|tool| tool.name == name)?),
    }
}

/// A tool of a server, as it was pinned, by its name here. One that is none in every respect is not offered.
///
/// Of what it answers nothing is promised: a call may wait, be refused or fail, and hosts throw away what a promise does not fit.
fn of_server(connected: &Connected) -> Option<Tool> {
    let mut tool: Tool = serde_json::from_value(connected.descriptor.clone()).ok()?;
    tool.name = connected.name.clone().into();
    tool.output_schema = None;
    Some(tool)
}

/// A tool, if it is offered.
pub(crate) fn tool(name: Name, offers: &Offers) -> Option<Tool> {
    let conversation = offers.conversation;
    let runs = offers.python.or(offers.shell);
    let (input, output, title, description, annotations) = match name {
        Name::Python => (
            schema::python(conversation),
            schema::ran(),
            "Run Python",
            python(conversation).to_owned(),
            annotations(offers.python?),
        ),
        Name::Shell => (
            schema::shell(conversation),
            schema::ran(),
            "Run a shell script",
            shell(conversation).to_owned(),
            annotations(offers.shell?),
        ),
        Name::CallResult => {
            runs?;
            (
                schema::result(),
                schema::ran(),
                "Ask after a call",
                "Says how a call stands that waited for approval or had not ended, by the decision id of its \
                 answer, and gives its output when it has ended. It approves nothing."
                    .to_owned(),
                looks(),
            )
        }
        Name::OpenSession => {
            runs.filter(|_| conversation == Conversation::Named)?;
            (
                schema::open(),
                schema::opened(),
                "Open a session",
                "Opens a sandbox whose files and variables stay from call to call, and names it. Give the name as \
                 `session` to the other tools. It ends by itself when it is not used."
                    .to_owned(),
                changes(false),
            )
        }
        Name::ReadFile | Name::WriteFile | Name::ListFiles => {
            runs.filter(|_| conversation != Conversation::Fresh)?;
            return Some(file_tool(name, conversation));
        }
    };
    Some(made(name, title, description, input, annotations).with_raw_output_schema(output))
}

fn file_tool(name: Name, conversation: Conversation) -> Tool {
    let (input, output, title, description, annotations) = match name {
        Name::WriteFile => (
            schema::write(conversation),
            schema::written(),
            "Write a file",
            "Writes a file below /workspace of the sandbox, whole, in place of what was there. Directories on the way are made.",
            changes(true),
        ),
        Name::ListFiles => (
            schema::list(conversation),
            schema::listed(),
            "List files",
            "Lists a directory below /workspace of the sandbox.",
            looks(),
        ),
        _ => (
            schema::read(conversation),
            schema::file(),
            "Read a file",
            "Reads a file below /workspace of the sandbox: text as it is, images as images, anything else in base64. Up to 2 MiB.",
            looks(),
        ),
    };
    made(name, title, description.to_owned(), input, annotations).with_raw_output_schema(output)
}

fn made(
    name: Name,
    title: &str,
    description: String,
    input: std::sync::Arc<rmcp::model::JsonObject>,
    annotations: ToolAnnotations,
) -> Tool {
    Tool::new(name.as_str(), description, input)
        .with_title(title)
        .with_annotations(annotations)
}

const fn python(conversation: Conversation) -> &'static str {
    match conversation {
        Conversation::Kept => {
            "Runs Python in a sandbox. Variables and files in /workspace stay for this conversation; with `fresh`, \
             variables do not. The last expression, figures and tables are results."
        }
        Conversation::Named => {
            "Runs Python in a sandbox. With a `session`, its variables and its files in /workspace stay; with `fresh`, \
             variables do not. The last expression, figures and tables are results."
        }
        Conversation::Fresh => {
            "Runs Python in a sandbox of its own, of which nothing stays. The last expression, figures and tables are results."
        }
    }
}

const fn shell(conversation: Conversation) -> &'static str {
    match conversation {
        Conversation::Kept => {
            "Runs a bash script in a sandbox. Files in /workspace stay for this conversation, processes do not."
        }
        Conversation::Named => {
            "Runs a bash script in a sandbox. With a `session`, its files in /workspace stay; processes do not."
        }
        Conversation::Fresh => {
            "Runs a bash script in a sandbox of its own, of which nothing stays."
        }
    }
}

fn annotations(effects: Effects) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(effects.read_only)
        .destructive(effects.destructive)
        .idempotent(false)
        .open_world(effects.open_world)
}

fn looks() -> ToolAnnotations {
    ToolAnnotations::new().read_only(true).open_world(false)
}

fn changes(destructive: bool) -> ToolAnnotations {
    ToolAnnotations::new()
        .read_only(false)
        .destructive(destructive)
        .idempotent(destructive)
        .open_world(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Effects = Effects {
        read_only: false,
        destructive: true,
        open_world: false,
    };

    fn names(python: bool, shell: bool, conversation: Conversation) -> Vec<String> {
        let offers = Offers {
            python: python.then_some(ANY),
            shell: shell.then_some(ANY),
            conversation,
            connected: Vec::new(),
        };
        let tools = listed(&offers);
        tools.iter().map(|tool| tool.name.to_string()).collect()
    }

    #[test]
    fn what_is_not_offered_is_not_listed() {
        use Conversation::{Fresh, Kept, Named};
        assert!(names(false, false, Kept).is_empty());
        assert!(names(false, false, Named).is_empty());
        assert_eq!(
            names(true, false, Kept),
            [
                "python",
                "list_files",
                "read_file",
                "write_file",
                "call_result"
            ]
        );
        assert_eq!(names(false, true, Fresh), ["shell", "call_result"]);
        let named = names(true, true, Named);
        assert_eq!(named.last().map(String::as_str), Some("open_session"));
        assert!(named.iter().any(|name| name == "shell"));
    }

    #[test]
    fn each_tool_has_schemas_that_are_objects_and_a_name_that_is_read_back() {
        for conversation in [Conversation::Kept, Conversation::Named, Conversation::Fresh] {
            let offers = Offers {
                python: Some(ANY),
                shell: Some(ANY),
                conversation,
                connected: Vec::new(),
            };
            for tool in listed(&offers) {
                assert!(Name::read(&tool.name).is_some());
                let output = tool.output_schema.as_deref();
                for schema in [Some(tool.input_schema.as_ref()), output] {
                    let schema = serde_json::to_value(schema).unwrap_or_default();
                    assert_eq!(schema["type"], "object", "{}", tool.name);
                    assert!(jsonschema::draft202012::meta::is_valid(&schema));
                    assert!(jsonschema::validator_for(&schema).is_ok());
                }
                let named = tool.input_schema["properties"].get("session").is_some();
                let handle = matches!(
                    Name::read(&tool.name),
                    Some(Name::CallResult | Name::OpenSession)
                );
                assert_eq!(named, conversation == Conversation::Named && !handle);
            }
        }
    }

    #[test]
    fn a_tool_of_a_server_is_what_was_pinned() {
        let offers = Offers {
            python: None,
            shell: None,
            conversation: Conversation::Kept,
            connected: vec![
                Connected {
                    name: "files.read".to_owned(),
                    descriptor: serde_json::json!({
                        "name": "read", "description": "Reads.", "inputSchema": { "type": "object" },
                        "annotations": { "readOnlyHint": true },
                        "outputSchema": { "type": "object", "required": ["text"] },
                    }),
                },
                Connected {
                    name: "files.broken".to_owned(),
                    descriptor: serde_json::json!({ "name": "broken", "inputSchema": 7 }),
                },
            ],
        };
        let tools = listed(&offers);
        assert_eq!(tools.len(), 1);
        assert_eq!(tools[0].name, "files.read");
        assert_eq!(tools[0].output_schema, None);
        assert_eq!(named("files.read", &offers).as_ref(), Some(&tools[0]));
        for name in ["files.broken", "read", "files.write", "python"] {
            assert_eq!(named(name, &offers), None, "{name}");
        }
    }
}
