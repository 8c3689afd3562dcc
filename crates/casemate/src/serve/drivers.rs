//! What the gateway is given: stores that stay open, images, and who calls.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
};

use casemate_callers::{Callers, Remembered};
use casemate_gateway::{Clock as _, Images, NotRenewed, Renewal, SessionStores, Stores};
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
    fn now(&self, token: &Token, by: Authenticator) -> Result<Claims, NotRenewed> {
        if by == Authenticator::LocalUser {
            let now = local_claims();
            let scopes: BTreeSet<_> = now.scopes.intersection(&token.scopes).cloned().collect();
            let same = now.subject == token.subject && now.tenant == token.tenant;
            let claims = same.then_some(Claims { scopes, ..now });
            return claims.ok_or(NotRenewed::Gone);
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
        let callers = self.callers.as_ref().ok_or(NotRenewed::Gone)?;
        let renewed = callers.renew(&was, System.now_ms());
        let scopes = renewed.map_err(|refusal| match refusal.passes() {
            true => NotRenewed::CannotTell,
            false => NotRenewed::Gone,
        })?;
        Ok(Claims {
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

    fn renew(&self, token: &Token, by: Authenticator) -> Result<Verified<Claims>, NotRenewed> {
        let claims = self.now(token, by)?;
        Ok(Verified::vouch(claims, by))
    }
}

#[cfg(test)]
mod tests {
    use casemate_callers::NewApiKey;

    use super::*;

    /// What cannot be read for a while is not said to be gone, and what was taken back is.
    #[test]
    fn an_unreadable_file_ends_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("callers");
        let file = "audience = \"here\"\n[api_keys]\n";
        let callers = Arc::new(Callers::open(file, &kept, 0).unwrap());
        let new = NewApiKey {
            subject: "robot".to_owned(),
            tenant: "acme".to_owned(),
            scopes: BTreeSet::new(),
            roles: [casemate_callers::Role::Operator].into(),
            ttl_ms: 3_600_000,
        };
        let (key, _) = callers.new_key(&new, System.now_ms()).unwrap();
        let claims = Claims {
            issuer: "casemate:api-keys".to_owned(),
            subject: key.subject,
            tenant: key.tenant,
            audience: "here".to_owned(),
            scopes: key.scopes,
            expires_at_ms: key.expires_ms,
            credential: key.id.clone(),
            behalf: Vec::new(),
            bounds: casemate_model::Bounds::default(),
        };
        let token = Token::from(&claims);
        let renews = Renews::new(Some(Arc::clone(&callers)));
        let renewed = || renews.now(&token, Authenticator::ApiKey).map(drop);
        assert_eq!(renewed(), Ok(()));
        let (file, aside) = (kept.join("api-keys.jsonl"), dir.path().join("aside"));
        std::fs::rename(&file, &aside).unwrap();
        assert_eq!(renewed(), Err(NotRenewed::CannotTell));
        std::fs::rename(&aside, &file).unwrap();
        assert_eq!(renewed(), Ok(()));
        callers
            .revoke_key("acme", &key.id, System.now_ms())
            .unwrap();
        assert_eq!(renewed(), Err(NotRenewed::Gone));
    }
}
