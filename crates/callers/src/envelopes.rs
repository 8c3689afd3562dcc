//! Gives authority on in envelopes, always less than one has, and takes it back.

use std::{collections::BTreeSet, fmt, path::Path};

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::{
    Authenticator, Bounds, Caller, Delegator, HolderPublic, Permission, Refusal, ReplayGuard, Role,
    Target,
    caller::{check_bounds, check_names, check_scopes},
    envelope::{Chain, Confirmation, Link, Payload, Principal, SEPARATOR, TYPE, root_id},
    jws,
    limits::{MAX_ENVELOPE_BYTES, MAX_ENVELOPE_DEPTH, MAX_ENVELOPE_TTL_MS, MAX_TOKEN_BYTES},
    proof, random,
    revocations::Revocations,
    signing_key::SigningKey,
};

/// How the names of envelopes begin.
const ID_PREFIX: &str = "env_";
/// Hex digits of what is random in a name, and of each mark.
const ID_DIGITS: usize = 32;
const MARK_DIGITS: usize = 16;

/// The name of the file with the key, in the directory of the envelopes.
const KEY_FILE: &str = "envelope.key";
/// The name of the file with what was revoked.
const REVOKED_FILE: &str = "revoked.jsonl";

/// The envelopes of one gateway: its key for them, and which were revoked.
#[derive(Debug)]
pub struct Envelopes {
    issuer: String,
    key: SigningKey,
    revoked: Revocations,
}

/// What somebody wants to give on. All of it must be the parent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// To whom.
    pub subject: String,
    /// What it may do.
    pub scopes: BTreeSet<String>,
    /// What it is to this gateway: of the parent's roles, those that can be given on.
    pub roles: BTreeSet<Role>,
    /// To what it is restricted further. What is `None` is as the parent's.
    pub bounds: Bounds,
    /// When it ends, in milliseconds since 1970: at most [`MAX_ENVELOPE_TTL_MS`] from now.
    pub expires_at_ms: u64,
    /// The key of the one who may use it.
    pub holder: HolderPublic,
}

/// A new envelope.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// Its name, by which it is revoked.
    pub id: String,
    /// Its text, for the holder.
    pub text: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, text } = self;
        write!(f, "{id}, {} bytes", text.len())
    }
}

impl Envelopes {
    /// The envelopes whose key and revocations are in the directory `dir`, which is there. `issuer` names this gateway.
    ///
    /// # Errors
    /// When the name cannot be one, or a file cannot be made or read, or others have access to it.
    pub fn open(dir: &Path, issuer: &str) -> Result<Self, Refusal> {
        let issuer = issuer.to_owned();
        check_names("iss", [&issuer])?;
        Ok(Self {
            issuer,
            key: SigningKey::open(&dir.join(KEY_FILE))?,
            revoked: Revocations::open(&dir.join(REVOKED_FILE))?,
        })
    }

    /// Gives part of the authority of `parent` on.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`] when no role of the parent may give authority on, [`Refusal::Wider`] when the parent has
    /// not what is wanted, and when the parent ended or was revoked.
    pub fn issue(&self, parent: &Caller, wanted: &Wanted, now_ms: u64) -> Result<Issued, Refusal> {
        let above = self.above(parent, now_ms)?;
        if !parent.may(Permission::Delegate) {
            return Err(Refusal::NotPermitted(Permission::Delegate));
        }
        check_names("sub", [&wanted.subject])?;
        check_scopes(&wanted.scopes)?;
        check_bounds(&wanted.bounds)?;
        is_narrower(parent, wanted, now_ms)?;
        let id = self.new_id(parent)?;
        let payload = Payload {
            iss: self.issuer.clone(),
            jti: id.clone(),
            sub: wanted.subject.clone(),
            aud: parent.audience.clone(),
            tenant: parent.tenant.clone(),
            iat: now_ms / 1_000,
            exp: wanted.expires_at_ms / 1_000,
            scopes: wanted.scopes.clone(),
            roles: wanted.roles.clone(),
            bounds: parent.bounds.and(&wanted.bounds),
            behalf: above.principal,
            chain: above.links,
            cnf: Confirmation::of(wanted.holder),
        };
        let token = jws::sign(TYPE, Some(&self.key.kid), &payload, &self.key.pair)?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::TooLarge(MAX_TOKEN_BYTES));
        }
        let text = match &parent.presented {
            Some(presented) => format!("{}{SEPARATOR}{token}", presented.0),
            None => token,
        };
        match text.len() {
            0..=MAX_ENVELOPE_BYTES => Ok(Issued { id, text }),
            _ => Err(Refusal::TooLarge(MAX_ENVELOPE_BYTES)),
        }
    }

    /// The caller whom an envelope proves at `now_ms`, with a proof by its holder for `target`. A proof is good for one
    /// use.
    ///
    /// # Errors
    /// When anything about the envelopes or the proof is not as it must be, one of them ended or was revoked, or the proof
    /// was used before.
    pub fn verify(
        &self,
        text: &str,
        proof: &str,
        target: &Target<'_>,
        used: &dyn ReplayGuard,
        now_ms: u64,
    ) -> Result<Caller, Refusal> {
        let chain = Chain::read(text, &self.issuer, &self.key, now_ms)?;
        self.check(&chain)?;
        let proof = proof::check(proof, chain.holder()?, text, target, now_ms)?;
        // Last, so that nothing is used up for what is refused anyway.
        used.admit(&proof, now_ms)?;
        Ok(chain.caller(text))
    }

    /// Revokes an envelope of a tenant by its name, and all that stand on it, before it returns.
    ///
    /// # Errors
    /// [`Refusal::Quota`] when the tenant has revoked as many as it may, and when the file cannot be written.
    pub fn revoke(&self, tenant: &str, id: &str, now_ms: u64) -> Result<(), Refusal> {
        self.revoked.revoke(id, Some(tenant), now_ms)
    }

    /// Revokes all envelopes that stand on a credential: that of an API key that was revoked, for example.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn revoke_all_of(
        &self,
        authority: Authenticator,
        credential: &str,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        self.revoked
            .revoke(&root_id(authority, credential), None, now_ms)
    }

    /// Who may take back the envelope of this name, as far as `by` is concerned. A name that this gateway did not give is
    /// nobody's.
    pub(crate) fn revoker(&self, id: &str, by: &Caller) -> Revoker {
        let parts = id.strip_prefix(ID_PREFIX).and_then(|digits| {
            let (random, marks) = digits.split_at_checked(ID_DIGITS)?;
            let (of_tenant, of_giver) = marks.split_at_checked(MARK_DIGITS)?;
            Some((random, of_tenant, of_giver))
        });
        let Some((random, of_tenant, of_giver)) = parts else {
            return Revoker::Nobody;
        };
        if !is_same(of_tenant, &self.mark_of_tenant(random, of_giver, by)) {
            return Revoker::Nobody;
        }
        match is_same(of_giver, &self.mark_of_giver(random, by)) {
            true => Revoker::Giver,
            false => Revoker::OfTenant,
        }
    }

    /// The name of a new envelope. It says whose it is, to those only who know that already: there is no list of envelopes.
    fn new_id(&self, parent: &Caller) -> Result<String, Refusal> {
        let random = random::hex(&random::bytes::<16>()?);
        let of_giver = self.mark_of_giver(&random, parent);
        let of_tenant = self.mark_of_tenant(&random, &of_giver, parent);
        Ok(format!("{ID_PREFIX}{random}{of_tenant}{of_giver}"))
    }

    /// What a caller leaves in the names of its envelopes. No name has a control character.
    fn mark_of_giver(&self, random: &str, caller: &Caller) -> String {
        let (tenant, issuer, subject) = (caller.tenant(), caller.issuer(), caller.subject());
        let text = format!("giver\0{random}\0{tenant}\0{issuer}\0{subject}");
        self.key.mark(&text, MARK_DIGITS)
    }

    /// What its tenant leaves there: over all of the rest, so that one name does not make others.
    fn mark_of_tenant(&self, random: &str, of_giver: &str, caller: &Caller) -> String {
        let text = format!("tenant\0{random}\0{of_giver}\0{}", caller.tenant());
        self.key.mark(&text, MARK_DIGITS)
    }

    /// Refuses if one of the envelopes on which a caller stood was revoked, or what they stand on.
    pub(crate) fn check_remembered(
        &self,
        behalf: &[Delegator],
        credential: &str,
    ) -> Result<(), Refusal> {
        let (root, between) = behalf.split_first().ok_or(Refusal::Chain)?;
        let root = root_id(root.authority, &root.credential);
        let between = between
            .iter()
            .map(|delegator| delegator.credential.as_str());
        let ids = std::iter::once(root.as_str()).chain(between);
        self.revoked.check(ids.chain(std::iter::once(credential)))
    }

    fn check(&self, chain: &Chain) -> Result<(), Refusal> {
        self.revoked.check(chain.ids().iter().map(String::as_str))
    }

    /// On what a new envelope of `parent` stands.
    fn above(&self, parent: &Caller, now_ms: u64) -> Result<Above, Refusal> {
        if now_ms >= parent.expires_at_ms {
            return Err(Refusal::Expired);
        }
        let Some(presented) = &parent.presented else {
            let root = root_id(parent.authority, &parent.credential);
            self.revoked.check([root.as_str()])?;
            return Ok(Above {
                principal: Principal {
                    iss: parent.issuer.clone(),
                    sub: parent.subject.clone(),
                    authority: parent.authority,
                    credential: parent.credential.clone(),
                },
                links: Vec::new(),
            });
        };
        let chain = Chain::read(&presented.0, &self.issuer, &self.key, now_ms)?;
        self.check(&chain)?;
        if chain.links.len() >= MAX_ENVELOPE_DEPTH {
            return Err(Refusal::TooDeep);
        }
        Ok(Above {
            principal: chain.principal(),
            links: chain.links,
        })
    }
}

/// In a time that says nothing of where they differ.
fn is_same(one: &str, other: &str) -> bool {
    verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}

/// Who somebody is to an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revoker {
    /// The one who gave it.
    Giver,
    /// Of the same tenant.
    OfTenant,
    /// Of another tenant, or there is no such envelope.
    Nobody,
}

struct Above {
    principal: Principal,
    links: Vec<Link>,
}

/// Refuses what the parent has not, by its name.
fn is_narrower(parent: &Caller, wanted: &Wanted, now_ms: u64) -> Result<(), Refusal> {
    let wider = |what: &'static str, value: &str| {
        let value = value.to_owned();
        Err(Refusal::Wider { what, value })
    };
    if let Some(scope) = wanted.scopes.difference(&parent.scopes).next() {
        return wider("scope", scope);
    }
    let may_go_on = |role: &&Role| parent.roles.contains(*role) && role.is_delegable();
    if let Some(role) = wanted.roles.iter().find(|role| !may_go_on(role)) {
        return wider("role", role.as_str());
    }
    for ((what, wanted), (_, has)) in wanted.bounds.kinds().into_iter().zip(parent.bounds.kinds()) {
        if let (Some(wanted), Some(has)) = (wanted, has)
            && let Some(name) = wanted.difference(has).next()
        {
            return wider(what, name);
        }
    }
    let longest = now_ms.saturating_add(MAX_ENVELOPE_TTL_MS);
    if wanted.expires_at_ms > parent.expires_at_ms.min(longest) {
        return wider("expiry", &wanted.expires_at_ms.to_string());
    }
    // It counts in whole seconds, and one that never lives is a mistake.
    if now_ms >= wanted.expires_at_ms / 1_000 * 1_000 {
        return Err(Refusal::Expired);
    }
    Ok(())
}
