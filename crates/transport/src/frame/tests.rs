use std::collections::BTreeMap;

use casemate_model::{Artefact, Cause, Exit, Stream, Text, Usage};
use casemate_ports::{
    Cell, Command, Control, Echo, Ended, FileFault, KeeperError, Signal, TerminalSize,
};
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::{
    fault::Fault,
    from_keeper::FromKeeper,
    to_keeper::{Run, ToKeeper},
};

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = Text> {
    vec(any::<u8>(), 0..30).prop_map(Text::from)
}

fn size() -> impl Strategy<Value = TerminalSize> {
    any::<(u16, u16)>().prop_map(|(rows, columns)| TerminalSize { rows, columns })
}

fn command() -> impl Strategy<Value = Command> {
    let cell = (vec(any::<u8>(), 0..50), any::<bool>()).prop_map(|(source, last)| Cell {
        source,
        echo: if last { Echo::Last } else { Echo::Nothing },
    });
    let env = vec(("[A-Z]{1,9}", text()), 0..4).prop_map(BTreeMap::from_iter);
    (vec(text(), 0..5), env, option::of(cell), option::of(size())).prop_map(
        |(argv, env, cell, terminal)| Command {
            argv,
            env,
            cell,
            terminal,
        },
    )
}

fn to_keeper() -> impl Strategy<Value = ToKeeper> {
    prop_oneof![
        bytes().prop_map(ToKeeper::Head),
        bytes().prop_map(ToKeeper::Input),
        bytes().prop_map(ToKeeper::Data),
        Just(ToKeeper::End),
        bytes().prop_map(ToKeeper::Source),
        command().prop_map(|command| Run::frames(command).1),
        prop_oneof![
            Just(Control::Cancel),
            Just(Control::Interrupt(Signal::Terminate)),
            any::<u8>().prop_map(Control::Deliver),
            size().prop_map(Control::Resize),
        ]
        .prop_map(ToKeeper::Control),
    ]
}

fn ended() -> impl Strategy<Value = Ended> {
    (any::<u64>(), option::of(any::<u8>()), any::<bool>()).prop_map(|(number, code, truncated)| {
        Ended {
            cause: Cause::MemoryExceeded,
            exit: code.map(Exit::Code),
            usage: Usage {
                wall_ms: number,
                cpu_us: !number,
                memory_peak_bytes: 7,
            },
            stdout_bytes: number / 2,
            stderr_bytes: number / 3,
            results_bytes: number / 5,
            output_truncated: truncated,
            denied: Vec::new(),
            violations: Vec::new(),
        }
    })
}

fn from_keeper() -> impl Strategy<Value = FromKeeper> {
    let stream = prop_oneof![
        Just(Stream::Stdout),
        Just(Stream::Stderr),
        Just(Stream::Results)
    ];
    let artefact = (text(), any::<u64>()).prop_map(|(path, bytes)| Artefact {
        path,
        bytes,
        sha256: None,
        skipped: None,
    });
    prop_oneof![
        any::<u64>().prop_map(FromKeeper::Size),
        bytes().prop_map(FromKeeper::Data),
        Just(()).prop_map(|()| FromKeeper::End),
        (stream, bytes()).prop_map(|(stream, bytes)| FromKeeper::Output(stream, bytes)),
        Just(()).prop_map(|()| FromKeeper::Room),
        Just(()).prop_map(|()| FromKeeper::StdinClosed),
        ended().prop_map(FromKeeper::Ended),
        text().prop_map(|path| {
            let fault = FileFault::NoSpace;
            FromKeeper::Failed(Fault::Keeper(KeeperError::File { path, fault }))
        }),
        vec(artefact, 0..4).prop_map(FromKeeper::Collected),
    ]
}

/// Decodes `bytes`, given in pieces of the sizes `cuts`, until the end or the first error.
fn decode<M: Message>(bytes: &[u8], cuts: &[usize]) -> (Vec<M>, Option<FrameError>) {
    let (mut decoder, mut messages, mut rest) = (Decoder::default(), Vec::new(), bytes);
    let mut cuts = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let (piece, tail) = rest.split_at(cuts.next().unwrap_or(1).clamp(1, rest.len()));
        rest = tail;
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, decoder.end().err())
}

fn encode<M: Message>(messages: &[M]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| message.encode().unwrap())
        .collect()
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(
        there in vec(to_keeper(), 0..8),
        back in vec(from_keeper(), 0..8),
        cuts in vec(1_usize..40, 1..10),
    ) {
        prop_assert_eq!(decode(&encode(&there), &cuts), (there, None));
        let (heard, error) = decode::<FromKeeper>(&encode(&back), &cuts);
        prop_assert_eq!(format!("{heard:?}"), format!("{back:?}"));
        prop_assert_eq!(error, None);
    }

    #[test]
    fn a_command_is_the_same_on_the_other_side(command in command()) {
        let (source, run) = Run::frames(command.clone());
        let source = match source {
            Some(ToKeeper::Source(source)) => source,
            _ => Bytes::new(),
        };
        let ToKeeper::Run(run) = run else { panic!("{run:?}") };
        prop_assert_eq!(run.command(source), command);
    }

    /// I6, I15: whatever the other side sends, nobody panics, and what follows an error is not kept.
    #[test]
    fn noise_is_an_error_or_a_frame_and_nothing_else(
        noise in vec(any::<u8>(), 0..2_000),
        kind in 0_u8..20,
        len in prop_oneof![0_u32..200, any::<u32>()],
        cuts in vec(1_usize..400, 1..10),
    ) {
        let framed: Vec<u8> = len.to_le_bytes().into_iter().chain([kind]).chain(noise.clone()).collect();
        for bytes in [noise, framed] {
            decode::<ToKeeper>(&bytes, &cuts);
            decode::<FromKeeper>(&bytes, &cuts);
        }
    }

    #[test]
    fn a_frame_cut_off_is_no_frame(message in to_keeper(), cut in 1_usize..5) {
        let whole = message.encode().unwrap();
        let part = &whole[..whole.len() - cut];
        prop_assert_eq!(decode::<ToKeeper>(part, &[7]), (vec![], Some(FrameError::CutOff)));
    }
}

#[test]
fn an_oversized_frame_is_refused_by_its_header_and_nothing_after_it_is_kept() {
    let mut decoder = Decoder::<ToKeeper>::default();
    decoder.push(&[1, 0, 1, 0, 3]);
    let error = FrameError::TooLong {
        len: 65_537,
        max: 65_536,
    };
    assert_eq!(decoder.next_frame(), Err(error.clone()));
    decoder.push(&[0; 100_000]);
    assert_eq!(decoder.next_frame(), Err(error));
    assert_eq!(decoder.buffer.capacity(), 0);
    let large = ToKeeper::Data(Bytes::from(vec![0; 65_537]));
    assert!(matches!(large.encode(), Err(FrameError::TooLong { .. })));
}

#[test]
fn json_with_something_more_is_no_frame() {
    for (kind, payload) in [
        (
            6,
            r#"{"argv":[],"env":{},"echo":null,"terminal":null,"more":1}"#,
        ),
        (6, "{}"),
        (6, ""),
        (7, r#""cancel" "cancel""#),
        (7, r#"{"deliver":256}"#),
        (4, "x"),
        (0, ""),
        (8, ""),
    ] {
        let mut frame = u32::try_from(payload.len()).unwrap().to_le_bytes().to_vec();
        frame.push(kind);
        frame.extend(payload.as_bytes());
        let (heard, error) = decode::<ToKeeper>(&frame, &[1]);
        assert!(
            heard.is_empty() && error.is_some(),
            "{kind} {payload}: {heard:?}"
        );
    }
}
