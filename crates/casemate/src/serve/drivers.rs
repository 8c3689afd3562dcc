//! What the gateway is given: stores that stay open, images, and who calls.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_callers::{Callers, Remembered};
use casemate_gateway::{Clock as _, Images, Renewal, SessionStores, Stores};
use casemate_images::ImageStore;
use casemate_model::Digest;
use casemate_policy::{Authenticator, Claims, Token, Verified};
use casemate_store::{SqliteStore, StateDir, StoreError};
use tokio::sync::Mutex;

use crate::{run::local_claims, state, system::System};

/// The most stores that are open at once.
const MAX_OPEN: usize = 256;

/// A database for each agent, opened once.
#[derive(Debug)]
pub(super) struct CachedStores {
    state: StateDir,
    open: Mutex<HashMap<String, Arc<SqliteStore>>>,
}

impl CachedStores {
    pub(super) fn new(state: StateDir) -> Self {
        Self {
            state,
            open: Mutex::default(),
        }
    }
}

impl Stores for CachedStores {
    type Store = Arc<SqliteStore>;

    async fn open(&self, agent: &str) -> Result<Arc<SqliteStore>, StoreError> {
        let mut open = self.open.lock().await;
        if let Some(store) = open.get(agent) {
            return Ok(Arc::clone(store));
        }
        if open.len() >= MAX_OPEN {
            // Those that are in use stay open for whoever uses them.
            open.clear();
        }
        let store = Arc::new(SqliteStore::open(&self.state, agent).await?);
        open.insert(agent.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    async fn find(&self, agent: &str) -> Result<Option<Arc<SqliteStore>>, StoreError> {
        if self.open.lock().await.contains_key(agent)
            || self.agents().await?.iter().any(|name| name == agent)
        {
            return self.open(agent).await.map(Some);
        }
        Ok(None)
    }
}

impl SessionStores for CachedStores {
    async fn agents(&self) -> Result<Vec<String>, StoreError> {
        self.state.agents()
    }
}

/// The images of the state directory.
#[derive(Debug)]
pub(super) struct StoredImages(PathBuf);

impl StoredImages {
    pub(super) fn new(root: &Path) -> Self {
        Self(state::images_in(root))
    }
}

impl Images for StoredImages {
    fn digest(&self, name: &str) -> Option<Digest> {
        if !self.0.exists() {
            return None;
        }
        // Read each time: one that was built meanwhile is found.
        ImageStore::open(&self.0).ok()?.resolve(name).ok()
    }
}

/// Looks again at those whose calls had to wait: this user may call for as long as there is one, others as long as what proved
/// them does.
#[derive(Debug)]
pub(super) struct Renews {
    callers: Option<Arc<Callers>>,
}

impl Renews {
    pub(super) const fn new(callers: Option<Arc<Callers>>) -> Self {
        Self { callers }
    }

    /// The claims of now, and until when they hold.
    fn now(&self, token: &Token, by: Authenticator) -> Option<Claims> {
        if by == Authenticator::LocalUser {
            let now = local_claims();
            let scopes: BTreeSet<_> = now.scopes.intersection(&token.scopes).cloned().collect();
            let same = now.subject == token.subject && now.tenant == token.tenant;
            return same.then_some(Claims { scopes, ..now });
        }
        let was = Remembered {
            authority: by,
            issuer: &token.issuer,
            subject: &token.subject,
            tenant: &token.tenant,
            credential: &token.credential,
            behalf: &token.behalf,
            scopes: &token.scopes,
            expires_at_ms: token.expires_at_ms,
        };
        let callers = self.callers.as_ref()?;
        let scopes = callers.renew(&was, System.now_ms()).ok()?;
        Some(Claims {
            scopes,
            ..Claims::from(token)
        })
    }
}

impl Renewal for Renews {
    fn until_ms(&self, token: &Token, by: Authenticator) -> u64 {
        match by {
            Authenticator::LocalUser => u64::MAX,
            _ => token.expires_at_ms,
        }
    }

    fn renew(&self, token: &Token, by: Authenticator) -> Option<Verified<Claims>> {
        let claims = self.now(token, by)?;
        Some(Verified::vouch(claims, by))
    }
}
