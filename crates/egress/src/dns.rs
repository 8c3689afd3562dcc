//! Questions of the sandbox's resolver, read and answered. Nobody else is ever asked.

use std::net::Ipv4Addr;

use crate::{
    Code, Name,
    limits::{DNS_TTL_S, MAX_DNS_BYTES, MAX_LABEL_BYTES, MAX_NAME_BYTES},
};

const HEADER_BYTES: usize = 12;
const IN: u16 = 1;
const A: u16 = 1;
const OPT: u16 = 41;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    id: [u8; 2],
    recursion: bool,
    /// The question as it came, to be repeated.
    asked: Vec<u8>,
    pub(crate) name: Result<Name, Code>,
    kind: u16,
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This address, if an address of IPv4 was asked for, and otherwise nothing.
    Address(Ipv4Addr),
    /// There is no such name.
    NoName,
    /// Not now.
    Failure,
}

impl Question {
    /// The one question in `message`. What is no question is not answered: an answer to an answer would go round.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let [
            id_high,
            id_low,
            flags,
            _,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            additional,
            rest @ ..,
        ] = message
        else {
            return None;
        };
        // A standard query, and neither an answer nor cut off.
        if message.len() > MAX_DNS_BYTES || flags & 0b1111_1010 != 0 || *additional > 1 {
            return None;
        }
        let (text, after) = labels(rest)?;
        let asked = rest.len().checked_sub(after.len())?.checked_add(4)?;
        let [kind_high, kind_low, class_high, class_low, extra @ ..] = after else {
            return None;
        };
        if u16::from_be_bytes([*class_high, *class_low]) != IN || !is_extra(extra, *additional) {
            return None;
        }
        Some(Self {
            id: [*id_high, *id_low],
            recursion: flags & 1 == 1,
            asked: rest.get(..asked)?.to_vec(),
            name: Name::parse(&text),
            kind: u16::from_be_bytes([*kind_high, *kind_low]),
        })
    }

    /// The message that answers it.
    pub(crate) fn answer(&self, answer: Answer) -> Vec<u8> {
        let (status, address) = match answer {
            Answer::Address(address) if self.kind == A => (0, Some(address)),
            Answer::Address(_) => (0, None),
            Answer::NoName => (3, None),
            Answer::Failure => (2, None),
        };
        let mut message = Vec::with_capacity(HEADER_BYTES + self.asked.len() + 16);
        message.extend(self.id);
        // An answer, with recursion offered to whoever wants it: a resolver that had neither would not be believed.
        message.extend([0b1000_0000 | u8::from(self.recursion), 0b1000_0000 | status]);
        message.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
        message.extend(&self.asked);
        if let Some(address) = address {
            // The name of the question, by its place.
            message.extend([0xc0, 12, 0, 1, 0, 1]);
            message.extend(DNS_TTL_S.to_be_bytes());
            message.extend([0, 4]);
            message.extend(address.octets());
        }
        message
    }
}

/// The labels in front, as text, and what follows them. A question has nothing to point back at.
fn labels(mut rest: &[u8]) -> Option<(String, &[u8])> {
    let mut text = String::new();
    loop {
        let (length, more) = rest.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            return Some((text, more));
        }
        let (label, more) = more.split_at_checked(length)?;
        if length > MAX_LABEL_BYTES || text.len() + length > MAX_NAME_BYTES {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        // A dot inside a label would become one between labels.
        text.extend(label.iter().map(|byte| match byte {
            b'.' => '?',
            byte if byte.is_ascii() => char::from(*byte),
            _ => '?',
        }));
        rest = more;
    }
}

/// Whether what follows is the one record by which a client says how long an answer may be.
fn is_extra(extra: &[u8], count: u8) -> bool {
    match (count, extra) {
        (0, []) => true,
        (
            1,
            [
                0,
                high,
                low,
                _,
                _,
                _,
                _,
                _,
                _,
                size_high,
                size_low,
                options @ ..,
            ],
        ) => {
            u16::from_be_bytes([*high, *low]) == OPT
                && options.len() == usize::from(u16::from_be_bytes([*size_high, *size_low]))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &[&[u8]], kind: u16) -> Vec<u8> {
        let mut message = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(*label);
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1]);
        message
    }

    #[test]
    fn an_address_is_answered_and_nothing_else() {
        let question = Question::parse(&query(&[b"GOOD", b"test"], A)).unwrap();
        assert_eq!(question.name, Name::parse("good.test"));
        let address = Ipv4Addr::new(198, 18, 0, 1);
        let answer = question.answer(Answer::Address(address));
        assert_eq!(answer[..4], [7, 9, 0x81, 0x80]);
        assert_eq!(answer[answer.len() - 4..], address.octets());
        // D09: AAAA, TXT, NULL, ANY, HTTPS, SVCB say nothing.
        for kind in [28, 16, 10, 255, 65, 64, 5, 252] {
            let answer = Question::parse(&query(&[b"good", b"test"], kind))
                .unwrap()
                .answer(Answer::Address(address));
            assert_eq!(answer[3] & 15, 0);
            assert_eq!(answer[6..8], [0, 0], "{kind}");
        }
        assert_eq!(question.answer(Answer::NoName)[3] & 15, 3);
    }

    #[test]
    fn odd_messages_are_not_answered() {
        let good = query(&[b"good", b"test"], A);
        let change = |at: usize, byte: u8| {
            let mut message = good.clone();
            message[at] = byte;
            message
        };
        let pointer = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
        let long = query(&[[b'a'; 63].as_slice(); 5], A);
        for odd in [
            change(2, 0x81),
            change(2, 0x29),
            change(5, 2),
            change(7, 1),
            change(9, 1),
            change(11, 2),
            change(11, 1),
            good[..good.len() - 1].to_vec(),
            [good.clone(), vec![0]].concat(),
            pointer,
            long,
            Vec::new(),
            vec![0; 600],
        ] {
            assert_eq!(Question::parse(&odd), None, "{odd:?}");
        }
        let with_opt = [change(11, 1), vec![0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0]].concat();
        assert!(Question::parse(&with_opt).is_some());
    }

    /// Names that are none are answered, but never as another name.
    #[test]
    fn names_that_are_none_stay_none() {
        for labels in [
            &[&b"good.test"[..]][..],
            &[b"good\0", b"test"],
            &[b"g\xf6od", b"test"],
            &[b"_x", b"test"],
            &[],
            &[b"127", b"1"],
        ] {
            assert!(
                Question::parse(&query(labels, A)).unwrap().name.is_err(),
                "{labels:?}"
            );
        }
    }

    proptest! {
        /// Whatever comes, nothing breaks; what is answered repeats its question, and is not longer than a message may be.
        #[test]
        fn anything_is_read_without_harm(message in prop::collection::vec(any::<u8>(), 0..600), good in any::<bool>(), at in 0usize..30, byte in any::<u8>()) {
            let mut message = if good { query(&[b"good", b"test"], A) } else { message };
            if let Some(place) = message.get_mut(at) {
                *place = byte;
            }
            if let Some(question) = Question::parse(&message) {
                let answer = question.answer(Answer::Address(Ipv4Addr::LOCALHOST));
                prop_assert!(answer.len() <= MAX_DNS_BYTES + 16);
                prop_assert_eq!(&answer[..2], &message[..2]);
                prop_assert_eq!(&answer[12..12 + question.asked.len()], &message[12..12 + question.asked.len()]);
                prop_assert!(answer[2] & 0x80 != 0);
                // Its own answers are no questions.
                prop_assert_eq!(Question::parse(&answer), None);
            }
        }
    }
}
