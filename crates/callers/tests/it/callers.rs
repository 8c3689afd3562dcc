//! The file that says who may call, and who may still call later.

use std::{collections::BTreeSet, fs};

use casemate_callers::{
    Authenticator, Caller, Callers, CallersError, Credential, HolderKey, MAX_TENANT_REVOCATIONS,
    NewApiKey, Refusal, RefusalCode as Code, Remembered, Role, Target, Wanted,
};
use casemate_model::Digest;
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
        (
            "audience = \"a\"\n[api_keys]\n[envelopes]\nissuer = \"casemate:api-keys\"\n",
            "names its own",
        ),
        (
            "audience = \"a\"\n[[issuer]]\nissuer = \"https://x\"\naudiences = [\"a\"]\njwks = \"/x\"\nalgorithms = [\"EdDSA\"]\n\
             [envelopes]\nissuer = \"https://x\"\n",
            "there twice",
        ),
    ] {
        let faults = Callers::check(text).unwrap_err();
        assert!(faults[0].message.contains(says), "{faults:?}");
        let dir = tempfile::tempdir().unwrap();
        let opened = Callers::open(text, &dir.path().join("callers"), NOW);
        assert!(matches!(opened, Err(CallersError::Config(_))), "{opened:?}");
        assert!(!dir.path().join("callers").exists());
    }
}

/// Somebody of this tenant with these roles, and the name of an envelope that it gave.
fn giver(world: &World, subject: &str, tenant: &str, role: Role) -> (Caller, String) {
    let (_, text) = world
        .callers
        .new_key(
            &NewApiKey {
                subject: subject.to_owned(),
                tenant: tenant.to_owned(),
                ..new_key(&[role, Role::Operator])
            },
            NOW,
        )
        .unwrap();
    let key = Credential::ApiKey(&text);
    let caller = world.callers.authenticate(key, &TARGET, NOW).unwrap();
    let wanted = Wanted {
        subject: "agent".to_owned(),
        scopes: BTreeSet::new(),
        roles: BTreeSet::new(),
        bounds: casemate_callers::Bounds::default(),
        expires_at_ms: NOW + 60_000,
        holder: HolderKey::generate().unwrap().public(),
    };
    let issued = world.callers.delegate(&caller, &wanted, NOW).unwrap();
    (caller, issued.id)
}

/// R138: only what this gateway issued can be taken back: names that somebody made up fill no file.
#[test]
fn a_name_that_was_made_up_is_not_revoked() {
    let world = World::new();
    let (administrator, id) = giver(&world, "root", "acme", Role::Administrator);
    let random = &id[4..36];
    // As whoever knows all of it but the key would make it.
    let digest = |text: String| {
        let digest = Digest::of(text.as_bytes()).to_string();
        let digits = digest.rsplit(':').next().unwrap().to_owned();
        digits[..16].to_owned()
    };
    let unkeyed = [
        digest(format!("{random}\0acme")),
        digest(format!("{random}\0acme\0casemate:api-keys\0root")),
    ]
    .concat();
    let zeros = "0".repeat(16);
    for made_up in [
        format!("env_{random}{unkeyed}"),
        // A mark of the tenant is one of this envelope, and of no other giver or chance.
        format!("{}{zeros}", &id[..52]),
        format!("env_{}{}", "0".repeat(32), &id[36..]),
        format!("{id}0"),
        id[..52].to_owned(),
    ] {
        let revoked = world.callers.revoke_envelope(&administrator, &made_up, NOW);
        refused(revoked, Code::UnknownKey);
    }
    let file = world.dir.path().join("callers/revoked.jsonl");
    assert_eq!(fs::read(&file).unwrap(), b"");
    world
        .callers
        .revoke_envelope(&administrator, &id, NOW)
        .unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains(&id));
}

/// I15: a tenant that revokes as many envelopes as it may keeps out nobody but itself; and taking a key back works still.
#[test]
fn a_tenant_does_not_use_up_the_revocations_of_others() {
    let world = World::new();
    let (acme, id) = giver(&world, "alice", "acme", Role::Operator);
    let (other, others) = giver(&world, "eve", "other", Role::Operator);
    let file = world.dir.path().join("callers/revoked.jsonl");
    let lines: String = (0..MAX_TENANT_REVOCATIONS)
        .map(|nth| format!("{{\"id\":\"env_{nth}\",\"at_ms\":{NOW},\"tenant\":\"acme\"}}\n"))
        .collect();
    fs::write(&file, &lines).unwrap();
    refused(world.callers.revoke_envelope(&acme, &id, NOW), Code::Quota);
    assert_eq!(fs::read_to_string(&file).unwrap(), lines);
    world.callers.revoke_envelope(&other, &others, NOW).unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains(&others));
    world
        .callers
        .revoke_key("acme", acme.credential(), NOW)
        .unwrap();
}
