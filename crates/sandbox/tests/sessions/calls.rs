//! Programs and cells.

use casemate_model::{Cause, Exit, Limits, Strength};
use casemate_ports::{
    Control, InputFile, KeeperError, PlaceSpec, Sandbox as _, SessionKeeper as _, Signal,
    TerminalSize,
};

use crate::desk::{Desk, Done, cell, program, session_id, shell, spec};

/// R21, R22: files stay between the calls of a session; R23: other sessions have their own.
pub(crate) async fn files_stay_in_their_session(desk: Desk) {
    desk.session(1).await;
    desk.session(2).await;
    let out = desk.call(1, program(&["echo", "hello"])).await.ok();
    assert_eq!(out, "hello\n");
    desk.call(1, shell("echo kept > file; echo kept > /tmp/file"))
        .await
        .ok();
    let out = desk
        .call(
            1,
            shell("cat /workspace/file /home/user/file /mnt/data/file /tmp/file"),
        )
        .await;
    assert_eq!(out.ok(), "kept\nkept\nkept\nkept\n");
    let none = desk
        .call(
            2,
            shell("find /workspace /tmp /dev/shm -mindepth 1 -not -type d"),
        )
        .await;
    assert_eq!(none.ok(), "");
}

pub(crate) async fn a_cell_runs_in_a_copy_of_the_warm_interpreter(desk: Desk) {
    desk.session(1).await;
    let done = desk.call(1, cell("print('x'); import os\n6 * 7")).await;
    assert!(done.results.contains(r#""text/plain":"42""#), "{done:?}");
    assert_eq!(done.ok(), "x\n");
    let done = desk.call(1, cell("def f():\n    1 / 0\nf()")).await;
    assert_eq!(done.ended.exit, Some(Exit::Code(1)));
    assert!(
        done.stderr.contains("ZeroDivisionError: division by zero"),
        "{done:?}"
    );
    assert!(
        !done.stderr.contains("casemate"),
        "frames of ours in {}",
        done.stderr
    );
    let done = desk.call(1, cell("import sys; sys.exit(7)")).await;
    assert_eq!(done.ended.exit, Some(Exit::Code(7)));
    let done = desk.call(1, cell("import os; os.abort()")).await;
    assert_eq!(done.ended.exit, Some(Exit::Signal(6)));
}

/// I9, R24, R28: whatever a cell changes in its interpreter is gone with it.
pub(crate) async fn no_cell_sees_what_another_left_in_the_interpreter(desk: Desk) {
    desk.session(1).await;
    let spoil = "import sys, builtins, os, json\n\
        builtins.print = None; json.loads = None; sys.modules['math'] = None; os.environ['LEFT'] = '1'\n\
        sys.path.insert(0, '/workspace/evil'); leaked = 1";
    desk.call(1, cell(spoil)).await.ok();
    let look = "import sys, json, math, os\n\
        print(json.loads('[1]'), math.pi > 3, 'LEFT' in os.environ, '/workspace/evil' in sys.path, 'leaked' in globals())";
    let seen = desk.call(1, cell(look)).await.ok();
    assert_eq!(seen, "[1] True False False False\n");
}

/// R24, I9: each call has process, mount and IPC namespaces of its own; the session's network is one.
pub(crate) async fn each_call_has_namespaces_of_its_own(desk: Desk) {
    desk.session(1).await;
    let links = "for kind in user net pid mnt ipc; do readlink /proc/self/ns/$kind; done";
    let python = "import os\nfor kind in 'user net pid mnt ipc'.split(): print(os.readlink('/proc/self/ns/' + kind))";
    let commands = [shell(links), shell(links), shell(links), cell(python)];
    // All are there before the first ends, for a namespace's number is used again.
    let mut places = Vec::new();
    for _ in &commands {
        places.push(desk.keeper.place(desk.place(1)).await.expect("a place"));
    }
    let mut seen = Vec::new();
    for (place, command) in places.into_iter().zip(commands) {
        let done = desk.run(place, command, Vec::new(), |_| {}).await;
        seen.push(done.expect("a call").ok());
    }
    let seen: Vec<Vec<&str>> = seen.iter().map(|text| text.lines().collect()).collect();
    for (index, one) in seen.iter().enumerate() {
        assert_eq!(one.len(), 5);
        for other in &seen[index + 1..] {
            assert_eq!(one[..2], other[..2], "the same user and network namespace");
            for kind in 2..5 {
                assert_ne!(one[kind], other[kind], "namespace {kind}");
            }
        }
    }
}

/// I7: what is enforced in a place is measured, for programs and for the interpreter.
pub(crate) async fn what_a_place_enforces_is_measured(desk: Desk) {
    desk.session(1).await;
    let mut place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let isolation = place.ready().await.expect("facts").isolation;
    let root = rustix::process::geteuid().is_root();
    for control in &isolation.controls {
        let limit = ["memory", "cpu"].contains(&control.name.as_str());
        if root || !limit {
            assert_eq!(control.strength, Strength::Enforced, "{control:?}");
        }
    }
    drop(place);
    let status = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let mut facts = vec![desk.call(1, shell(status)).await.ok()];
    facts.push(
        desk.call(
            1,
            cell("import subprocess\nprint(open('/proc/self/status').read())"),
        )
        .await
        .ok(),
    );
    for text in facts {
        let value = |name: &str| {
            let line = text
                .lines()
                .find(|line| line.starts_with(name))
                .expect(name);
            line.split_whitespace().nth(1).expect("a value").to_owned()
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(value(set), "0000000000000000", "{set}");
        }
        assert_eq!(
            (value("NoNewPrivs").as_str(), value("Seccomp:").as_str()),
            ("1", "2")
        );
    }
}

/// I9, R29: two calls of one session at once neither see nor signal each other, nor share memory or a way out.
pub(crate) async fn calls_at_once_do_not_see_each_other(desk: Desk) {
    desk.session(1).await;
    let first = "echo secret > /dev/shm/left; ipcmk -M 64 > /dev/null; stat -c %d /run/egress/proxy.sock > device; touch started\n\
        python3 -c \"import socket,time; s=socket.socket(socket.AF_UNIX); s.bind(chr(0)+'abstract'); s.listen(); time.sleep(60)\" &\n\
        while [ ! -e stop ]; do sleep 0.02; done; echo survived";
    let second = "while [ ! -e started ]; do sleep 0.02; done; sleep 0.2\n\
        ls /proc | grep -c '^[0-9]'; ls /dev/shm; ipcs -m | grep -c '^0x'\n\
        [ $(stat -c %d /run/egress/proxy.sock) = $(cat device) ] && echo same way out\n\
        python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect(chr(0)+'abstract')\" 2>&1 | tail -1\n\
        kill -9 -1 2>/dev/null; touch stop";
    let (one, other) = tokio::join!(desk.call(1, shell(first)), desk.call(1, shell(second)));
    let seen = other.stdout;
    assert!(one.ok().contains("survived"));
    let lines: Vec<_> = seen.lines().collect();
    assert!(
        lines[0].parse::<u32>().expect("a number") <= 6,
        "processes: {seen}"
    );
    assert_eq!(lines[1], "0", "shared memory: {seen}");
    assert!(!seen.contains("same way out"), "{seen}");
    assert!(
        lines[2].contains("PermissionError"),
        "an abstract socket of another call: {seen}"
    );
}

/// R26, I9: what a call started is dead when it has ended, however it was started.
pub(crate) async fn nothing_outlives_its_call(desk: Desk) {
    desk.session(1).await;
    let daemon = "(setsid sh -c 'sleep 0.3; echo alive > /workspace/alive' >/dev/null 2>&1 &) ; echo started";
    assert_eq!(desk.call(1, shell(daemon)).await.ok(), "started\n");
    let fork = "import os, time\n\
        if os.fork() == 0:\n    os.setsid()\n    time.sleep(0.3)\n    open('/workspace/alive', 'w').close()\n    os._exit(0)\n\
        print('started')";
    assert_eq!(desk.call(1, cell(fork)).await.ok(), "started\n");
    let look = desk.call(1, shell("sleep 0.6; ls /workspace")).await.ok();
    assert!(!look.contains("alive"), "{look}");
}

/// After a fork everything that must differ differs; see also the tests of the modules that run cells.
pub(crate) async fn copies_of_an_interpreter_differ(desk: Desk) {
    desk.session(1).await;
    desk.session(2).await;
    let draw = "import random, uuid, tempfile, os, secrets, ssl\n\
        print(random.random(), uuid.uuid1(), uuid.getnode(), next(tempfile._get_candidate_names()), os.urandom(8), ssl.RAND_bytes(8))\n\
        print(os.getpid(), os.getppid())";
    let mut seen = Vec::new();
    for session in [1, 1, 2, 1] {
        seen.push(desk.call(session, cell(draw)).await.ok());
    }
    let drawn: Vec<Vec<&str>> = seen
        .iter()
        .map(|text| text.lines().next().expect("a line").split(' ').collect())
        .collect();
    for (index, one) in drawn.iter().enumerate() {
        for other in &drawn[index + 1..] {
            for (mine, theirs) in one.iter().zip(other) {
                assert_ne!(mine, theirs, "{seen:?}");
            }
        }
    }
    // All of them have the same number in their namespaces, which is why numbers of processes do not help.
    assert!(
        seen.iter()
            .all(|text| text.lines().nth(1) == seen[0].lines().nth(1)),
        "{seen:?}"
    );
}

/// R27, R42: a call that takes too long is killed, and the session lives on.
pub(crate) async fn a_call_that_takes_too_long_is_killed(desk: Desk) {
    desk.session(1).await;
    for command in [
        shell("sleep 60"),
        cell("while True: pass"),
        cell("import time; time.sleep(60)"),
    ] {
        let place = PlaceSpec {
            limits: Limits {
                wall_ms: 300,
                ..Limits::default()
            },
            ..desk.place(1)
        };
        let done = desk.call_in(place, command).await.expect("a call");
        assert_eq!(done.ended.cause, Cause::TimedOut);
    }
    assert_eq!(desk.call(1, cell("print(1)")).await.ok(), "1\n");
}

/// A cancelled call is interrupted, and killed when that does not help.
pub(crate) async fn a_cancelled_call_is_interrupted_and_then_killed(desk: Desk) {
    desk.session(1).await;
    let interrupt = |control: &tokio::sync::mpsc::Sender<Control>| {
        let _ = control.try_send(Control::Interrupt(Signal::Interrupt));
    };
    let polite = "import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('bye')";
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let done = desk
        .run(place, cell(polite), Vec::new(), interrupt)
        .await
        .expect("a call");
    assert_eq!(
        (done.ended.cause, done.stdout.as_str()),
        (Cause::Cancelled, "ready\nbye\n")
    );
    let deaf = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('ready', flush=True)\nwhile True: time.sleep(1)";
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let done = desk
        .run(place, cell(deaf), Vec::new(), interrupt)
        .await
        .expect("a call");
    assert_eq!(
        (done.ended.cause, done.ended.exit),
        (Cause::Cancelled, None)
    );
}

/// Standard input reaches programs and cells.
pub(crate) async fn input_reaches_programs_and_cells(desk: Desk) {
    desk.session(1).await;
    for command in [
        program(&["cat"]),
        cell("import sys\nprint(sys.stdin.read(), end='')"),
    ] {
        let place = desk.keeper.place(desk.place(1)).await.expect("a place");
        let done = desk
            .run(place, command, b"some input\n".to_vec(), |_| {})
            .await
            .expect("a call");
        assert_eq!(done.ok(), "some input\n");
    }
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let done = desk
        .run(
            place,
            cell("print(input() + '!')"),
            b"line\n".to_vec(),
            |_| {},
        )
        .await;
    assert_eq!(done.expect("a call").ok(), "line!\n");
}

/// R41: declared inputs are there for their call, read-only, and for no other.
pub(crate) async fn inputs_are_read_only_and_of_one_call(desk: Desk) {
    desk.session(1).await;
    desk.call(
        1,
        shell("mkdir -p /workspace/in; echo mine > /workspace/in/own"),
    )
    .await
    .ok();
    let input = || {
        let mut file = tempfile::tempfile().expect("a file");
        std::io::Write::write_all(&mut file, b"content").expect("room");
        std::io::Seek::rewind(&mut file).expect("a start");
        InputFile {
            name: "data.txt".into(),
            file,
        }
    };
    for command in [
        shell(
            "cat in/data.txt; ls in; echo x 2>/dev/null > in/data.txt; touch in/new 2>/dev/null; rm -f in/data.txt 2>/dev/null; ls in",
        ),
        cell(
            "import os\nprint(open('in/data.txt').read(), end='')\nfor _ in range(2):\n    print(*os.listdir('in'))\n    try: open('in/new', 'w')\n    except OSError: pass",
        ),
    ] {
        let place = PlaceSpec {
            inputs: vec![input()],
            ..desk.place(1)
        };
        let done = desk.call_in(place, command).await.expect("a call");
        assert_eq!(done.stdout, "contentdata.txt\ndata.txt\n", "{done:?}");
    }
    assert_eq!(desk.call(1, shell("ls in")).await.ok(), "own\n");
    // A link in its place leads the inputs nowhere else.
    desk.call(1, shell("rm -r in; ln -s /etc in")).await.ok();
    let place = PlaceSpec {
        inputs: vec![input()],
        ..desk.place(1)
    };
    let refused = desk.call_in(place, shell("true")).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(
        desk.call(1, shell("echo on")).await.ok(),
        "on\n",
        "the session lives on"
    );
}

/// A terminal: its size, a new size, its interrupt key, its end.
pub(crate) async fn a_program_can_have_a_terminal(desk: Desk) {
    desk.session(1).await;
    let mut command = shell(
        "trap 'stty size; exit 3' WINCH; told=\"$(tty) $(stty size)\"; echo \"$told\"; while :; do sleep 0.02; done",
    );
    command.terminal = Some(TerminalSize {
        rows: 24,
        columns: 80,
    });
    let resize = |control: &tokio::sync::mpsc::Sender<Control>| {
        let size = TerminalSize {
            rows: 50,
            columns: 132,
        };
        let _ = control.try_send(Control::Resize(size));
    };
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let done = desk
        .run(place, command.clone(), Vec::new(), resize)
        .await
        .expect("a call");
    assert!(done.stdout.starts_with("/dev/pts/0 24 80\r\n"), "{done:?}");
    assert!(done.stdout.contains("50 132"), "{done:?}");
    assert_eq!(done.ended.exit, Some(Exit::Code(3)));
    // The interrupt key reaches the foreground, as on every terminal.
    command.argv = vec!["bash".into(), "-c".into(), "echo ready; sleep 60".into()];
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let done = desk
        .run(place, command.clone(), vec![3], |_| {})
        .await
        .expect("a call");
    assert_eq!(done.ended.cause, Cause::Completed);
    assert!(
        matches!(done.ended.exit, Some(Exit::Signal(2) | Exit::Code(130))),
        "{done:?}"
    );
    // The end of input is told by its character.
    command.argv = vec!["cat".into()];
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let done = desk
        .run(place, command, b"echoed\n".to_vec(), |_| {})
        .await
        .expect("a call");
    assert_eq!(
        (done.ended.exit, done.stdout.matches("echoed").count()),
        (Some(Exit::Code(0)), 2)
    );
}

/// A signal on demand reaches the program, which goes on if it wants to.
pub(crate) async fn a_signal_on_demand_is_delivered(desk: Desk) {
    desk.session(1).await;
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let command =
        shell("trap 'echo got it; exit 5' USR1; echo ready; while :; do sleep 0.02; done");
    let deliver = |control: &tokio::sync::mpsc::Sender<Control>| {
        let _ = control.try_send(Control::Deliver(10));
    };
    let done = desk
        .run(place, command, Vec::new(), deliver)
        .await
        .expect("a call");
    assert_eq!(
        (done.ended.cause, done.ended.exit),
        (Cause::Completed, Some(Exit::Code(5)))
    );
    assert_eq!(done.stdout, "ready\ngot it\n");
}

/// R237: attempts are listed with the call that made them, and with no other.
pub(crate) async fn denied_attempts_belong_to_their_call(desk: Desk) {
    desk.session(1).await;
    let attempt = "import ctypes, socket\nctypes.CDLL(None).unshare(0x10000000)\n\
        s = socket.socket(socket.AF_UNIX); s.connect('/run/egress/proxy.sock'); print(s.recv(10))\n\
        try: socket.create_connection(('192.0.2.1', 443), 1)\nexcept OSError: pass";
    let (done, quiet) = tokio::join!(
        desk.call(1, cell(attempt)),
        desk.call(1, shell("sleep 0.5"))
    );
    let kinds = |done: &Done| -> Vec<String> {
        let attempts = done.ended.denied.iter();
        attempts
            .map(|denied| format!("{} {}", denied.kind, denied.what))
            .collect()
    };
    assert_eq!(
        kinds(&done),
        [
            "egress /run/egress/proxy.sock",
            "network 192.0.2.1:443",
            "syscall unshare"
        ],
        "{done:?}"
    );
    assert_eq!(done.stdout, "b''\n", "nobody is behind the way out");
    assert!(kinds(&quiet).is_empty(), "{quiet:?}");
}

/// A program that takes the name of Python has nothing of the interpreter; one that cannot be executed says so.
pub(crate) async fn what_cannot_be_executed_has_the_shells_exit_codes(desk: Desk) {
    desk.session(1).await;
    let done = desk.call(1, program(&["no-such-program"])).await;
    assert_eq!(
        (done.ended.cause, done.ended.exit),
        (Cause::NotExecutable, Some(Exit::Code(127)))
    );
    let done = desk.call(1, program(&["/etc/hosts"])).await;
    assert_eq!(done.ended.exit, Some(Exit::Code(126)));
    let mut without = spec(2);
    without.kind.python = false;
    desk.keeper.open(without).await.expect("a session");
    assert_eq!(desk.call(2, program(&["echo", "x"])).await.ok(), "x\n");
    let refused = desk.call_in(desk.place(2), cell("1")).await;
    assert!(matches!(refused, Err(KeeperError::Spec(_))), "{refused:?}");
    assert_eq!(session_id(2), desk.place(2).session);
}

/// Nothing that was written before the end is lost, whoever wrote it and however the end came.
pub(crate) async fn the_last_words_are_heard(desk: Desk) {
    desk.session(1).await;
    let raw = "import os, subprocess\nprint('a')\nos.write(1, b'b\\n')\nsubprocess.run(['echo', 'c'])\nos.write(2, b'd')";
    for _ in 0..10 {
        let done = desk.call(1, cell(raw)).await;
        assert_eq!(
            (done.stdout.as_str(), done.stderr.as_str()),
            ("a\nb\nc\n", "d"),
            "{done:?}"
        );
    }
    let exits = "import atexit, threading, time\natexit.register(lambda: print('last'))\n\
        threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\nprint('first')";
    assert_eq!(
        desk.call(1, cell(exits)).await.ok(),
        "first\nthread\nlast\n"
    );
    let large = "import sys, os\nsys.stdout.write('x' * 300_000)\nos.write(1, b'y' * 60_000)";
    let done = desk.call(1, cell(large)).await;
    assert_eq!(done.stdout.len(), 360_000, "{:?}", done.ended);
}
