//! Keys at rest: the ledger's signing seed and one data key per agent, wrapped by a provider.

mod data;

use std::path::Path;

use casemate_model::Sealed;
use zeroize::Zeroizing;

use self::data::{DataKeys, KeyId};
use crate::{
    CryptoError, FileProvider, KeyProvider, StateDir, StoreError,
    crypto::{KEY_BYTES, SecretKey, TAG_BYTES, bind},
    dir::Dir,
    state::agent_name,
};

/// The largest content that can be sealed, in bytes.
pub const MAX_SEALED_BYTES: usize = 32 << 20;

/// The largest wrapped key that a provider may give, in bytes.
const MAX_WRAPPED_BYTES: usize = 4096;

pub(crate) const SIGNING_KEY: &str = "signing.key";
pub(crate) const AGENT_KEYS: &str = "agents";

const WRAPPED: &str = "casemate/wrapped-key/v1";
const SEALED: &str = "casemate/sealed/v1";

/// Every key of one state directory.
///
/// Keys are read when they are needed and forgotten after it, so that a key that another process erases
/// is gone at once. Threads and processes may share the directory.
///
/// A data key takes 2³² seals, the limit of NIST SP 800-38D for random nonces; nothing counts them.
#[derive(Debug)]
pub struct Keys {
    dir: Dir,
    provider: Box<dyn KeyProvider>,
}

impl Keys {
    /// The keys under `state`, wrapped by its [`FileProvider`].
    ///
    /// # Errors
    /// As [`FileProvider::open`].
    pub fn open(state: &StateDir) -> Result<Self, StoreError> {
        Self::with_provider(state, Box::new(FileProvider::open(state)?))
    }

    /// The keys under `state`, wrapped by `provider`.
    ///
    /// # Errors
    /// When the directory of keys is not safe any more.
    pub fn with_provider(
        state: &StateDir,
        provider: Box<dyn KeyProvider>,
    ) -> Result<Self, StoreError> {
        let dir = state.keys_dir()?;
        Ok(Self { dir, provider })
    }

    /// The seed of the key that signs the ledger; made once.
    ///
    /// # Errors
    /// When it cannot be made, read or unwrapped.
    pub fn signing_seed(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, StoreError> {
        let aad = bind(WRAPPED, &[b"signing"]);
        let wrapped = self.dir.read_or_write(SIGNING_KEY, MAX_WRAPPED_BYTES, || {
            new_wrapped_key(self.provider.as_ref(), &aad)
        })?;
        let path = self.dir.path(SIGNING_KEY);
        unwrap_key(self.provider.as_ref(), &aad, &wrapped, &path).map(SecretKey::into_bytes)
    }

    /// Encrypts `plaintext` under the agent's data key, made on first use, and binds it to `aad`, the
    /// agent and the key.
    ///
    /// # Errors
    /// When the content is larger than [`MAX_SEALED_BYTES`] or the key cannot be made, read or unwrapped.
    pub fn seal(&self, agent: &str, aad: &[u8], plaintext: &[u8]) -> Result<Sealed, StoreError> {
        check_size(plaintext.len())?;
        let provider = self.provider.as_ref();
        let (id, key) = DataKeys::current(&self.dir, agent_name(agent)?, provider)?;
        let (nonce, ciphertext) = key
            .encrypt(&sealed_aad(agent, &id, aad), plaintext)
            .map_err(|source| StoreError::Crypto {
                what: "a sealed payload",
                source,
            })?;
        Ok(Sealed {
            key: id.to_string(),
            nonce: nonce.to_vec(),
            ciphertext,
        })
    }

    /// The content that was sealed for this agent and `aad`.
    ///
    /// # Errors
    /// [`StoreError::KeyErased`] when its key was destroyed, [`StoreError::KeyNotFound`] when the agent
    /// never had it, [`StoreError::Unseal`] when anything about it is not as it was sealed.
    pub fn unseal(
        &self,
        agent: &str,
        aad: &[u8],
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        check_size(sealed.ciphertext.len().saturating_sub(TAG_BYTES))?;
        let agent = agent_name(agent)?;
        let id = KeyId::parse(&sealed.key)?;
        let key = match DataKeys::open(&self.dir, agent, self.provider.as_ref())? {
            Some(keys) => keys.get(&id)?,
            None => return Err(id.not_found(agent)),
        };
        key.decrypt(
            &sealed_aad(agent, &id, aad),
            &sealed.nonce,
            &sealed.ciphertext,
        )
        .map_err(|source| StoreError::Unseal {
            agent: agent.to_owned(),
            key: id.to_string(),
            source,
        })
    }

    /// The agents that have a key, in the order of their names.
    ///
    /// # Errors
    /// When the directory of keys is not safe any more.
    pub fn agents(&self) -> Result<Vec<String>, StoreError> {
        let Some(agents) = self.dir.open_sub(AGENT_KEYS)? else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for name in agents.names()? {
            let keys = match agent_name(&name) {
                Ok(agent) => DataKeys::open(&self.dir, agent, self.provider.as_ref())?,
                Err(_) => None,
            };
            if keys.map_or(Ok(false), |keys| keys.is_alive())? {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Destroys every data key of the agent and with them everything sealed under them. Returns the ids
    /// of the keys; the next [`Keys::seal`] makes a new one.
    ///
    /// A wrapped key is overwritten in place, synced and cut off. On a copy-on-write file system, an SSD or
    /// a snapshot the old blocks can outlive that. They hold the key wrapped, so they are worth nothing
    /// without the provider key; where that is not enough, replace the provider key as well.
    ///
    /// An erasure that was interrupted is finished by the next one; its keys are unreadable from its
    /// start.
    ///
    /// # Errors
    /// When a key cannot be destroyed. Those before it are.
    pub fn erase(&self, agent: &str) -> Result<Vec<String>, StoreError> {
        match DataKeys::open(&self.dir, agent_name(agent)?, self.provider.as_ref())? {
            Some(keys) => keys.erase(),
            None => Ok(Vec::new()),
        }
    }
}

fn sealed_aad(agent: &str, key: &KeyId, aad: &[u8]) -> Vec<u8> {
    bind(SEALED, &[agent.as_bytes(), key.as_str().as_bytes(), aad])
}

pub(crate) fn check_size(bytes: usize) -> Result<(), StoreError> {
    if bytes <= MAX_SEALED_BYTES {
        return Ok(());
    }
    Err(StoreError::TooLarge {
        what: "the sealed content",
        bytes,
        max: MAX_SEALED_BYTES,
    })
}

pub(crate) fn no_new_key(source: CryptoError) -> StoreError {
    StoreError::Crypto {
        what: "a new key",
        source,
    }
}

/// A new key, as only `provider` can read it.
fn new_wrapped_key(
    provider: &dyn KeyProvider,
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let wrapped = SecretKey::generate()
        .and_then(|key| provider.wrap(aad, key.as_bytes()))
        .map_err(no_new_key)?;
    if wrapped.len() > MAX_WRAPPED_BYTES {
        return Err(StoreError::TooLarge {
            what: "the wrapped key",
            bytes: wrapped.len(),
            max: MAX_WRAPPED_BYTES,
        });
    }
    Ok(Zeroizing::new(wrapped))
}

fn unwrap_key(
    provider: &dyn KeyProvider,
    aad: &[u8],
    wrapped: &[u8],
    path: &Path,
) -> Result<SecretKey, StoreError> {
    provider
        .unwrap(aad, wrapped)
        .and_then(|bytes| SecretKey::from_bytes(&bytes).ok_or(CryptoError::Decrypt))
        .map_err(|source| StoreError::Unwrap {
            path: path.to_owned(),
            source,
        })
}
