//! Certificates of clients: the key stays, and signs one handshake for one grant.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use casemate_authority::{Position, SwitchKind};
use casemate_identity::limits::{MAX_LEASE_TICKETS, MAX_TICKETS, TICKET_TTL_MS};
use casemate_identity::{Form, Identity, Kind, Presented, Secret, Secrets};
use rcgen::{CertificateParams, KeyPair};

use crate::world::{ISSUER, ME, World, handle, lease, leased_for, request, usage};

/// ECDSA on P-256 with SHA-256 (RFC 8446, 4.2.3).
const P256: u16 = 0x0403;

/// A key with its certificate, in PEM.
fn made() -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["agent.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = |what: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
    };
    pem("PRIVATE KEY", &key.serialize_der()) + &pem("CERTIFICATE", certificate.der())
}

fn world() -> World {
    let world = World::new();
    let secret = Secret::read(made().as_bytes(), Form::Pem).unwrap();
    world
        .store()
        .add(
            handle("cred:orders"),
            Kind::Mtls {},
            &Secrets::of(secret),
            world.hands.now(),
        )
        .unwrap();
    world
}

fn handshake() -> Vec<u8> {
    let front = &b"TLS 1.3, client CertificateVerify\0"[..];
    [&[b' '; 64][..], front, &[7; 32]].concat()
}

fn presented(identity: &Identity, lease: &casemate_identity::LeaseId) -> Presented {
    let granted = identity.grant(lease, ME, &request("cred:orders")).unwrap();
    assert!(granted.fields.is_empty() && granted.hidden.is_empty());
    granted.presented.unwrap()
}

fn is_signed(identity: &Identity, ticket: &Secret) -> bool {
    identity.sign(ticket, P256, &handshake()).is_ok()
}

/// R74, R77, R79, I2: a grant has one handshake signed, once, while its lease and its credential stand; whoever asks with anything else, or for anything else, gets
/// nothing, and has used up what was good.
#[test]
fn a_grant_is_one_signature() {
    let world = world();
    let identity = world.identity();
    let held = lease(&identity);
    assert_eq!(identity.presents(&held, ME), [handle("cred:orders")]);
    let first = presented(&identity, &held);
    assert!(!first.is_rsa && first.certificates.len() == 1);
    assert!(is_signed(&identity, &first.ticket));
    assert!(!is_signed(&identity, &first.ticket));
    // A wrong attempt burns it.
    let second = presented(&identity, &held).ticket;
    assert!(
        identity
            .sign(&second, P256, b"a token to be signed")
            .is_err()
    );
    assert!(!is_signed(&identity, &second));
    let unknown = Secret::read(b"00000000000000000000000000000000", Form::Line).unwrap();
    assert!(!is_signed(&identity, &unknown));
    // It does not wait for ever, and not across a clock that goes back.
    let late = presented(&identity, &held).ticket;
    world.hands.go(60_000);
    assert!(!is_signed(&identity, &late));
    // Nor after another process of identity has begun.
    let before = presented(&identity, &held).ticket;
    assert!(!is_signed(&world.identity(), &before));
    // It ends with the lease.
    let over = presented(&identity, &held).ticket;
    identity.end(&held, ME);
    assert!(!is_signed(&identity, &over));
}

/// R95, I2: what is switched off or revoked after the grant signs nothing any more.
#[test]
fn what_is_taken_back_signs_nothing() {
    let world = world();
    let identity = world.identity();
    let held = lease(&identity);
    let ticket = presented(&identity, &held).ticket;
    world.throw(SwitchKind::Credential, "cred:orders", Position::Off);
    assert!(!is_signed(&identity, &ticket));
    world.throw(SwitchKind::Credential, "cred:orders", Position::On);
    let again = lease(&identity);
    let ticket = presented(&identity, &again).ticket;
    world.store().revoke(&handle("cred:orders")).unwrap();
    assert!(!is_signed(&identity, &ticket));
}

/// R77, R87: as many handshakes are signed as the rule has requests, for what the rule is about.
#[test]
fn handshakes_are_counted_and_scoped() {
    let world = world();
    let identity = world.identity();
    let mut once = usage("cred:orders");
    once.most = 1;
    let held = leased_for(&identity, once);
    let mut other = request("cred:orders");
    other.path = "/v2/a".to_owned();
    assert!(identity.grant(&held, ME, &other).is_err());
    presented(&identity, &held);
    assert!(identity.grant(&held, ME, &request("cred:orders")).is_err());
}

/// I15: a call that asks for handshakes and makes none uses up its own tickets, and nobody else's; they are forgotten with its lease, or with the connection of
/// whoever ordered it.
#[test]
fn a_call_uses_up_its_own_tickets() {
    let world = world();
    let identity = world.identity();
    let granted = |lease: &casemate_identity::LeaseId| {
        identity.grant(lease, ME, &request("cred:orders")).is_ok()
    };
    // More than there may be of all calls, one call after the other.
    for round in 0..=MAX_TICKETS / MAX_LEASE_TICKETS {
        let greedy = lease(&identity);
        for _ in 0..MAX_LEASE_TICKETS {
            assert!(granted(&greedy), "{round}");
        }
        assert!(!granted(&greedy));
        let modest = lease(&identity);
        assert!(is_signed(&identity, &presented(&identity, &modest).ticket));
        match round % 3 {
            0 => identity.end(&greedy, ME),
            1 => identity.leave(ME),
            _ => identity.leave(ISSUER),
        }
    }
    // And with the time.
    let held = lease(&identity);
    while granted(&held) {}
    world.hands.go(TICKET_TTL_MS);
    assert!(granted(&held));
}
