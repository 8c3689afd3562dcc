//! Identity: issues, redeems, grants.

use std::sync::{Mutex, MutexGuard, PoisonError};

use casemate_authority::{Board, Epoch, Stopped, Subject};
use serde::{Deserialize, Serialize};

use crate::{
    ActionToken, Assertions, Binding, Clock, Endpoint, Entropy, Handle, Holder, InPlace, Kind,
    LeaseId, Order, Presented, RefreshError, Rendered, Request, Secret, Secrets, State, Store,
    StoreError, TokenError,
    assertions::Nowhere,
    handshake,
    lease::{Desk, Lease, NoGrant},
    refresh::{Means, Tokens},
    render::{RenderError, render},
    sas,
    tickets::{Ticket, Tickets},
};

/// Everything that may be asked of identity. Threads share it.
#[derive(Debug)]
pub struct Identity {
    store: Store,
    board: Board,
    endpoint: Box<dyn Endpoint>,
    clock: Box<dyn Clock>,
    entropy: Box<dyn Entropy>,
    assertions: Box<dyn Assertions>,
    desk: Mutex<Desk>,
    tickets: Mutex<Tickets>,
    tokens: Tokens,
}

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A switch of the call is off, or they cannot be read.
    #[error("the call is switched off")]
    Stopped(#[source] Stopped),
    /// It cannot be issued.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Why a request gets no credential.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// It is not for this request.
    #[error("the credential is not for this request: {0}")]
    Scope(String),
    /// The right to it was taken back.
    #[error("the credential is switched off")]
    Stopped(#[source] Stopped),
    /// The credential cannot be read, or is revoked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No token can be had with it.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// It cannot be rendered for this request.
    #[error("{0}")]
    Render(String),
}

/// That a credential can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tested {
    /// Its version.
    pub version: u64,
    /// When the token expires that was fetched with it, if its issuer said so.
    pub expires_at_ms: Option<u64>,
}

impl From<NoGrant> for GrantError {
    fn from(why: NoGrant) -> Self {
        Self::Scope(why.to_string())
    }
}

impl From<RenderError> for GrantError {
    fn from(why: RenderError) -> Self {
        match why {
            RenderError::Place => Self::Scope(why.to_string()),
            why => Self::Render(why.to_string()),
        }
    }
}

impl Identity {
    /// Over these credentials and switches.
    #[must_use]
    pub fn new(
        store: Store,
        board: Board,
        endpoint: Box<dyn Endpoint>,
        clock: Box<dyn Clock>,
        entropy: Box<dyn Entropy>,
    ) -> Self {
        Self {
            store,
            board,
            endpoint,
            clock,
            entropy,
            assertions: Box::new(Nowhere),
            desk: Mutex::default(),
            tickets: Mutex::default(),
            tokens: Tokens::default(),
        }
    }

    /// The same, for which the platform writes assertions.
    #[must_use]
    pub fn with_assertions(self, assertions: Box<dyn Assertions>) -> Self {
        Self { assertions, ..self }
    }

    /// Issues a token for one call. It ends with `issuer`, and so does what it is redeemed for.
    ///
    /// # Errors
    /// When the call is switched off or there is too much at once.
    pub fn issue(&self, order: Order, issuer: Holder) -> Result<ActionToken, OrderError> {
        let epoch = self
            .board
            .check(&subject(&order.binding, None))
            .map_err(OrderError::Stopped)?;
        let issued = self.desk().issue(
            order,
            issuer,
            epoch,
            self.entropy.as_ref(),
            self.clock.now_ms(),
        );
        Ok(issued?)
    }

    /// Redeems a token for a lease that only `holder` can use. A token is gone with the first attempt, whatever comes of it.
    ///
    /// # Errors
    /// When it is not known (any more), or bound to another call.
    pub fn redeem(
        &self,
        token: &ActionToken,
        binding: &Binding,
        holder: Holder,
    ) -> Result<LeaseId, TokenError> {
        self.desk().redeem(
            token,
            binding,
            holder,
            self.entropy.as_ref(),
            self.clock.now_ms(),
        )
    }

    /// Notes that a person approved exactly this request of the call whose right `issuer` ordered. It is granted once.
    ///
    /// # Errors
    /// When there is no such call any more, or too much was approved and not sent.
    pub fn approve(&self, request: Request, issuer: Holder) -> Result<(), GrantError> {
        let noted = self.desk().approve(issuer, request, self.clock.now_ms());
        Ok(noted?)
    }

    /// Notes that the agent of the call whose right `issuer` ordered has been at a destination: that it answered there is on record.
    pub fn learn(&self, host: &str, port: u16, issuer: Holder) {
        self.desk().learn(issuer, host, port);
    }

    /// Whether [`Identity::grant`] can answer without asking anybody.
    #[must_use]
    pub fn is_ready(&self, handle: &Handle) -> bool {
        let header = self.store.header(handle);
        header.is_ok_and(|header| {
            header.is_none_or(|header| {
                !header.kind.is_fetched()
                    || header.state != State::Active
                    || self.tokens.is_ready(&header, self.clock.now_ms())
            })
        })
    }

    /// Whether [`Identity::grant`] may wait for somebody else who asks: there is no token that can be used meanwhile.
    pub(crate) fn waits(&self, handle: &Handle) -> bool {
        let header = self.store.header(handle);
        header.is_ok_and(|header| {
            header.is_some_and(|header| {
                header.kind.is_fetched()
                    && header.state == State::Active
                    && !self.tokens.is_good(&header, self.clock.now_ms())
            })
        })
    }

    /// What goes into one request of a lease. It may block for as long as a token endpoint takes.
    ///
    /// # Errors
    /// When the lease does not have the credential for this request, or it cannot be had.
    pub fn grant(
        &self,
        lease: &LeaseId,
        holder: Holder,
        request: &Request,
    ) -> Result<Rendered, GrantError> {
        let (binding, since, taken) =
            self.desk()
                .take(lease, holder, request, self.clock.now_ms())?;
        let rendered = match self.is_presented(&request.handle) {
            true => self.presented(lease, holder, (&binding, since), request),
            false => self.rendered(&binding, since, request),
        };
        let mut desk = self.desk();
        let rendered = rendered.and_then(|rendered| match &rendered.in_place {
            Some(InPlace {
                stand_in,
                field: None,
                ..
            }) if !desk.places(lease, request, stand_in) => Err(RenderError::Place.into()),
            _ => Ok(rendered),
        });
        if rendered.is_err() {
            desk.give_back(lease, taken);
        }
        // It may have taken long.
        if desk.has(lease, holder, self.clock.now_ms()).is_none() {
            self.forget_tickets(lease, holder);
            return Err(NoGrant::Lease.into());
        }
        rendered
    }

    /// Whether a credential is presented when a connection is made. What cannot be read is not.
    #[must_use]
    pub fn is_presented(&self, handle: &Handle) -> bool {
        let header = self.store.header(handle).ok().flatten();
        header.is_some_and(|header| header.kind.is_presented())
    }

    /// Which credentials of a lease are presented when a connection is made.
    #[must_use]
    pub fn presents(&self, lease: &LeaseId, holder: Holder) -> Vec<Handle> {
        let mut handles: Vec<_> = {
            let desk = self.desk();
            let lease = desk.has(lease, holder, self.clock.now_ms());
            lease
                .into_iter()
                .flat_map(Lease::handles)
                .cloned()
                .collect()
        };
        handles.sort();
        handles.dedup();
        handles.retain(|handle| self.is_presented(handle));
        handles
    }

    /// Signs the handshake of a client, for a ticket that a grant gave. It is gone with the first attempt.
    ///
    /// # Errors
    /// When the ticket is not good (any more), the right was taken back, or it is no such handshake.
    pub fn sign(
        &self,
        ticket: &Secret,
        scheme: u16,
        message: &[u8],
    ) -> Result<Vec<u8>, GrantError> {
        let now_ms = self.clock.now_ms();
        let ticket = self.tickets().take(ticket, now_ms).ok_or(NoGrant::Lease)?;
        let stands = self
            .desk()
            .has(&ticket.lease, ticket.holder, now_ms)
            .is_some();
        if !stands {
            return Err(NoGrant::Lease.into());
        }
        self.stands(&ticket.binding, ticket.since, &ticket.handle)?;
        let secrets = self.present(&ticket.handle)?;
        let signed = handshake::sign(&secrets.main, scheme, message);
        signed.map_err(|_| RenderError::Handshake.into())
    }

    /// The secret of a credential that is presented, as long as it can be used.
    fn present(&self, handle: &Handle) -> Result<Secrets, GrantError> {
        let credential = self.store.read(handle)?;
        if credential.header.state == State::Quarantined {
            return Err(RefreshError::Quarantined(handle.clone()).into());
        }
        match credential.header.kind.is_presented() {
            true => Ok(credential.secrets),
            false => Err(RenderError::Protocol.into()),
        }
    }

    /// The certificates of a client, and the right to have one handshake signed.
    fn presented(
        &self,
        lease: &LeaseId,
        holder: Holder,
        (binding, since): (&Binding, Epoch),
        request: &Request,
    ) -> Result<Rendered, GrantError> {
        let handle = &request.handle;
        self.stands(binding, since, handle)?;
        if request.login.is_some() {
            return Err(RenderError::Protocol.into());
        }
        let secrets = self.present(handle)?;
        let checked = handshake::check(&secrets.main);
        let (certificates, is_rsa) = checked.map_err(|_| RenderError::Handshake)?;
        let ticket = Ticket {
            handle: handle.clone(),
            lease: lease.clone(),
            holder,
            binding: binding.clone(),
            since,
        };
        let now_ms = self.clock.now_ms();
        let given = self.tickets().give(ticket, self.entropy.as_ref(), now_ms);
        Ok(Rendered::presented(Presented {
            certificates,
            is_rsa,
            ticket: given.ok_or(RenderError::Tickets)?,
        }))
    }

    fn rendered(
        &self,
        binding: &Binding,
        since: Epoch,
        request: &Request,
    ) -> Result<Rendered, GrantError> {
        let handle = &request.handle;
        self.stands(binding, since, handle)?;
        let credential = self.store.read(handle)?;
        if credential.header.state == State::Quarantined {
            return Err(RefreshError::Quarantined(handle.clone()).into());
        }
        if !credential.header.kind.is_fetched() {
            return Ok(render(
                &credential.header.kind,
                &credential.secrets,
                request,
                self.clock.now_ms(),
            )?);
        }
        if request.login.is_some() {
            return Err(RenderError::Protocol.into());
        }
        let kind = credential.header.kind;
        drop(credential.secrets);
        let (token, expires_at_ms) = self.tokens.get(&self.means(), handle)?;
        // While it was fetched, the right to it may have been taken back.
        self.stands(binding, since, handle)?;
        let rendered = match &kind {
            Kind::AzureSas { blob_url, .. } => sas::rendered(blob_url, &token, request)?,
            _ => Rendered::bearer(&token),
        };
        Ok(rendered.expiring(expires_at_ms))
    }

    fn stands(&self, binding: &Binding, since: Epoch, handle: &Handle) -> Result<(), GrantError> {
        let name = handle.to_string();
        let checked = self.board.check_held(&subject(binding, Some(&name)), since);
        checked.map(drop).map_err(GrantError::Stopped)
    }

    /// The credentials of a lease that were revoked or switched off since it was given; nothing if the lease itself is over.
    #[must_use]
    pub fn lost(&self, lease: &LeaseId, holder: Holder) -> Option<Vec<Handle>> {
        let (binding, epoch, mut handles) = {
            let desk = self.desk();
            let lease = desk.has(lease, holder, self.clock.now_ms())?;
            let handles: Vec<_> = lease.handles().cloned().collect();
            (lease.binding.clone(), lease.epoch, handles)
        };
        handles.sort();
        handles.dedup();
        let is_revoked = |handle: &Handle| match self.store.header(handle) {
            Ok(header) => header.is_some_and(|header| header.state == State::Revoked),
            // What cannot be read is not lent either.
            Err(_) => true,
        };
        handles
            .retain(|handle| is_revoked(handle) || self.stands(&binding, epoch, handle).is_err());
        Some(handles)
    }

    /// Ends a lease.
    pub fn end(&self, lease: &LeaseId, holder: Holder) {
        self.desk().end(lease, holder);
        self.forget_tickets(lease, holder);
    }

    /// Ends everything that `who` has, or asked for.
    pub fn leave(&self, who: Holder) {
        let mut desk = self.desk();
        desk.leave(who);
        // A lease may be another connection's, and end with the one that ordered it.
        let now_ms = self.clock.now_ms();
        self.tickets()
            .end(|ticket| desk.has(&ticket.lease, ticket.holder, now_ms).is_none());
    }

    /// Whether a credential can be used: it is read, and if it is fetched, a token is. May block.
    ///
    /// # Errors
    /// Why not.
    pub fn test(&self, handle: &Handle) -> Result<Tested, RefreshError> {
        let credential = self.store.read(handle)?;
        let header = credential.header;
        if header.state == State::Quarantined {
            return Err(RefreshError::Quarantined(handle.clone()));
        }
        let expires_at_ms = match header.kind.is_fetched() {
            false => None,
            true => self.tokens.get(&self.means(), handle)?.1,
        };
        // A refresh may have changed it.
        let version = self
            .store
            .header(handle)?
            .map_or(header.version, |header| header.version);
        Ok(Tested {
            version,
            expires_at_ms,
        })
    }

    /// Whether a lease of `holder` has the credential, or had.
    pub(crate) fn had(&self, holder: Holder, handle: &Handle) -> bool {
        self.desk().had(holder, handle)
    }

    /// Notes that the secret of a credential was seen in an answer.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn reflected(&self, handle: &Handle) -> Result<(), StoreError> {
        self.store.reflect(handle).map(drop)
    }

    /// Fetches each token anew that is due and that some lease may use. May block.
    pub fn refresh_due(&self) -> Vec<(Handle, Result<(), RefreshError>)> {
        let now_ms = self.clock.now_ms();
        let wanted = self.desk().wanted(now_ms);
        let due = self
            .tokens
            .due(now_ms)
            .into_iter()
            .filter(|handle| wanted.binary_search(handle).is_ok());
        due.map(|handle| {
            let fetched = self.tokens.get(&self.means(), &handle).map(drop);
            (handle, fetched)
        })
        .collect()
    }

    fn means(&self) -> Means<'_> {
        Means {
            store: &self.store,
            endpoint: self.endpoint.as_ref(),
            clock: self.clock.as_ref(),
            entropy: self.entropy.as_ref(),
            assertions: self.assertions.as_ref(),
        }
    }

    fn forget_tickets(&self, lease: &LeaseId, holder: Holder) {
        let mut tickets = self.tickets();
        tickets.end(|ticket| ticket.holder == holder && ticket.lease == *lease);
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject<'a>(binding: &'a Binding, credential: Option<&'a str>) -> Subject<'a> {
    Subject {
        tenant: Some(&binding.tenant),
        agent: Some(&binding.agent),
        route: Some(&binding.route),
        tool: Some(&binding.tool),
        credential,
        ..Subject::default()
    }
}
