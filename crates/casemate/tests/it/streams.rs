//! Standard streams: live, whole, and never in the way.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Command, Stdio},
};

use crate::home::{Home, Ran, for_everybody};

#[test]
fn standard_input_reaches_the_program_whole() {
    for_everybody(|home| {
        let input: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
        let ran = home.feed(["run", "-q", "--", "cat"], &input);
        ran.exits(0);
        assert!(ran.0.stdout == input);
        home.write("a.py", "import sys; print(len(sys.stdin.buffer.read()))");
        home.feed(["run", "a.py"], &input)
            .exits(0)
            .prints("1600000\n");
        home.run(["run", "a.py"]).exits(0).prints("0\n");
    });
}

/// A program that came from standard input has none of its own.
#[test]
fn a_program_from_standard_input_reads_nothing() {
    let home = Home::new();
    let ran = home.feed(["run", "-"], b"import sys; print(repr(sys.stdin.read()))");
    ran.exits(0).prints("''\n");
}

/// A program that reads nothing is not held up by what nobody takes.
#[test]
fn unread_input_does_not_hold_up_the_end() {
    let home = Home::new();
    home.feed(["run", "--", "true"], &vec![b'x'; 8 << 20])
        .exits(0);
    let mut open = home.casemate(["run", "--", "echo", "done"]);
    let mut child = open
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _held_open = child.stdin.take();
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    assert_eq!(stdout, "done\n");
    assert!(child.wait().unwrap().success());
}

/// Output comes while the program runs: an answer is needed for the next question.
#[test]
fn a_conversation_is_possible() {
    for_everybody(|home| {
        let script = "while read line; do echo \"you said $line\"; done";
        let mut child = home
            .casemate(["run", "--", "bash", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        for word in ["one", "two"] {
            writeln!(stdin, "{word}").unwrap();
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            assert_eq!(line, format!("you said {word}\n"));
        }
        drop(stdin);
        assert!(child.wait().unwrap().success());
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_program() {
    for_everybody(|home| {
        let mut child = home
            .casemate(["run", "--", "yes"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 2];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        assert_eq!(&first, b"y\n");
        let ran = Ran(child.wait_with_output().unwrap());
        ran.exits(125).says("cancelled");
        assert_eq!(home.log()[1]["summary"]["stop_reason"], "cancelled");
    });
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let home = Home::new();
    for words in [
        &["run", "--", "echo", "x"][..],
        &["run", "--json", "--", "true"],
        &["profile", "show"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ran = home
            .casemate(words)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let ran = Ran(ran);
        let code = ran.0.status.code().unwrap();
        assert!([123, 125].contains(&code), "{ran:?}");
        ran.says("No space left");
    }
    // The call itself is recorded like any other.
    assert_eq!(home.kinds(), ["allowed", "outcome", "allowed", "outcome"]);
}

#[test]
fn closed_streams_are_no_trouble() {
    let home = Home::new();
    let casemate = home.casemate(["run", "--", "sh", "-c", "echo x; echo y >&2"]);
    let ran = Command::new("sh")
        .args(["-c", "exec \"$@\" <&- >&- 2>&-", "-"])
        .arg(casemate.get_program())
        .args(casemate.get_args())
        .env("CASEMATE_STATE_DIR", home.path("state"))
        .status()
        .unwrap();
    assert_eq!(ran.code(), Some(0));
    assert_eq!(home.kinds(), ["allowed", "outcome"]);
}

/// Somebody may have made the pipe non-blocking: nothing is lost.
#[test]
fn a_non_blocking_reader_loses_nothing() {
    let home = Home::new();
    let (read, write) = rustix::pipe::pipe().unwrap();
    rustix::io::ioctl_fionbio(&write, true).unwrap();
    let script = "head -c 3000000 /dev/zero";
    let mut child = home
        .casemate(["run", "--", "sh", "-c", script])
        .stdout(write)
        .spawn()
        .unwrap();
    let mut all = Vec::new();
    File::from(read).read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 3_000_000);
    assert!(child.wait().unwrap().success());
}
