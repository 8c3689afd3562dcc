//! Envelopes: authority that was given on, and attempts to have more of it.

use std::{fs, os::unix::fs::PermissionsExt as _};

use casemate_callers::{
    ApiKeys, Authenticator, Bounds, Caller, Envelopes, HolderKey, HolderPublic, Issued, LocalUser,
    MAX_ENVELOPE_BYTES, MAX_ENVELOPE_DEPTH, MAX_ENVELOPE_TTL_MS, MemoryReplayGuard, NewApiKey,
    PROOF_SKEW_MS, Refusal, RefusalCode as Code, Role, Target, Wanted,
};
use casemate_model::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{AUDIENCE, NOW, TestKey, b64, refused, set};

const GATEWAY: &str = "https://gateway.example";
const HOUR_MS: u64 = 3_600_000;
pub(crate) const TARGET: Target<'static> = Target::Request {
    method: "POST",
    path: "/v1/calls",
};

pub(crate) fn user() -> Caller {
    user_with(
        &["calls:run", "files:read", "mail:send"],
        NOW + 48 * HOUR_MS,
    )
}

pub(crate) fn user_with(scopes: &[&str], expires_at_ms: u64) -> Caller {
    Caller::local_user(&LocalUser {
        uid: 1_000,
        tenant: "acme".to_owned(),
        audience: AUDIENCE.to_owned(),
        scopes: set(scopes),
        roles: [Role::Operator, Role::Approver].into(),
        expires_at_ms,
    })
    .unwrap()
}

pub(crate) struct Gateway {
    pub(crate) dir: TempDir,
    pub(crate) envelopes: Envelopes,
    pub(crate) guard: MemoryReplayGuard,
}

/// An envelope and its holder.
pub(crate) struct Held {
    pub(crate) issued: Issued,
    pub(crate) key: HolderKey,
}

pub(crate) fn wanted(key: &HolderKey) -> Wanted {
    Wanted {
        subject: "agent:researcher".to_owned(),
        scopes: set(&["calls:run", "files:read"]),
        roles: [Role::Operator].into(),
        bounds: Bounds::default(),
        expires_at_ms: NOW + HOUR_MS,
        holder: key.public(),
    }
}

impl Gateway {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            envelopes: Envelopes::open(dir.path(), GATEWAY).unwrap(),
            guard: MemoryReplayGuard::new(NOW - 10 * PROOF_SKEW_MS),
            dir,
        }
    }

    pub(crate) fn issue(
        &self,
        parent: &Caller,
        change: impl FnOnce(&mut Wanted),
    ) -> Result<Held, Refusal> {
        let key = HolderKey::generate().unwrap();
        let mut wanted = wanted(&key);
        change(&mut wanted);
        let issued = self.envelopes.issue(parent, &wanted, NOW)?;
        Ok(Held { issued, key })
    }

    pub(crate) fn verify_at(&self, held: &Held, now_ms: u64) -> Result<Caller, Refusal> {
        let proof = held.key.prove(&held.issued.text, &TARGET, now_ms).unwrap();
        self.envelopes
            .verify(&held.issued.text, &proof, &TARGET, &self.guard, now_ms)
    }

    pub(crate) fn verify(&self, held: &Held) -> Result<Caller, Refusal> {
        self.verify_at(held, NOW)
    }

    fn verify_text(&self, text: &str, key: &HolderKey) -> Result<Caller, Refusal> {
        let proof = key.prove(text, &TARGET, NOW).unwrap();
        self.envelopes
            .verify(text, &proof, &TARGET, &self.guard, NOW)
    }
}

/// R138, R156: a delegate is known by name, with whose authority it has, and less of it.
#[test]
fn a_delegate_acts_for_others() {
    let gateway = Gateway::new();
    let first = gateway.issue(&user(), |_| ()).unwrap();
    // What is for the holder is not for logs.
    assert!(!format!("{:?}", first.issued).contains(&first.issued.text));
    let caller = gateway.verify(&first).unwrap();
    assert_eq!(caller.subject(), "agent:researcher");
    assert_eq!((caller.issuer(), caller.audience()), (GATEWAY, AUDIENCE));
    assert_eq!(caller.tenant(), "acme");
    assert_eq!(*caller.scopes(), set(&["calls:run", "files:read"]));
    assert_eq!(*caller.roles(), [Role::Operator].into());
    assert_eq!(caller.authority(), Authenticator::Envelope);
    assert_eq!(caller.credential(), first.issued.id);
    let second = gateway
        .issue(&caller, |wanted| {
            wanted.subject = "agent:reader".to_owned();
            wanted.scopes = set(&["files:read"]);
            wanted.roles = [Role::Reader].into();
        })
        .map(|_| ());
    // A reader's role is not among the parent's.
    refused(second, Code::Wider);
    let second = gateway
        .issue(&caller, |wanted| {
            wanted.subject = "agent:reader".to_owned();
            wanted.scopes = set(&["files:read"]);
            wanted.roles = [].into();
        })
        .unwrap();
    let caller = gateway.verify(&second).unwrap();
    assert_eq!(*caller.scopes(), set(&["files:read"]));
    let behalf: Vec<_> = caller
        .behalf()
        .iter()
        .map(|by| by.subject.as_str())
        .collect();
    assert_eq!(behalf, ["uid:1000", "agent:researcher"]);
    assert_eq!(caller.principal(), user().principal());
    assert_eq!(user().principal(), ("casemate:local", "uid:1000"));
    assert_eq!(caller.behalf()[0].authority, Authenticator::LocalUser);
    assert_eq!(caller.behalf()[1].credential, first.issued.id);
    // Who has no role that may give authority on, cannot.
    let third = gateway.issue(&caller, |wanted| {
        wanted.scopes = set(&["files:read"]);
        wanted.roles = [].into();
    });
    refused(third.map(|_| ()), Code::NotPermitted);
}

/// R138, R156: what the parent has not is refused, by its name.
#[test]
fn what_is_wider_is_refused_by_its_name() {
    let gateway = Gateway::new();
    let bounds = Bounds {
        tools: Some(set(&["search", "read"])),
        ..Bounds::default()
    };
    let held = gateway
        .issue(&user(), |wanted| wanted.bounds = bounds)
        .unwrap();
    let parent = gateway.verify(&held).unwrap();
    let wider = |change: &dyn Fn(&mut Wanted)| {
        let refusal = gateway
            .issue(&parent, |wanted| change(wanted))
            .err()
            .unwrap();
        match refusal {
            Refusal::Wider { what, value } => (what, value),
            other => panic!("{other:?}"),
        }
    };
    let scope = wider(&|wanted| wanted.scopes = set(&["calls:run", "mail:send"]));
    assert_eq!(scope, ("scope", "mail:send".to_owned()));
    let scope = wider(&|wanted| wanted.scopes = set(&["calls:*"]));
    assert_eq!(scope, ("scope", "calls:*".to_owned()));
    let role = wider(&|wanted| wanted.roles = [Role::Administrator].into());
    assert_eq!(role, ("role", "administrator".to_owned()));
    let tool = wider(&|wanted| wanted.bounds.tools = Some(set(&["search", "delete"])));
    assert_eq!(tool, ("tool", "delete".to_owned()));
    let late = NOW + HOUR_MS + 1;
    let expiry = wider(&|wanted| wanted.expires_at_ms = late);
    assert_eq!(expiry, ("expiry", late.to_string()));
    // The parent is an approver, and still cannot give that on.
    let refusal = gateway.issue(&user(), |wanted| wanted.roles = [Role::Approver].into());
    refused(refusal.map(|_| ()), Code::Wider);
    let day = gateway.issue(&user(), |wanted| {
        wanted.expires_at_ms = NOW + MAX_ENVELOPE_TTL_MS + 1_000;
    });
    refused(day.map(|_| ()), Code::Wider);
}

/// R138: who wants nothing in particular has the parent's bounds, not none.
#[test]
fn bounds_are_inherited() {
    let gateway = Gateway::new();
    let bounds = Bounds {
        tools: Some(set(&["search", "read"])),
        agents: Some(set(&[])),
        threads: None,
    };
    let first = gateway
        .issue(&user(), |wanted| wanted.bounds = bounds.clone())
        .unwrap();
    let first = gateway.verify(&first).unwrap();
    assert_eq!(*first.bounds(), bounds);
    let second = gateway
        .issue(&first, |wanted| wanted.bounds.threads = Some(set(&["t1"])))
        .unwrap();
    let second = gateway.verify(&second).unwrap();
    assert_eq!(second.bounds().tools, bounds.tools);
    assert_eq!(second.bounds().agents, bounds.agents);
    assert_eq!(second.bounds().threads, Some(set(&["t1"])));
}

/// An envelope is of no use to somebody who only saw it, and a proof to nobody else.
#[test]
fn only_the_holder_can_use_it() {
    let gateway = Gateway::new();
    let held = gateway.issue(&user(), |_| ()).unwrap();
    let text = &held.issued.text;
    refused(
        gateway.verify_text(text, &HolderKey::generate().unwrap()),
        Code::Signature,
    );
    let other = gateway.issue(&user(), |_| ()).unwrap();
    let proof = other.key.prove(&other.issued.text, &TARGET, NOW).unwrap();
    let verify = |proof: &str, target: &Target<'_>| {
        gateway
            .envelopes
            .verify(text, proof, target, &gateway.guard, NOW)
    };
    refused(verify(&proof, &TARGET), Code::Signature);
    // The holder's own key, but for another envelope or request.
    let elsewhere = held.key.prove(&other.issued.text, &TARGET, NOW).unwrap();
    refused(verify(&elsewhere, &TARGET), Code::Proof);
    let call = Digest::of(b"call");
    let for_call = held.key.prove(text, &Target::Call(call), NOW).unwrap();
    refused(verify(&for_call, &TARGET), Code::Proof);
    refused(
        verify(&for_call, &Target::Call(Digest::of(b"else"))),
        Code::Proof,
    );
    assert!(verify(&for_call, &Target::Call(call)).is_ok());
    for (method, path) in [
        ("GET", "/v1/calls"),
        ("POST", "/v1/calls?x"),
        ("post", "/v1/calls"),
    ] {
        let proof = held.key.prove(text, &TARGET, NOW).unwrap();
        refused(
            verify(&proof, &Target::Request { method, path }),
            Code::Proof,
        );
    }
    // Neither is an envelope a proof, nor a token of an issuer either.
    refused(verify(text, &TARGET), Code::Type);
    refused(verify("", &TARGET), Code::Malformed);
    refused(verify(&"x".repeat(1 << 20), &TARGET), Code::TooLarge);
}

/// A proof is good once, for about a minute.
#[test]
fn a_proof_is_not_used_twice() {
    let gateway = Gateway::new();
    let held = gateway.issue(&user(), |_| ()).unwrap();
    let text = &held.issued.text;
    let proof = held.key.prove(text, &TARGET, NOW).unwrap();
    let verify = |now_ms: u64| {
        gateway
            .envelopes
            .verify(text, &proof, &TARGET, &gateway.guard, now_ms)
    };
    refused(verify(NOW + PROOF_SKEW_MS + 1), Code::StaleProof);
    refused(verify(NOW - PROOF_SKEW_MS - 1), Code::Future);
    assert!(verify(NOW + PROOF_SKEW_MS).is_ok());
    for age in [0, 1, PROOF_SKEW_MS] {
        refused(verify(NOW + age), Code::Replayed);
    }
    // What was refused for another reason is not used up.
    let proof = held.key.prove(text, &TARGET, NOW).unwrap();
    let other = Target::Call(Digest::of(b"x"));
    refused(
        gateway
            .envelopes
            .verify(text, &proof, &other, &gateway.guard, NOW),
        Code::Proof,
    );
    assert!(
        gateway
            .envelopes
            .verify(text, &proof, &TARGET, &gateway.guard, NOW)
            .is_ok()
    );
    // I1: after a restart, what may have been used before is refused.
    let proof = held.key.prove(text, &TARGET, NOW).unwrap();
    assert!(
        gateway
            .envelopes
            .verify(text, &proof, &TARGET, &gateway.guard, NOW)
            .is_ok()
    );
    let restarted = MemoryReplayGuard::new(NOW + 1);
    refused(
        gateway
            .envelopes
            .verify(text, &proof, &TARGET, &restarted, NOW + 1),
        Code::StaleProof,
    );
    let full = MemoryReplayGuard::with_capacity(NOW - 10 * PROOF_SKEW_MS, 0, 0);
    let proof = held.key.prove(text, &TARGET, NOW).unwrap();
    refused(
        gateway.envelopes.verify(text, &proof, &TARGET, &full, NOW),
        Code::Full,
    );
}

/// Proofs that were written by hand, by the right holder.
#[test]
fn a_proof_has_its_form() {
    let gateway = Gateway::new();
    let key = TestKey::new("EdDSA", "k");
    let holder = HolderPublic::from_bytes(key.public_bytes().try_into().unwrap());
    let held = gateway
        .issue(&user(), |wanted| wanted.holder = holder)
        .unwrap();
    let text = &held.issued.text;
    let verify = |header: &Value, payload: &Value| {
        let proof = key.sign(header, payload);
        gateway
            .envelopes
            .verify(text, &proof, &TARGET, &gateway.guard, NOW)
    };
    let header = json!({"alg": "EdDSA", "typ": "casemate-proof+jwt"});
    let good = json!({
        "jti": "0123456789abcdef", "iat": NOW / 1_000, "ath": Digest::of(text.as_bytes()),
        "htm": "POST", "htu": "/v1/calls",
    });
    assert!(verify(&header, &good).is_ok());
    refused(verify(&header, &good), Code::Replayed);
    for (name, value, code) in [
        ("jti", json!("0123456789abcde"), Code::InvalidClaim),
        ("jti", json!("x".repeat(65)), Code::InvalidClaim),
        ("jti", json!(1), Code::Malformed),
        ("jti", Value::Null, Code::Malformed),
        ("iat", Value::Null, Code::Malformed),
        ("iat", json!(0), Code::StaleProof),
        ("iat", json!(u64::MAX), Code::StaleProof),
        ("iat", json!(NOW / 1_000 + 61), Code::StaleProof),
        ("ath", json!(Digest::of(b"")), Code::Proof),
        ("htm", Value::Null, Code::Proof),
        ("htu", Value::Null, Code::Proof),
        ("call", json!(Digest::of(b"call")), Code::Proof),
        ("more", json!(1), Code::Malformed),
    ] {
        let mut payload = good.clone();
        payload["jti"] = json!("fedcba9876543210");
        match value {
            Value::Null => drop(payload.as_object_mut().unwrap().remove(name)),
            value => payload[name] = value,
        }
        refused(verify(&header, &payload), code);
    }
    for (name, value, code) in [
        ("typ", json!("jwt"), Code::Type),
        ("alg", json!("none"), Code::Algorithm),
        ("alg", json!("HS256"), Code::Algorithm),
        ("alg", json!("ES256"), Code::Algorithm),
        ("jwk", key.jwk(), Code::Header),
    ] {
        let mut header = header.clone();
        header[name] = value;
        refused(verify(&header, &good), code);
    }
}

/// A holder that outlives its process has its key again, and says it to others in the form of a JWK.
#[test]
fn a_holder_keeps_its_key() {
    let gateway = Gateway::new();
    let key = HolderKey::from_seed(&[7; 32]).unwrap();
    let x = key.public().to_x();
    let holder = HolderPublic::from_x(&x).unwrap();
    assert_eq!(holder, key.public());
    let Held { issued, .. } = gateway
        .issue(&user(), |wanted| wanted.holder = holder)
        .unwrap();
    let key = HolderKey::from_seed(&[7; 32]).unwrap();
    assert!(gateway.verify(&Held { issued, key }).is_ok());
    for bad in ["", "AAAA", &format!("{x}="), &format!("{x}A"), &x.repeat(2)] {
        assert!(HolderPublic::from_x(bad).is_none(), "{bad}");
    }
}

/// One proof for many threads at once is good for one of them.
#[test]
fn a_proof_is_used_by_one_of_many() {
    let gateway = Gateway::new();
    let held = gateway.issue(&user(), |_| ()).unwrap();
    let text = &held.issued.text;
    let proof = held.key.prove(text, &TARGET, NOW).unwrap();
    let good = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    gateway
                        .envelopes
                        .verify(text, &proof, &TARGET, &gateway.guard, NOW)
                        .is_ok()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .filter(|good| *good)
            .count()
    });
    assert_eq!(good, 1);
}

/// An envelope that was edited, or signed by somebody else, is none.
#[test]
fn an_edited_envelope_is_refused() {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let gateway = Gateway::new();
    let held = gateway.issue(&user(), |_| ()).unwrap();
    let parts: Vec<_> = held.issued.text.split('.').collect();
    let read = |part: &str| -> Value {
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let (header, payload) = (read(parts[0]), read(parts[1]));
    let forger = TestKey::new("EdDSA", header["kid"].as_str().unwrap());
    for (claim, value) in [
        ("scopes", json!(["admin"])),
        ("sub", json!("root")),
        ("tenant", json!("evil")),
        ("exp", json!(NOW)),
        ("roles", json!(["administrator"])),
        ("bounds", json!({})),
    ] {
        let mut payload = payload.clone();
        payload[claim] = value;
        let edited = format!("{}.{}.{}", parts[0], b64(payload.to_string()), parts[2]);
        let code = match edited == held.issued.text {
            true => continue,
            false => Code::Signature,
        };
        refused(gateway.verify_text(&edited, &held.key), code);
        refused(
            gateway.verify_text(&forger.sign(&header, &payload), &held.key),
            Code::Signature,
        );
    }
    let other_kid = header.to_string().replace(forger.kid.as_str(), "other");
    let renamed = format!("{}.{}.{}", b64(other_kid), parts[1], parts[2]);
    refused(gateway.verify_text(&renamed, &held.key), Code::UnknownKey);
    // Another gateway's envelope, and this one's under another name.
    let other = Gateway::new();
    let foreign = other.issue(&user(), |_| ()).unwrap();
    refused(gateway.verify(&foreign), Code::UnknownKey);
    let renamed = Envelopes::open(gateway.dir.path(), "https://other.example").unwrap();
    let proof = held.key.prove(&held.issued.text, &TARGET, NOW).unwrap();
    refused(
        renamed.verify(&held.issued.text, &proof, &TARGET, &gateway.guard, NOW),
        Code::Issuer,
    );
}

/// R138: an envelope stands on those above it: none can be left out, exchanged or put elsewhere.
#[test]
fn a_chain_cannot_be_rearranged() {
    let gateway = Gateway::new();
    let one = gateway.issue(&user(), |_| ()).unwrap();
    let parent = gateway.verify(&one).unwrap();
    let two = gateway.issue(&parent, |_| ()).unwrap();
    let parent = gateway.verify(&two).unwrap();
    let three = gateway.issue(&parent, |_| ()).unwrap();
    assert!(gateway.verify(&three).is_ok());
    let sibling = gateway.issue(&user(), |_| ()).unwrap();
    let tokens: Vec<_> = three.issued.text.split('~').collect();
    let (a, b, c) = (tokens[0], tokens[1], tokens[2]);
    let s = sibling.issued.text.as_str();
    let refuse = |tokens: &[&str], code| {
        refused(gateway.verify_text(&tokens.join("~"), &three.key), code);
    };
    for tokens in [
        vec![c],
        vec![b, c],
        vec![a, c],
        vec![b, a, c],
        vec![a, b, b],
        vec![a, a, b, c],
        vec![s, b, c],
        vec![a, s, c],
        vec![c, b, a],
        vec![a, b, c, c],
    ] {
        refuse(&tokens, Code::Chain);
    }
    refuse(&["", a, b, c], Code::Malformed);
    refuse(&[a, b, c, ""], Code::Malformed);
    // The holder of the last is not the holder of those above it.
    refuse(&[a, b], Code::Signature);
    refuse(&[a], Code::Signature);
    let many = vec![a; MAX_ENVELOPE_DEPTH + 1];
    refuse(&many, Code::Chain);
    refused(
        gateway.verify_text(&"x".repeat(MAX_ENVELOPE_BYTES + 1), &three.key),
        Code::TooLarge,
    );
}

/// I15: authority is not given on for ever.
#[test]
fn a_chain_has_an_end() {
    let gateway = Gateway::new();
    let mut parent = user();
    for depth in 0..MAX_ENVELOPE_DEPTH {
        let held = gateway.issue(&parent, |_| ()).unwrap();
        parent = gateway.verify(&held).unwrap();
        assert_eq!(parent.behalf().len(), depth + 1);
    }
    refused(gateway.issue(&parent, |_| ()).map(|_| ()), Code::TooDeep);
}

#[test]
fn an_envelope_ends_with_what_it_stands_on() {
    let gateway = Gateway::new();
    let short = user_with(&["calls:run"], NOW + 90_000);
    let held = gateway
        .issue(&short, |wanted| {
            wanted.scopes = set(&["calls:run"]);
            wanted.expires_at_ms = NOW + 90_000;
        })
        .unwrap();
    let caller = gateway.verify(&held).unwrap();
    assert_eq!(caller.expires_at_ms(), NOW + 90_000);
    refused(gateway.verify_at(&held, NOW + 90_000), Code::Expired);
    let below = gateway.issue(&caller, |wanted| {
        wanted.scopes = set(&["calls:run"]);
        wanted.expires_at_ms = NOW + 91_000;
    });
    refused(below.map(|_| ()), Code::Wider);
    // A parent that ended gives nothing on, whatever the delegate asks for.
    let key = HolderKey::generate().unwrap();
    let late = Wanted {
        scopes: set(&["calls:run"]),
        expires_at_ms: NOW + 100_000,
        ..wanted(&key)
    };
    for parent in [&short, &caller] {
        refused(
            gateway.envelopes.issue(parent, &late, NOW + 90_000),
            Code::Expired,
        );
    }
    let dead = gateway.issue(&user(), |wanted| wanted.expires_at_ms = NOW);
    refused(dead.map(|_| ()), Code::Expired);
    refused(gateway.verify_at(&held, NOW - HOUR_MS), Code::Future);
}

/// R95: what is revoked counts no more, nor does anything that stands on it, in any process.
#[test]
fn a_revocation_covers_all_below() {
    let gateway = Gateway::new();
    let elsewhere = Envelopes::open(gateway.dir.path(), GATEWAY).unwrap();
    let one = gateway.issue(&user(), |_| ()).unwrap();
    let first = gateway.verify(&one).unwrap();
    let two = gateway.issue(&first, |_| ()).unwrap();
    let second = gateway.verify(&two).unwrap();
    let three = gateway.issue(&second, |_| ()).unwrap();
    let beside = gateway.issue(&first, |_| ()).unwrap();
    elsewhere.revoke("acme", &two.issued.id, NOW).unwrap();
    refused(gateway.verify(&two), Code::Revoked);
    refused(gateway.verify(&three), Code::Revoked);
    refused(gateway.issue(&second, |_| ()).map(|_| ()), Code::Revoked);
    assert!(gateway.verify(&one).is_ok() && gateway.verify(&beside).is_ok());
    // And with a new start.
    let again = Envelopes::open(gateway.dir.path(), GATEWAY).unwrap();
    let proof = three.key.prove(&three.issued.text, &TARGET, NOW).unwrap();
    refused(
        again.verify(&three.issued.text, &proof, &TARGET, &gateway.guard, NOW),
        Code::Revoked,
    );
}

/// R95: with an API key go the envelopes that its holder gave out.
#[test]
fn the_envelopes_of_a_credential_are_revoked_with_it() {
    let gateway = Gateway::new();
    let keys = ApiKeys::open(&gateway.dir.path().join("keys"), AUDIENCE).unwrap();
    let new = NewApiKey {
        subject: "ci".to_owned(),
        tenant: "acme".to_owned(),
        scopes: set(&["calls:run", "files:read"]),
        roles: [Role::Operator].into(),
        ttl_ms: 2 * HOUR_MS,
    };
    let (key, text) = keys.create(&new, NOW).unwrap();
    let holder = keys.verify(&text, NOW).unwrap();
    let one = gateway.issue(&holder, |_| ()).unwrap();
    let first = gateway.verify(&one).unwrap();
    let two = gateway.issue(&first, |_| ()).unwrap();
    gateway
        .envelopes
        .revoke_all_of(Authenticator::ApiKey, &key.id, NOW)
        .unwrap();
    refused(gateway.verify(&one), Code::Revoked);
    refused(gateway.verify(&two), Code::Revoked);
    refused(gateway.issue(&holder, |_| ()).map(|_| ()), Code::Revoked);
    assert!(gateway.issue(&user(), |_| ()).is_ok());
}

/// I1: without the file of revocations nobody knows what was revoked, and so nothing counts.
#[test]
fn lost_revocations_let_nobody_in() {
    let gateway = Gateway::new();
    let held = gateway.issue(&user(), |_| ()).unwrap();
    let path = gateway.dir.path().join("revoked.jsonl");
    gateway.envelopes.revoke("acme", "env_other", NOW).unwrap();
    let good = fs::read(&path).unwrap();
    assert!(gateway.verify(&held).is_ok());
    for bad in [&b"x"[..], b"{}\n", &good[..good.len() - 1], b"\n"] {
        fs::write(&path, bad).unwrap();
        refused(gateway.verify(&held), Code::Store);
        refused(gateway.issue(&user(), |_| ()).map(|_| ()), Code::Store);
        refused(gateway.envelopes.revoke("acme", "env_x", NOW), Code::Store);
    }
    fs::write(&path, &good).unwrap();
    assert!(gateway.verify(&held).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    refused(gateway.verify(&held), Code::Store);
    fs::remove_file(&path).unwrap();
    refused(gateway.verify(&held), Code::Store);
}

/// The key is made once, is nobody else's to read, and is not replaced when it is damaged.
#[test]
fn the_key_of_the_gateway_is_kept() {
    let gateway = Gateway::new();
    let held = gateway.issue(&user(), |_| ()).unwrap();
    let path = gateway.dir.path().join("envelope.key");
    let content = fs::read_to_string(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!format!("{:?}", gateway.envelopes).contains(&content[22..54]));
    let again = Envelopes::open(gateway.dir.path(), GATEWAY).unwrap();
    let proof = held.key.prove(&held.issued.text, &TARGET, NOW).unwrap();
    assert!(
        again
            .verify(&held.issued.text, &proof, &TARGET, &gateway.guard, NOW)
            .is_ok()
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    refused(Envelopes::open(gateway.dir.path(), GATEWAY), Code::Store);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for bad in [
        "",
        "casemate-envelope-key \n",
        content.trim_end(),
        &content.replace('-', "_"),
    ] {
        fs::write(&path, bad).unwrap();
        refused(Envelopes::open(gateway.dir.path(), GATEWAY), Code::Store);
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
}
