use proptest::{collection::vec, prelude::*};

use super::*;

fn from_guest() -> impl Strategy<Value = FromGuest> {
    let bytes = || vec(any::<u8>(), 0..300);
    prop_oneof![
        any::<u32>().prop_map(FromGuest::Hello),
        Just(FromGuest::Started),
        bytes().prop_map(FromGuest::Stdout),
        bytes().prop_map(FromGuest::Stderr),
        Just(FromGuest::StdinTaken),
        any::<u32>().prop_map(|errno| FromGuest::ExecFailed(ExecFailure { errno })),
        (
            prop_oneof![any::<u8>().prop_map(Ok), (1_u8..=64).prop_map(Err)],
            any::<u64>()
        )
            .prop_map(|(end, cpu_us)| FromGuest::Exited(Exited {
                code: end.ok(),
                signal: end.err(),
                cpu_us,
                memory_peak_bytes: !cpu_us,
            })),
    ]
}

fn to_guest() -> impl Strategy<Value = ToGuest> {
    let list = || vec(vec(1_u8.., 0..20), 0..20);
    prop_oneof![
        (list(), list()).prop_map(|(argv, env)| ToGuest::Exec(Exec {
            argv,
            env,
            terminal: None
        })),
        vec(any::<u8>(), 0..300).prop_map(ToGuest::Stdin),
        Just(ToGuest::StdinClosed),
        (1_u8..=64).prop_map(ToGuest::Signal),
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
    (messages, None)
}

fn encode<M: Message>(messages: &[M]) -> Vec<u8> {
    let mut bytes = Vec::new();
    messages
        .iter()
        .for_each(|message| message.encode(&mut bytes).unwrap());
    bytes
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(
        guest in vec(from_guest(), 0..8),
        keeper in vec(to_guest(), 0..8),
        cuts in vec(1_usize..40, 1..10),
    ) {
        prop_assert_eq!(decode(&encode(&guest), &cuts), (guest, None));
        prop_assert_eq!(decode(&encode(&keeper), &cuts), (keeper, None));
    }

    /// I6, I15: whatever a guest sends, the keeper neither panics nor keeps more than one frame.
    #[test]
    fn hostile_bytes_end_in_an_error_or_in_whole_frames(bytes in vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::<FromGuest>::default();
        decoder.push(&bytes);
        let mut error = None;
        for _ in 0..=bytes.len() {
            match decoder.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(first) => { error = Some(first); break }
            }
        }
        if let Some(error) = error {
            decoder.push(&encode(&[FromGuest::Started]));
            prop_assert_eq!(decoder.next_frame(), Err(error), "a broken stream stays broken");
        }
    }
}

/// I15: the announced length is refused before a byte of it is stored.
#[test]
fn a_length_over_the_limit_is_refused_at_the_header() {
    for (kind, len) in [
        (3_u8, MAX_CHUNK_BYTES + 1),
        (4, u32::MAX as usize),
        (2, 1),
        (1, 5),
    ] {
        let mut bytes = u32::try_from(len).unwrap().to_le_bytes().to_vec();
        bytes.push(kind);
        let (messages, error) = decode::<FromGuest>(&bytes, &[9]);
        let max = FromGuest::max_bytes(kind).unwrap();
        assert_eq!(
            (messages, error),
            (vec![], Some(FrameError::TooLong { len, max }))
        );
    }
}

/// I6: a frame of the other direction, an unknown kind and impossible fields are refused.
#[test]
fn frames_that_say_nonsense_are_refused() {
    let exec = encode(&[ToGuest::Exec(Exec {
        argv: vec![b"x".to_vec()],
        env: vec![],
        terminal: None,
    })]);
    assert!(decode::<FromGuest>(&exec, &[99]).1.is_some());
    assert_eq!(
        decode::<FromGuest>(&[0, 0, 0, 0, 99], &[5]).1,
        Some(FrameError::Kind(99))
    );
    let exit_by_no_signal = [&[18, 0, 0, 0, 6, 1, 0][..], &[0; 16]].concat();
    assert_eq!(
        decode::<FromGuest>(&exit_by_no_signal, &[99]).1,
        Some(FrameError::Field("exit status"))
    );
    assert_eq!(
        decode::<FromGuest>(&[3, 0, 0, 0, 1, 0, 0, 0], &[9]).1,
        Some(FrameError::Short)
    );
    assert_eq!(
        decode::<ToGuest>(&[1, 0, 0, 0, 4, 0], &[9]).1,
        Some(FrameError::Field("signal"))
    );
    let mut out = vec![7];
    let nul = ToGuest::Exec(Exec {
        argv: vec![b"a\0b".to_vec()],
        env: vec![],
        terminal: None,
    });
    assert_eq!(nul.encode(&mut out), Err(FrameError::Field("NUL byte")));
    assert_eq!(out, [7], "a refused frame leaves nothing behind");
}
