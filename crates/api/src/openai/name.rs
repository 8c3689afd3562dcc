//! The thread of a container, whose name says what only its client knows: what it is called, and how long it may be idle.

use casemate_gateway::Entropy;
use casemate_model::SessionId;

use crate::{limits::MAX_OPENAI_NAME_BYTES, problem::Problem};

/// How the threads of containers begin.
const THREAD: &str = "openai-";
/// How ids of sessions and of containers begin.
const SESSION: &str = "ses_";
const CONTAINER: &str = "cntr_";
/// What makes a thread one of its own, in bytes.
const OWN_BYTES: usize = 12;

/// The id of a session, as clients of OpenAI have it.
pub(super) fn id_of(session: SessionId) -> String {
    let text = session.to_string();
    format!("{CONTAINER}{}", text.trim_start_matches(SESSION))
}

/// The session of an id.
pub(super) fn session_of(id: &str) -> Option<SessionId> {
    let inner = id.strip_prefix(CONTAINER)?;
    format!("{SESSION}{inner}").parse().ok()
}

/// What a client says of its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// What it is called.
    pub(super) name: String,
    /// After so many minutes without use it is over.
    pub(super) minutes: u64,
}

impl Name {
    /// A new thread that says so.
    pub(super) fn thread(&self, entropy: &dyn Entropy) -> Result<String, Problem> {
        let is_name = (1..=MAX_OPENAI_NAME_BYTES).contains(&self.name.len());
        if !is_name || self.name.chars().any(char::is_control) {
            return Err(Problem::invalid(format!(
                "`name` has 1 to {MAX_OPENAI_NAME_BYTES} bytes and no control characters"
            )));
        }
        let mut own = [0; OWN_BYTES];
        entropy
            .fill(&mut own)
            .map_err(|error| Problem::failed(format!("the system gives no randomness: {error}")))?;
        let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("{THREAD}{}-{own}-{}", self.minutes, self.name))
    }

    /// What a thread says, if it is one of a container.
    pub(super) fn of(thread: &str) -> Option<Self> {
        let (minutes, rest) = thread.strip_prefix(THREAD)?.split_once('-')?;
        let (own, name) = rest.split_once('-')?;
        let is_own = own.len() == 2 * OWN_BYTES && own.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_own.then_some(())?;
        Some(Self {
            name: name.to_owned(),
            minutes: minutes.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Sevens;

    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> io::Result<()> {
            bytes.fill(7);
            Ok(())
        }
    }

    #[test]
    fn a_thread_says_what_its_container_is_called() {
        for name in ["a", "my container-2", "Ä-", "-"] {
            let name = Name {
                name: name.to_owned(),
                minutes: 20,
            };
            let thread = name.thread(&Sevens).unwrap();
            assert!(thread.len() <= 255);
            assert_eq!(Name::of(&thread), Some(name));
        }
        for name in [
            String::new(),
            "a\nb".to_owned(),
            "a".repeat(MAX_OPENAI_NAME_BYTES + 1),
        ] {
            assert!(Name { name, minutes: 1 }.thread(&Sevens).is_err());
        }
    }

    #[test]
    fn other_threads_are_of_no_container() {
        let own = "07".repeat(OWN_BYTES);
        for thread in [
            "a".to_owned(),
            "openai-".to_owned(),
            format!("openai-x-{own}-a"),
            "openai-5-07-a".to_owned(),
            format!("openai-5-{}-a", "x".repeat(24)),
            format!("e2b-5-{own}-a"),
        ] {
            assert_eq!(Name::of(&thread), None, "{thread}");
        }
    }

    #[test]
    fn an_id_is_that_of_the_session() {
        let session: SessionId = "ses_0198c7e4000070008000000000000000".parse().unwrap();
        assert_eq!(id_of(session), "cntr_0198c7e4000070008000000000000000");
        assert_eq!(session_of(&id_of(session)), Some(session));
        for id in [
            "",
            "cntr_",
            "cntr_x",
            "ses_0198c7e4000070008000000000000000",
        ] {
            assert_eq!(session_of(id), None);
        }
    }
}
