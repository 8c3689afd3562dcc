//! Secrets taken out of bytes on their way to an agent.
//!
//! A [`Scrubber`] knows the secrets of one lease and finds all their spellings in one pass. A [`Stream`] takes them out of a body that comes in
//! pieces; a [`Body`] decompresses it first, if it has to be. A [`TokenAnswer`] takes fresh tokens out of the answer of a token endpoint.
//!
//! | encoding | spellings that are looked for |
//! |---|---|
//! | `raw` | the secret |
//! | `base64`, `base64url` | at each of the three places in a group of three bytes, within a longer text or at its end, with padding or without |
//! | `hex` | in lower case, and in upper case |
//! | `percent` | every byte, and as RFC 3986, paths, `encodeURI`, `encodeURIComponent` and forms (`+` for a space) do; digits in both cases |
//! | `json` | every character as `\u0041`; as encoders do that escape what they must, slashes, what HTML means something by, or all that is not ASCII; both cases |
//! | `html` | every character as `&#65;` and `&#x41;`; and with names or numbers for `&`, `<`, `>` and quotes |
//! | `reversed` | last byte first |
//!
//! Whatever mixes these, encodes twice or changes the case of the secret is not found: a host that can transform data can always let some out, and a
//! route to such a host needs other rules.
//!
//! Invariants:
//! - What comes out does not depend on how the bytes were cut into pieces. Every byte that belongs to any spelling is gone, and each run of them is
//!   one [`MARK`].
//! - Held back is only the end of what was read, if a spelling may begin in it: events of a stream come through at once.
//! - A text that ends within a secret loses that beginning too, from [`MIN_SECRET_BYTES`] on.
//! - What cannot be looked into is an error, after everything before it was put out scrubbed: an unknown or second content coding, a compressed body that
//!   is damaged, cut off or grows too large; an answer in which it is not certain what the token is.
//! - Secrets and the tables made of them are erased when dropped. Nothing here prints one; what was found is counted by name and encoding.
//! - Reading takes linear time, whatever the secrets and the bytes are.
//!
//! Deliberately absent: regular expressions that guess what a secret looks like; I/O. A body compressed with `zstd` comes out when its window is full, since its
//! decoder keeps that back.

mod automaton;
mod body;
mod cover;
mod decode;
mod encoding;
mod hits;
mod scrubber;
mod seal;
mod secret;
mod skip;
mod stream;

pub use self::{
    body::Body,
    decode::{Coding, DecodeLimits, Undecodable},
    encoding::Encoding,
    hits::{Hit, Hits},
    scrubber::{MARK, MAX_SECRETS, MAX_SPELLING_BYTES, Scrubber, ScrubberError},
    seal::{
        AnswerForm, MAX_ANSWER_BYTES, MAX_HANDLE_BYTES, MAX_TOKENS, Outcome, SealError, Token,
        TokenAnswer, TokenKind,
    },
    secret::{MAX_SECRET_BYTES, MIN_SECRET_BYTES, Secret, SecretError},
    stream::Stream,
};
