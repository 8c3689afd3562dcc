//! What is found in programs that were written to be found, and what is made of sources that were written to break the
//! scanner.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests"
)]

use casemate_model::Capability;
use casemate_scan::{Gap, Language, MAX_FINDINGS, MAX_SOURCE_BYTES, scan};

fn python(source: &str) -> Vec<(Capability, &'static str)> {
    let report = scan(Language::Python, source.as_bytes());
    assert_eq!(report.gap, None, "{source}");
    let of = |finding: &casemate_scan::Finding| (finding.capability, finding.what);
    report.findings.iter().map(of).collect()
}

/// R209: in every program of the hostile catalogue is found what its entry says.
#[test]
fn hostile_programs_are_seen_through() {
    let text = include_str!("../../sandbox/tests/violations/hostile.toml");
    let prelude = include_str!("../../sandbox/tests/violations/prelude.py");
    let prelude = scan(Language::Python, prelude.as_bytes());
    assert!(prelude.has(Capability::NativeCode));
    let catalogue: toml::Table = text.parse().unwrap();
    let programs = catalogue["program"].as_array().unwrap();
    assert!(programs.len() >= 80);
    for program in programs {
        let code = program["code"].as_str().unwrap();
        let report = scan(Language::Python, code.as_bytes());
        // Those that make system calls by the prelude's functions have nothing native of their own.
        let is_lent = |wanted| {
            let calls = code.contains("syscall(") || code.contains("_libc");
            wanted == Capability::NativeCode && calls
        };
        for wanted in program["finding"].as_array().unwrap() {
            let wanted = Capability::from_word(wanted.as_str().unwrap()).unwrap();
            assert!(
                report.has(wanted) || is_lent(wanted),
                "{}: no {wanted}: {report:?}",
                program["name"]
            );
        }
    }
}

/// Names are followed through imports, renamings, attributes and pieces of text.
#[test]
fn names_are_followed() {
    use Capability::{
        DynamicExecution, Environment, FileSystem, NativeCode, Network, Obfuscation, Processes,
    };
    for (source, capability, what) in [
        ("import socket", Network, "socket"),
        ("import os, ctypes as c", NativeCode, "ctypes"),
        (
            "from ctypes import (\n    CDLL,\n    util as u,\n)",
            NativeCode,
            "ctypes",
        ),
        ("from os import system as s\ns('x')", Processes, "os.system"),
        ("import os as o\no.environ['A']", Environment, "os.environ"),
        ("import os\nx = os \\\n  .fork()", Processes, "os.fork"),
        ("if True: import subprocess", Processes, "subprocess"),
        ("x = 1; import subprocess", Processes, "subprocess"),
        ("import urllib.request as r", Network, "urllib.request"),
        ("exec(x)", DynamicExecution, "exec"),
        (
            "[].__class__.__base__.__subclasses__()",
            DynamicExecution,
            "__subclasses__",
        ),
        ("open('/etc/passwd')", FileSystem, "/etc"),
        ("open('/tmp/../etc/passwd')", FileSystem, "/etc"),
        ("open('//etc/./passwd')", FileSystem, "/etc"),
        ("# a comment\rimport socket", Network, "socket"),
        ("x = 1\rimport socket", Network, "socket"),
        ("import os\r\nx = os \\\r\n  .fork()", Processes, "os.fork"),
        ("open(f'/proc/{pid}/mem')", FileSystem, "/proc"),
        ("open('/home/user/../../etc/x')", FileSystem, "/home"),
        ("__import__('c' 'types')", NativeCode, "ctypes"),
        (
            "__import__('c' + 'ty' + 'pes')",
            Obfuscation,
            "a name in pieces",
        ),
        ("f'{__import__(name)}'", DynamicExecution, "__import__"),
        (
            "import base64\nexec(base64.b64decode(x))",
            Obfuscation,
            "executes what it decodes",
        ),
        (
            "exec(bytes.fromhex(x))",
            Obfuscation,
            "executes what it decodes",
        ),
        ("from marshal import loads", Obfuscation, "marshal.loads"),
    ] {
        let found = python(source);
        assert!(found.contains(&(capability, what)), "{source}: {found:?}");
    }
    let escapes = format!("x = b\"{}\"", "\\x90".repeat(30));
    assert!(python(&escapes).contains(&(Obfuscation, "text of escapes")));
    let long = format!("x = '{}'", "QUJD".repeat(200));
    assert!(python(&long).contains(&(Obfuscation, "long encoded text")));
}

/// What only looks like something is nothing.
#[test]
fn what_is_harmless_is_not_found() {
    for source in [
        "# import socket\n'import ctypes'\n\"\"\"\nimport os\nos.system('x')\n\"\"\"",
        "import os\nos.path.join('a', 'b')\nos.getcwd()",
        "import re\nre.compile('x')\npattern.exec = 1",
        "df.eval('a + b')\nmodel.compile()",
        "socket = 1\nsocket.x",
        "from . import socket\nsocket.x",
        "open('/workspace/a'), open('/tmp/b'), open('/home/user/c'), open('/mnt/data/d')",
        "x = 'a' + 'b'\ny = 'read /etc/passwd'",
        "import numpy as np\nimport pandas as pd\npd.read_csv('x.csv').plot()",
    ] {
        assert_eq!(python(source), [], "{source}");
    }
}

/// Shell is read as words.
#[test]
fn shell_is_read_as_words() {
    let of = |source: &str| scan(Language::Shell, source.as_bytes()).capabilities();
    assert_eq!(of("ls -la | sort | head > out.txt"), []);
    assert_eq!(
        of("/usr/bin/curl -s https://example.com"),
        [Capability::Network]
    );
    assert_eq!(of("cat </etc/shadow"), [Capability::FileSystem]);
    assert_eq!(
        of("cat /usr/bin/../../etc/shadow"),
        [Capability::FileSystem]
    );
    assert_eq!(of("exec 3<>/dev/tcp/192.0.2.1/80"), [Capability::Network]);
    assert!(of("echo bW91bnQ= | base64 -d | bash").contains(&Capability::Obfuscation));
    assert_eq!(of("$(printenv)"), [Capability::Environment]);
}

/// Bad input: whatever a source is, it is read in one pass, and never called complete if it was not.
#[test]
fn no_source_breaks_the_scanner() {
    let most = MAX_SOURCE_BYTES;
    let gap = |source: &[u8]| scan(Language::Python, source).gap;
    // Deeper than any parser goes.
    for nested in [
        "(", "[", "{", "not ", "-", "1+", "a.", "f(", "lambda:", "x if ", "\\'''", "'''\\", "f'{",
        "f\"{f'{",
    ] {
        let source = nested.repeat(most / nested.len());
        let report = scan(Language::Python, source.as_bytes());
        assert!(report.findings.len() <= MAX_FINDINGS, "{nested}");
    }
    let indented: String = (0..1_400)
        .map(|depth| format!("{}if x:\n", " ".repeat(depth)))
        .collect();
    assert_eq!(gap(indented.as_bytes()), None);
    assert_eq!(gap(&vec![b'x'; 50 << 20]), Some(Gap::TooLarge));
    assert_eq!(gap(b"import os\xff"), Some(Gap::NotText));
    assert_eq!(gap(b"x = '''"), Some(Gap::Unfinished));
    assert_eq!(
        gap(b"PK\x03\x04 an archive in \xc3 archive"),
        Some(Gap::NotText)
    );
    // What follows a string without an end is read all the same.
    let report = scan(Language::Python, b"x = '''\nimport ctypes\n");
    assert!(report.has(Capability::NativeCode) && report.gap.is_some());
    for language in [b"fn main() {}".as_slice(), b"", b"\x7fELF"] {
        assert_eq!(
            scan(Language::Unknown, language).gap,
            Some(Gap::UnknownLanguage)
        );
    }
    // A long name is neither kept for each alias nor read again for each use.
    let long = "x".repeat(most / 2);
    let aliases: Vec<String> = (0..4_096).map(|at| format!("a{at}")).collect();
    let kept = format!("from {long} import {}", aliases.join(","));
    let used = format!("import {long} as a\n{}", "a\n".repeat(most / 4 - 16));
    assert_eq!(gap(kept.as_bytes()), Some(Gap::TooLarge));
    assert_eq!(gap(used.as_bytes()), Some(Gap::TooLarge));
    // More aliases than are kept are said to be more.
    let aliases: String = (0..=4_096).map(|at| format!("import a{at}\n")).collect();
    assert_eq!(gap(aliases.as_bytes()), Some(Gap::TooMany));
    // More findings than are kept are said to be more.
    let all: String = casemate_scan_names()
        .map(|name| format!("import {name}\n"))
        .collect();
    let report = scan(Language::Python, all.as_bytes());
    assert_eq!(
        (report.findings.len(), report.gap),
        (MAX_FINDINGS, Some(Gap::TooMany))
    );
}

/// What could be something else than it looks like is not taken for clean.
#[test]
fn names_that_are_not_followed_are_a_gap() {
    for source in [
        "import \u{ff43}types",
        "\u{ff45}xec(x)",
        "from os import *\nsystem('x')",
    ] {
        assert_eq!(
            scan(Language::Python, source.as_bytes()).gap,
            Some(Gap::Unclear),
            "{source}"
        );
    }
    for source in [
        "c''url x",
        "c\\url x",
        "c'ur'l x",
        "\"c\"url x",
        "\"$@\"",
        "$X",
        "A=1 $X",
        "true; ${X} y",
        "if $X; then true; fi",
        "echo \"$($X)\"",
        "echo `./x`",
        "cat <(./x)",
        "echo $(date) | \"$X\"",
        "./a.out",
        "(a.d/x)",
        "/workspace/x",
        "/usr/bin/../../workspace/x",
        "> out ./x",
        ". ./x",
        "sh x",
        "cat x | bash",
        "node x.js",
        "python3 x.py",
        "make",
        "exec $X",
        "env -i ./x",
        "xargs -n 1 sh -c",
        "find . -exec ./x ';'",
        "/usr/bin/g?? x.c",
        "/usr/bin/gc[c] x.c",
        "PATH=. x",
        "BASH_ENV=x true",
    ] {
        assert_eq!(
            scan(Language::Shell, source.as_bytes()).gap,
            Some(Gap::Unclear),
            "{source}"
        );
    }
    for source in [
        "echo \"don't\" # isn't",
        "printf 'a\\nb'",
        "x=\"a\" y='b'; echo \"$x\"/c a\\ b",
        "for i in $X; do echo \"$i\" ./x > ./y; done",
        "/usr/bin/cat ./x $(date) $X # ./x",
        "if [ -n \"$X\" ]; then [[ $X = y ]] && kill $$; fi",
        "f() { echo ./x; }; f",
        "ls *.c 2>/dev/null; A=$X ls; nice -n 5 ls",
    ] {
        assert_eq!(
            scan(Language::Shell, source.as_bytes()).gap,
            None,
            "{source}"
        );
    }
}

/// Modules that mean something, and paths: more than are kept.
fn casemate_scan_names() -> impl Iterator<Item = &'static str> {
    include_str!("../src/tables.rs").lines().filter_map(|line| {
        let name = line.trim().strip_prefix("(\"")?.split('"').next()?;
        name.chars()
            .all(|c| c.is_alphanumeric() || c == '.' || c == '_')
            .then_some(name)
    })
}

/// Ordinary programs: the scanner understands each, and most do nothing that it would name as hidden.
#[test]
fn ordinary_programs_are_understood() {
    let text = include_str!("../../sandbox/tests/violations/ordinary.toml");
    let catalogue: toml::Table = text.parse().unwrap();
    let (mut all, mut hidden) = (0, 0);
    for program in catalogue["program"].as_array().unwrap() {
        let language = match program["kind"].as_str().unwrap() {
            "python" => Language::Python,
            _ => Language::Shell,
        };
        let report = scan(language, program["code"].as_str().unwrap().as_bytes());
        // These execute what is not in the source.
        let code = program["code"].as_str().unwrap();
        let is_unseen = |name: &&str| code.contains(*name);
        let unseen = ["node -e", "perl -", "python3 -", "make -", "ruby -e"];
        let is_shell = language == Language::Shell;
        let gap = (is_shell && unseen.iter().any(is_unseen)).then_some(Gap::Unclear);
        assert_eq!(report.gap, gap, "{program}");
        all += 1;
        hidden += usize::from(report.has(Capability::Obfuscation));
    }
    println!("{all} ordinary programs, {hidden} of them with something hidden");
    assert_eq!(hidden, 0);
}
