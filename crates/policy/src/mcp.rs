//! Servers of the Model Context Protocol that run in sandboxes, and what of their tools was looked at: a tool is what its pinned
//! descriptor says, or it is not called.

mod descriptor;

pub use self::descriptor::{Descriptor, DescriptorFault, MAX_DESCRIPTOR_BYTES};

use crate::{
    diagnostic::{Fault, Report},
    key::{Absent, Form, Key, Kind, Subject, key, text},
    profile::Profile,
    tree::{Node, Placed, Value},
    visible::quoted,
    walk::walk_part,
};

/// The most servers of one profile.
pub const MAX_MCP_SERVERS: usize = 16;
/// The most tools of one server that are pinned.
pub const MAX_MCP_TOOLS: usize = 64;
/// The most words of a command, and the most bytes of one: a word may be a program's source.
const MAX_WORDS: usize = 64;
const MAX_WORD_BYTES: usize = 32 << 10;
/// The most bytes of a name.
const MAX_NAME_BYTES: usize = 32;

/// A server: a program of the sandbox that speaks on its standard input and output.
#[derive(Clone, Debug, PartialEq)]
pub struct McpServer {
    /// What its tools are called by: `NAME.tool`.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its tools that were looked at.
    pub tools: Vec<Descriptor>,
}

/// A tool of a server.
#[derive(Clone, Copy, Debug)]
pub struct McpTool<'p> {
    /// The server.
    pub server: &'p McpServer,
    /// What its tool has to be.
    pub descriptor: &'p Descriptor,
}

impl McpServer {
    /// It and what it stands for, for people: the digest of each descriptor with it.
    pub(crate) fn shown(&self) -> String {
        let tools = self.tools.iter();
        let tools = tools.map(|tool| format!("{} {}", tool.name(), tool.digest()));
        let tools: Vec<_> = tools.collect();
        format!("{} = {:?}: {}", self.name, self.command, tools.join(", "))
    }
}

impl Profile {
    /// The tool of a server that has this name, if one was pinned.
    #[must_use]
    pub fn mcp_tool(&self, name: &str) -> Option<McpTool<'_>> {
        let (server, tool) = name.split_once('.')?;
        let server = self.mcp.iter().find(|one| one.name == server)?;
        let descriptor = server.tools.iter().find(|one| one.name() == tool)?;
        Some(McpTool { server, descriptor })
    }

    /// Every tool of a server, with its name.
    pub fn mcp_tools(&self) -> impl Iterator<Item = (String, McpTool<'_>)> {
        self.mcp.iter().flat_map(|server| {
            server.tools.iter().map(move |descriptor| {
                let name = format!("{}.{}", server.name, descriptor.name());
                (name, McpTool { server, descriptor })
            })
        })
    }
}

impl Subject for McpServer {
    const KEYS: &'static [&'static [Key<Self>]] = &[&[
        text(
            "name",
            Form::Free("name of small letters, digits and `-`"),
            |server, text| name(text).map(|name| server.name = name),
            Absent::Refused,
            "Its tools are called `NAME.tool`, in `tools.allowed` as everywhere.",
        ),
        key(
            "command",
            Kind::Tree {
                form: "list of strings",
                set: command,
            },
            Absent::Refused,
            "The program and its arguments: one of the sandbox's, which speaks on its standard input and output. It is started for each call.",
        ),
        key(
            "tools",
            Kind::Tree {
                form: "list of descriptors, each the JSON that `casemate profile pin` prints",
                set: tools,
            },
            Absent::Open("none: none of its tools can be called"),
            "Its tools as they were looked at. Callers are shown what is here; a server that says anything else of a tool is not asked to run it.",
        ),
    ]];
}

/// Reads one server of `profile`.
pub(crate) fn read_mcp_server(profile: &mut Profile, node: &Node, report: &mut Report<'_>) {
    let mut server = McpServer {
        name: String::new(),
        command: Vec::new(),
        tools: Vec::new(),
    };
    walk_part(node, &mut server, report);
    let mut others = profile.mcp.iter();
    if !server.name.is_empty() && others.any(|other| other.name == server.name) {
        let message = format!("another server is called {}", quoted(&server.name));
        report.add(node.at, "name", || {
            Fault::new(message, "give each its own name")
        });
    }
    profile.mcp.push(server);
}

fn name(text: &str) -> Result<String, Fault> {
    let inner = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let good = text.len() <= MAX_NAME_BYTES
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(inner);
    match good {
        true => Ok(text.to_owned()),
        false => Err(Fault::new(
            format!("{} is not a name for a server", quoted(text)),
            format!(
                "use at most {MAX_NAME_BYTES} small letters, digits and `-`, the first a letter"
            ),
        )),
    }
}

/// The strings of a list, each with where it is.
fn texts(node: &Node, most: usize, faults: &mut Vec<Placed>) -> Vec<(usize, String, String)> {
    let mut fault = |at, path, message: String, hint: &str| {
        let fault = Fault::new(message, hint);
        faults.push(Placed { at, path, fault });
    };
    let Value::List(entries) = &node.value else {
        let message = format!("expected a list of strings, found {}", node.value.kind());
        fault(node.at, String::new(), message, "write a list of strings");
        return Vec::new();
    };
    if entries.is_empty() || entries.len() > most {
        let message = format!("expected 1 to {most} entries, found {}", entries.len());
        fault(
            node.at,
            String::new(),
            message,
            "leave the key out, or shorten it",
        );
        return Vec::new();
    }
    let mut texts = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("[{index}]");
        match &entry.value {
            Value::Text(text) => texts.push((entry.at, path, text.clone())),
            other => {
                let message = format!("expected a string, found {}", other.kind());
                fault(entry.at, path, message, "write a string");
            }
        }
    }
    texts
}

fn command(server: &mut McpServer, node: &Node) -> Vec<Placed> {
    let mut faults = Vec::new();
    for (at, path, word) in texts(node, MAX_WORDS, &mut faults) {
        if word.len() > MAX_WORD_BYTES || word.contains('\0') {
            let message = format!("a word has at most {MAX_WORD_BYTES} bytes, and no NUL");
            let fault = Fault::new(message, "put the program into the image");
            faults.push(Placed { at, path, fault });
        }
        server.command.push(word);
    }
    faults
}

fn tools(server: &mut McpServer, node: &Node) -> Vec<Placed> {
    let mut faults = Vec::new();
    for (at, path, text) in texts(node, MAX_MCP_TOOLS, &mut faults) {
        let descriptor = match Descriptor::parse(text.as_bytes()) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                let hint = "let `casemate profile pin` print it";
                let fault = Fault::new(error.to_string(), hint);
                faults.push(Placed { at, path, fault });
                continue;
            }
        };
        if server
            .tools
            .iter()
            .any(|other| other.name() == descriptor.name())
        {
            let message = format!("another descriptor is of {}", quoted(descriptor.name()));
            let fault = Fault::new(message, "remove one of them");
            faults.push(Placed { at, path, fault });
        }
        server.tools.push(descriptor);
    }
    faults
}
