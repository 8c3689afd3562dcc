//! The data keys of one agent: `<id>.key` while they live, `erased/<id>`, empty, when they are destroyed.

use std::fmt;

use super::{AGENT_KEYS, MAX_WRAPPED_BYTES, WRAPPED, new_wrapped_key, no_new_key, unwrap_key};
use crate::{
    KeyProvider, StoreError,
    crypto::{SecretKey, bind, fill_randomly},
    dir::{Dir, UNFINISHED},
    error::start_of,
};

const ERASED: &str = "erased";
const ID_PREFIX: &str = "key_";
const ID_DIGITS: usize = 32;
const KEY_SUFFIX: &str = ".key";

/// The id of a data key: `key_` and 32 hex digits. Safe as a part of a file name.
#[derive(Debug)]
pub(super) struct KeyId(String);

impl KeyId {
    fn generate() -> Result<Self, StoreError> {
        let mut bytes = [0; ID_DIGITS / 2];
        fill_randomly(&mut bytes).map_err(no_new_key)?;
        let digits = u128::from_be_bytes(bytes);
        Ok(Self(format!("{ID_PREFIX}{digits:032x}")))
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.strip_prefix(ID_PREFIX)
            .filter(|digits| digits.len() == ID_DIGITS && digits.bytes().all(hex))
            .map(|_| Self(text.to_owned()))
            .ok_or_else(|| StoreError::KeyId {
                text: start_of(text),
            })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn file(&self) -> String {
        format!("{self}{KEY_SUFFIX}")
    }

    pub(super) fn not_found(&self, agent: &str) -> StoreError {
        StoreError::KeyNotFound {
            agent: agent.to_owned(),
            key: self.to_string(),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The data keys of one agent.
pub(super) struct DataKeys<'a> {
    agent: &'a str,
    dir: Dir,
    provider: &'a dyn KeyProvider,
}

impl<'a> DataKeys<'a> {
    /// The agent's keys, if it ever had any. `keys` is the directory of all keys.
    pub(super) fn open(
        keys: &Dir,
        agent: &'a str,
        provider: &'a dyn KeyProvider,
    ) -> Result<Option<Self>, StoreError> {
        let Some(agents) = keys.open_sub(AGENT_KEYS)? else {
            return Ok(None);
        };
        let dir = agents.open_sub(agent)?;
        Ok(dir.map(|dir| Self {
            agent,
            dir,
            provider,
        }))
    }

    /// The agent's key to seal under; made if there is none.
    pub(super) fn current(
        keys: &Dir,
        agent: &'a str,
        provider: &'a dyn KeyProvider,
    ) -> Result<(KeyId, SecretKey), StoreError> {
        let known = Self::open(keys, agent, provider)?;
        if let Some(found) = known.map_or(Ok(None), |known| known.living())? {
            return Ok(found);
        }
        let dir = keys.make_sub(AGENT_KEYS)?.make_sub(agent)?;
        let locked = dir.lock()?;
        let this = Self {
            agent,
            dir,
            provider,
        };
        // Another process may have made one while this one waited.
        if let Some(found) = this.living()? {
            return Ok(found);
        }
        let id = KeyId::generate()?;
        let wrapped = new_wrapped_key(provider, &this.aad(&id))?;
        locked.write(&id.file(), &wrapped)?;
        let key = this.unwrap(&id, &wrapped)?;
        Ok((id, key))
    }

    /// The key with this id.
    pub(super) fn get(&self, id: &KeyId) -> Result<SecretKey, StoreError> {
        self.read(id)?.ok_or_else(|| id.not_found(self.agent))
    }

    /// Whether there is a key that was not destroyed.
    pub(super) fn is_alive(&self) -> Result<bool, StoreError> {
        for id in self.ids()? {
            if !self.is_erased(&id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Destroys every key.
    pub(super) fn erase(&self) -> Result<Vec<String>, StoreError> {
        let locked = self.dir.lock()?;
        // A process that was killed while it made a key may have left it here too.
        locked.remove(UNFINISHED)?;
        let erased = locked.make_sub(ERASED)?;
        // First out of reach, all of them, and then destroyed: whatever interrupts this, no key is half
        // gone, and the name that is left tells what happened to it.
        for id in self.ids()? {
            locked.rename(&id.file(), &erased, id.as_str())?;
        }
        erased.sync()?;
        locked.sync()?;
        let mut destroyed = Vec::new();
        for name in erased.names()? {
            if KeyId::parse(&name).is_ok() && locked.scrub(&erased, &name)? {
                destroyed.push(name);
            }
        }
        destroyed.sort();
        Ok(destroyed)
    }

    /// The key to seal under. There is one at most: it is made, under the lock, only when there is none.
    fn living(&self) -> Result<Option<(KeyId, SecretKey)>, StoreError> {
        for id in self.ids()? {
            match self.read(&id) {
                Ok(Some(key)) => return Ok(Some((id, key))),
                Ok(None) | Err(StoreError::KeyErased { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn ids(&self) -> Result<Vec<KeyId>, StoreError> {
        let names = self.dir.names()?;
        let ids = names
            .iter()
            .filter_map(|name| name.strip_suffix(KEY_SUFFIX));
        Ok(ids.filter_map(|id| KeyId::parse(id).ok()).collect())
    }

    fn read(&self, id: &KeyId) -> Result<Option<SecretKey>, StoreError> {
        let wrapped = self.dir.read(&id.file(), MAX_WRAPPED_BYTES);
        // Asked after the file was read, whatever came of it: another process may be overwriting it. And
        // asked always: a key file that came back from a backup stays erased.
        if self.is_erased(id)? {
            return Err(StoreError::KeyErased {
                agent: self.agent.to_owned(),
                key: id.to_string(),
            });
        }
        match wrapped? {
            Some(wrapped) => self.unwrap(id, &wrapped).map(Some),
            None => Ok(None),
        }
    }

    fn is_erased(&self, id: &KeyId) -> Result<bool, StoreError> {
        match self.dir.open_sub(ERASED)? {
            Some(erased) => erased.has(id.as_str()),
            None => Ok(false),
        }
    }

    fn unwrap(&self, id: &KeyId, wrapped: &[u8]) -> Result<SecretKey, StoreError> {
        unwrap_key(
            self.provider,
            &self.aad(id),
            wrapped,
            &self.dir.path(&id.file()),
        )
    }

    fn aad(&self, id: &KeyId) -> Vec<u8> {
        bind(
            WRAPPED,
            &[b"data", self.agent.as_bytes(), id.as_str().as_bytes()],
        )
    }
}
