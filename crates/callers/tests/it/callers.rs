//! The file that says who may call, and who may still call later.

use std::{collections::BTreeSet, fs};

use casemate_callers::{
    Authenticator, Callers, CallersError, Credential, HolderKey, NewApiKey, Refusal,
    RefusalCode as Code, Remembered, Role, Target, Wanted,
};
use tempfile::TempDir;

use crate::support::{AUDIENCE, ISSUER, NOW, NOW_S, TestKey, claims, jwks, refused, set};

const GATEWAY: &str = "https://gateway.example";
const TARGET: Target<'static> = Target::Request {
    method: "POST",
    path: "/v1/calls",
};

fn file(dir: &TempDir, rest: &str) -> String {
    let jwks = dir.path().join("jwks.json");
    format!(
        "audience = \"{AUDIENCE}\"\n[[issuer]]\nissuer = \"{ISSUER}\"\naudiences = [\"{AUDIENCE}\"]\njwks = \"{}\"\n\
         algorithms = [\"EdDSA\"]\nroles = {{ casemate-operators = \"operator\" }}\n{rest}",
        jwks.display()
    )
}

const ALL: &str = "[[certificate]]\nuri = \"spiffe://acme/x\"\nsubject = \"x\"\ntenant = \"acme\"\n\
                   scopes = [\"calls:run\"]\nroles = [\"operator\"]\n[api_keys]\n[envelopes]\nissuer = \"https://gateway.example\"\n";

struct World {
    dir: TempDir,
    callers: Callers,
    key: TestKey,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = TestKey::new("EdDSA", "k1");
        fs::write(dir.path().join("jwks.json"), jwks(&[&key]).to_string()).unwrap();
        let callers = open(&dir, ALL);
        Self { dir, callers, key }
    }
}

fn open(dir: &TempDir, rest: &str) -> Callers {
    Callers::open(&file(dir, rest), &dir.path().join("callers"), NOW - 600_000).unwrap()
}

fn new_key(roles: &[Role]) -> NewApiKey {
    NewApiKey {
        subject: "robot".to_owned(),
        tenant: "acme".to_owned(),
        scopes: set(&["calls:run", "files:read"]),
        roles: roles.iter().copied().collect(),
        ttl_ms: 3_600_000,
    }
}

/// What is remembered of a caller while its call waits.
fn renewed(
    callers: &Callers,
    was: &casemate_callers::Caller,
    now_ms: u64,
) -> Result<BTreeSet<String>, Refusal> {
    let remembered = Remembered {
        authority: was.authority(),
        issuer: was.issuer(),
        subject: was.subject(),
        tenant: was.tenant(),
        credential: was.credential(),
        behalf: was.behalf(),
        scopes: was.scopes(),
        expires_at_ms: was.expires_at_ms(),
    };
    callers.renew(&remembered, now_ms)
}

/// A token counts until it expires, and while its issuer is believed.
#[test]
fn a_token_is_renewed_until_it_expires() {
    let world = World::new();
    let token = world.key.token(&claims());
    let was = world
        .callers
        .authenticate(Credential::Token(&token), &TARGET, NOW)
        .unwrap();
    assert_eq!(
        renewed(&world.callers, &was, NOW + 1).unwrap(),
        *was.scopes()
    );
    refused(
        renewed(&world.callers, &was, was.expires_at_ms()),
        Code::Expired,
    );
    assert_eq!(was.expires_at_ms(), (NOW_S + 630) * 1_000);
    let other = ALL.to_owned();
    let text = file(&world.dir, &other).replace(ISSUER, "https://another.example");
    let callers = Callers::open(&text, &world.dir.path().join("callers"), NOW).unwrap();
    refused(renewed(&callers, &was, NOW + 1), Code::Issuer);
}

/// A key counts while there is one, and may run calls.
#[test]
fn a_key_is_renewed_while_there_is_one() {
    let world = World::new();
    let (key, text) = world
        .callers
        .new_key(&new_key(&[Role::Operator]), NOW)
        .unwrap();
    let was = world
        .callers
        .authenticate(Credential::ApiKey(&text), &TARGET, NOW)
        .unwrap();
    assert_eq!(
        renewed(&world.callers, &was, NOW + 1).unwrap(),
        *was.scopes()
    );
    refused(
        renewed(&world.callers, &was, NOW + 3_600_000),
        Code::Expired,
    );
    let (_, reads) = world
        .callers
        .new_key(&new_key(&[Role::Reader]), NOW)
        .unwrap();
    let reader = world
        .callers
        .authenticate(Credential::ApiKey(&reads), &TARGET, NOW)
        .unwrap();
    refused(
        renewed(&world.callers, &reader, NOW + 1),
        Code::NotPermitted,
    );
    refused(
        world.callers.revoke_key("other", &key.id, NOW),
        Code::UnknownKey,
    );
    assert!(renewed(&world.callers, &was, NOW + 1).is_ok());
    world.callers.revoke_key("acme", &key.id, NOW).unwrap();
    refused(renewed(&world.callers, &was, NOW + 1), Code::Revoked);
}

/// A certificate counts while a rule says who its holder is, with what the rule of now gives.
#[test]
fn a_certificate_is_renewed_while_its_rule_stands() {
    let world = World::new();
    let (scopes, behalf) = (set(&["calls:run", "more"]), Vec::new());
    let was = |subject| Remembered {
        authority: Authenticator::Certificate,
        issuer: "casemate:certificates",
        subject,
        tenant: "acme",
        credential: "sha256:00",
        behalf: &behalf,
        scopes: &scopes,
        expires_at_ms: NOW + 10,
    };
    assert_eq!(
        world.callers.renew(&was("x"), NOW).unwrap(),
        set(&["calls:run"])
    );
    refused(world.callers.renew(&was("y"), NOW), Code::NoRule);
    refused(world.callers.renew(&was("x"), NOW + 10), Code::Expired);
    let reader = open(&world.dir, &ALL.replace("\"operator\"]", "\"reader\"]"));
    refused(reader.renew(&was("x"), NOW), Code::NotPermitted);
}

/// R138: an envelope counts while neither it nor what it stands on was taken back; what its root lost, it lost too.
#[test]
fn an_envelope_is_renewed_while_all_that_it_stands_on_is() {
    let world = World::new();
    let (key, text) = world
        .callers
        .new_key(&new_key(&[Role::Operator]), NOW)
        .unwrap();
    let giver = world
        .callers
        .authenticate(Credential::ApiKey(&text), &TARGET, NOW)
        .unwrap();
    let issue = |subject: &str| {
        let holder = HolderKey::generate().unwrap();
        let wanted = Wanted {
            subject: subject.to_owned(),
            scopes: set(&["calls:run"]),
            roles: [Role::Operator].into(),
            bounds: casemate_callers::Bounds::default(),
            expires_at_ms: NOW + 60_000,
            holder: holder.public(),
        };
        let issued = world.callers.delegate(&giver, &wanted, NOW).unwrap();
        let proof = holder.prove(&issued.text, &TARGET, NOW).unwrap();
        let envelope = Credential::Envelope {
            text: &issued.text,
            proof: &proof,
        };
        (
            issued.id.clone(),
            world.callers.authenticate(envelope, &TARGET, NOW).unwrap(),
        )
    };
    let (id, was) = issue("one");
    let (_, other) = issue("other");
    assert_eq!(
        renewed(&world.callers, &was, NOW + 1).unwrap(),
        set(&["calls:run"])
    );
    refused(renewed(&world.callers, &was, NOW + 60_000), Code::Expired);
    world.callers.revoke_envelope(&giver, &id, NOW).unwrap();
    refused(renewed(&world.callers, &was, NOW + 1), Code::Revoked);
    assert!(renewed(&world.callers, &other, NOW + 1).is_ok());
    // A gateway that has no keys any more does not believe what stands on one.
    let without = open(
        &world.dir,
        &format!("[envelopes]\nissuer = \"{GATEWAY}\"\n"),
    );
    refused(renewed(&without, &other, NOW + 1), Code::UnknownKey);
    world.callers.revoke_key("acme", &key.id, NOW).unwrap();
    refused(renewed(&world.callers, &other, NOW + 1), Code::Revoked);
}

/// Everything that is wrong with a file is said at once, with its place; nothing is made of it.
#[test]
fn every_fault_of_a_file_is_found() {
    let text = "audience = \"\"\n\n[[issuer]]\nissuer = \"local\"\naudiences = [\"a\"]\njwks = \"/x\"\nalgorithms = [\"EdDSA\"]\n\
                [[certificate]]\nsubject = \"x\"\ntenant = \"acme\"\n[api_keys]\n";
    let faults = Callers::check(text).unwrap_err();
    let places: Vec<_> = faults
        .iter()
        .map(|fault| (fault.line, fault.column))
        .collect();
    assert_eq!(places, [(1, 12), (3, 1), (8, 1)], "{faults:?}");
    for (text, says) in [
        ("audience = \"a\"\n", "nobody could call"),
        (
            "audience = \"a\"\n[api_keys]\nfile = \"x\"\n",
            "unknown field",
        ),
        (
            "audience = \"a\"\nadmin = true\n[api_keys]\n",
            "unknown field",
        ),
        (
            "audience = \"a\"\naudience = \"b\"\n[api_keys]\n",
            "duplicate",
        ),
        ("[api_keys]\n", "missing field"),
    ] {
        let faults = Callers::check(text).unwrap_err();
        assert!(faults[0].message.contains(says), "{faults:?}");
        let dir = tempfile::tempdir().unwrap();
        let opened = Callers::open(text, &dir.path().join("callers"), NOW);
        assert!(matches!(opened, Err(CallersError::Config(_))), "{opened:?}");
        assert!(!dir.path().join("callers").exists());
    }
}
