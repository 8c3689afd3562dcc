//! The loop against guests that lie, flood, stall and vanish.

use std::os::unix::net::UnixStream as StdUnixStream;

use casemate_frames::{Decoder, ExecFailure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::mpsc,
};

use super::*;

/// The caller's ends of the channels, and the guest's end of the socket.
struct Caller {
    stdin: mpsc::Sender<Vec<u8>>,
    control: mpsc::Sender<Control>,
    events: mpsc::Receiver<Event>,
    guest: UnixStream,
}

fn limits() -> Limits {
    Limits {
        wall_ms: 10_000,
        output_bytes: 10,
        ..Limits::default()
    }
}

/// Runs one program whose guest, and whose caller, `play` plays. What it leaves stays until the end.
fn run(limits: Limits, play: impl AsyncFnOnce(&mut Caller)) -> Ended {
    run_for_output(limits, play).0
}

/// As [`run`]; gives what is still in the channel at the end.
fn run_for_output(
    limits: Limits,
    play: impl AsyncFnOnce(&mut Caller),
) -> (Ended, Vec<(Stream, Vec<u8>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        let stream = |end: StdUnixStream| {
            end.set_nonblocking(true).unwrap();
            UnixStream::from_std(end).unwrap()
        };
        let mut guest = Guest {
            socket: stream(ours),
            decoder: Decoder::default(),
            buffer: vec![0; 1024],
            unsaid: Vec::new(),
        };
        let (stdin, stdin_in) = mpsc::channel(4);
        let (control, control_in) = mpsc::channel(4);
        let (events_out, events) = mpsc::channel(4);
        let io = CallIo {
            stdin: stdin_in,
            control: control_in,
            events: events_out,
        };
        let command = Command {
            argv: vec!["x".into()],
            env: BTreeMap::new(),
            ..Command::default()
        };
        let order = ToGuest::Exec(exec(&command, &BTreeMap::new()));
        let run =
            Run::new(&mut guest, Sentinels::default(), &limits, Ending::Kill, io).drive(&order);
        let mut caller = Caller {
            stdin,
            control,
            events,
            guest: stream(theirs),
        };
        let play = async {
            play(&mut caller).await;
            std::future::pending::<()>().await;
        };
        let seen = tokio::select! { seen = run => seen, () = play => panic!("never ends") };
        let mut output = Vec::new();
        while let Ok(Event::Output(stream, bytes)) = caller.events.try_recv() {
            output.push((stream, bytes));
        }
        (seen.unwrap().into_ended(MemoryLimit::Held), output)
    })
}

async fn say(caller: &mut Caller, frames: &[FromGuest]) {
    let mut bytes = Vec::new();
    frames
        .iter()
        .for_each(|frame| frame.encode(&mut bytes).unwrap());
    let _ = caller.guest.write_all(&bytes).await;
}

fn exited(code: u8) -> FromGuest {
    FromGuest::Exited(Exited {
        code: Some(code),
        signal: None,
        cpu_us: 7,
        memory_peak_bytes: 9,
    })
}

#[test]
fn a_program_that_ends_is_completed_with_its_code_and_usage() {
    let ended = run(limits(), async |caller| {
        say(caller, &[FromGuest::Started, exited(3)]).await;
    });
    assert_eq!(
        (ended.cause, ended.exit),
        (Cause::Completed, Some(Exit::Code(3)))
    );
    assert_eq!((ended.usage.cpu_us, ended.usage.memory_peak_bytes), (7, 9));
}

/// R44: what the memory limit ended says so, also where gVisor tells of what the host killed as of a program that failed;
/// and a program that got on without what was killed has ended as it says.
#[test]
fn what_the_memory_limit_killed_is_told_by_its_cause() {
    let ended = |exit, limit| {
        let seen = Seen {
            cause: Cause::Completed,
            exit,
            usage: Usage::default(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            results_bytes: 0,
            output_truncated: false,
            stays: false,
            denied: Denied::default(),
        };
        seen.into_ended(limit).cause
    };
    use Cause::{Completed, MemoryExceeded};
    use MemoryLimit::{Held, Killed, KilledBelowGvisor};
    for (exit, limit, cause) in [
        (Some(Exit::Code(1)), KilledBelowGvisor, MemoryExceeded),
        (Some(Exit::Signal(9)), KilledBelowGvisor, MemoryExceeded),
        (None, KilledBelowGvisor, MemoryExceeded),
        (Some(Exit::Code(0)), KilledBelowGvisor, Completed),
        (Some(Exit::Code(1)), Killed, Completed),
        (Some(Exit::Signal(9)), Killed, MemoryExceeded),
        (Some(Exit::Code(1)), Held, Completed),
        (Some(Exit::Signal(9)), Held, Completed),
    ] {
        assert_eq!(ended(exit, limit), cause, "{exit:?} {limit:?}");
    }
}

/// I6: whatever is not the protocol, at this point of it, ends the sandbox.
#[test]
fn a_guest_that_lies_is_lost() {
    let lies: [&[u8]; 5] = [
        b"\xff\xff\xff\xff\x03",           // four gigabytes of output announced
        b"\x00\x00\x00\x00\x63",           // no such frame
        b"\x04\x00\x00\x00\x01\x01\0\0\0", // hello again
        b"\x00\x00\x00\x00\x05",           // took input that nobody sent
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for lie in lies {
        let ended = run(limits(), async |caller| {
            caller.guest.write_all(lie).await.unwrap();
            caller.events.recv().await;
        });
        assert_eq!(
            (ended.cause, ended.exit),
            (Cause::SandboxLost, None),
            "{lie:?}"
        );
    }
    let ended = run(limits(), async |caller| {
        caller.guest.shutdown().await.unwrap()
    });
    assert_eq!(ended.cause, Cause::SandboxLost, "a guest that vanishes");
}

/// R48: what is beyond the limit is counted and dropped, on both streams together.
#[test]
fn output_is_given_back_up_to_the_limit() {
    let (ended, given) = run_for_output(limits(), async |caller| {
        let frames = [
            FromGuest::Stdout(b"123456".to_vec()),
            FromGuest::Stderr(b"abcdef".to_vec()),
            FromGuest::Stdout(b"more".to_vec()),
            exited(0),
        ];
        say(caller, &frames).await;
    });
    assert_eq!(
        given,
        [
            (Stream::Stdout, b"123456".to_vec()),
            (Stream::Stderr, b"abcd".to_vec())
        ]
    );
    assert_eq!((ended.stdout_bytes, ended.stderr_bytes), (10, 6));
    assert!(ended.output_truncated);
}

/// R42, I15: a consumer that stalls, and a program that floods, do not stop the clock.
#[test]
fn the_clock_runs_while_the_consumer_stalls() {
    let stalled = Limits {
        wall_ms: 50,
        output_bytes: 1 << 30,
        ..Limits::default()
    };
    let ended = run(stalled, async |caller| {
        for _ in 0..100 {
            let flood = FromGuest::Stdout(vec![b'x'; MAX_CHUNK_BYTES]);
            let mut bytes = Vec::new();
            flood.encode(&mut bytes).unwrap();
            if caller.guest.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    assert_eq!((ended.cause, ended.exit), (Cause::TimedOut, None));
}

/// R27: a caller that goes away, or gives up, takes the program with it.
#[test]
fn nobody_runs_for_a_caller_who_left() {
    let left = run(limits(), async |caller| caller.control = mpsc::channel(1).0);
    assert_eq!(left.cause, Cause::Cancelled);
    let deaf = run(limits(), async |caller| caller.events.close());
    assert_eq!(deaf.cause, Cause::Cancelled);
}

/// A program that does not read its input cannot hold up the cancel.
#[test]
fn a_full_standard_input_does_not_hold_up_a_cancel() {
    let ended = run(limits(), async |caller| {
        for _ in 0..4 {
            caller.stdin.send(vec![0; 1024]).await.unwrap();
        }
        caller.control.send(Control::Cancel).await.unwrap();
    });
    assert_eq!((ended.cause, ended.exit), (Cause::Cancelled, None));
}

#[test]
fn an_interrupt_reaches_the_program_and_its_end_counts_as_cancelled() {
    let ended = run(limits(), async |caller| {
        caller
            .control
            .send(Control::Interrupt(Signal::Interrupt))
            .await
            .unwrap();
        let mut decoder = Decoder::<ToGuest>::default();
        let mut buffer = [0; 512];
        loop {
            let count = caller.guest.read(&mut buffer).await.unwrap();
            decoder.push(&buffer[..count]);
            while let Some(frame) = decoder.next_frame().unwrap() {
                if frame == ToGuest::Signal(2) {
                    return say(caller, &[exited(130)]).await;
                }
            }
        }
    });
    assert_eq!(
        (ended.cause, ended.exit),
        (Cause::Cancelled, Some(Exit::Code(130)))
    );
}

#[test]
fn what_cannot_be_executed_has_the_shells_exit_codes() {
    for (errno, code) in [(2, 127), (13, 126), (8, 126), (u32::MAX, 126)] {
        let ended = run(limits(), async |caller| {
            say(caller, &[FromGuest::ExecFailed(ExecFailure { errno })]).await;
        });
        assert_eq!(
            (ended.cause, ended.exit),
            (Cause::NotExecutable, Some(Exit::Code(code)))
        );
    }
}

/// R30: nothing is inherited; what is declared wins over the base.
#[test]
fn the_environment_is_the_base_and_what_was_declared() {
    let declared = BTreeMap::from([("HOME".into(), "/x".into()), ("A".into(), "1=2".into())]);
    let names: Vec<String> = environment(&declared, &BTreeMap::new())
        .into_iter()
        .map(|entry| String::from_utf8(entry).unwrap())
        .collect();
    assert!(names.contains(&"HOME=/x".into()) && names.contains(&"A=1=2".into()));
    assert_eq!(
        names
            .iter()
            .filter(|entry| entry.starts_with("HOME="))
            .count(),
        1
    );
    assert_eq!(names.len(), BASE_ENV.len() + 1);
}

/// A program can end before it is told that its input has ended.
#[test]
fn an_end_that_crosses_with_the_end_of_input_counts() {
    let ended = run(limits(), async |caller| {
        caller.guest.readable().await.unwrap();
        say(caller, &[FromGuest::Started, exited(0)]).await;
        let (gone, _) = StdUnixStream::pair().unwrap();
        gone.set_nonblocking(true).unwrap();
        caller.guest = UnixStream::from_std(gone).unwrap();
        caller.stdin = mpsc::channel(1).0;
    });
    assert_eq!(
        (ended.cause, ended.exit),
        (Cause::Completed, Some(Exit::Code(0)))
    );
}
