//! Tokens that stand for an API key: never more than the key, and not for long.

use std::fs;

use casemate_callers::{
    Callers, Credential, KEY_TOKEN_PREFIX, KeyToken, MAX_KEY_TOKEN_TTL_MS, NewApiKey, Refusal,
    RefusalCode as Code, Role, Target,
};
use tempfile::TempDir;

use crate::support::{NOW, refused, set};

const POOLS: &str = "/pool/";
const AT_A_POOL: &str = "/pool/a/executions?x";

struct Gateway {
    dir: TempDir,
    callers: Callers,
}

impl Gateway {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let callers = open(&dir);
        Self { dir, callers }
    }

    fn key(&self, ttl_ms: u64) -> (String, String) {
        let new = NewApiKey {
            subject: "ci".to_owned(),
            tenant: "acme".to_owned(),
            scopes: set(&["calls:run"]),
            roles: [Role::Operator].into(),
            ttl_ms,
        };
        let (key, text) = self.callers.new_key(&new, NOW).unwrap();
        (key.id, text.to_string())
    }

    fn token(&self, key: &str) -> KeyToken {
        let holder = self
            .ask(Credential::ApiKey(key), "/msi/token", NOW)
            .unwrap();
        self.callers.key_token(&holder, POOLS, NOW).unwrap()
    }

    fn ask(
        &self,
        credential: Credential<'_>,
        path: &str,
        now_ms: u64,
    ) -> Result<casemate_callers::Caller, Refusal> {
        let target = Target::Request {
            method: "POST",
            path,
        };
        self.callers.authenticate(credential, &target, now_ms)
    }

    fn with(&self, token: &str, path: &str, now_ms: u64) -> Result<(), Refusal> {
        self.ask(Credential::KeyToken(token), path, now_ms)
            .map(drop)
    }
}

fn open(dir: &TempDir) -> Callers {
    let text = "audience = \"casemate-run\"\n[api_keys]\n[envelopes]\nissuer = \"https://gw\"\n";
    Callers::open(text, &dir.path().join("callers"), NOW).unwrap()
}

/// R153: a token is the key where it is good, is good nowhere else, and not for long.
#[test]
fn a_token_is_its_key_for_a_while_and_at_one_place() {
    let gateway = Gateway::new();
    let (_, key) = gateway.key(24 * MAX_KEY_TOKEN_TTL_MS);
    let token = gateway.token(&key);
    let text = token.text.as_str();
    assert!(text.starts_with(KEY_TOKEN_PREFIX));
    assert!(!format!("{token:?}").contains(text));
    let holder = gateway
        .ask(Credential::ApiKey(&key), AT_A_POOL, NOW)
        .unwrap();
    let caller = gateway
        .ask(Credential::KeyToken(text), AT_A_POOL, NOW)
        .unwrap();
    assert_eq!(caller.expires_at_ms(), NOW + MAX_KEY_TOKEN_TTL_MS);
    assert_eq!(caller.subject(), holder.subject());
    assert_eq!(
        (caller.scopes(), caller.roles()),
        (holder.scopes(), holder.roles())
    );
    assert_eq!(caller.credential(), holder.credential());
    for elsewhere in [
        "/v1/calls",
        "/msi/token",
        "/mcp",
        "/pool",
        "/poolx/",
        "//pool/",
        "",
    ] {
        refused(gateway.with(text, elsewhere, NOW), Code::Audience);
    }
    let last = NOW + MAX_KEY_TOKEN_TTL_MS - 1;
    gateway.with(text, AT_A_POOL, last).unwrap();
    refused(gateway.with(text, AT_A_POOL, last + 1), Code::Expired);
    // After a start too, and not at another gateway.
    let again = open(&gateway.dir);
    let target = Target::Request {
        method: "GET",
        path: AT_A_POOL,
    };
    again
        .authenticate(Credential::KeyToken(text), &target, NOW)
        .unwrap();
    let other = Gateway::new();
    refused(other.with(text, AT_A_POOL, NOW), Code::UnknownKey);
}

/// R153: a token ends with its key: when that expires, and when it is taken back.
#[test]
fn a_token_never_outlives_its_key() {
    let gateway = Gateway::new();
    let (_, key) = gateway.key(10_500);
    let token = gateway.token(&key);
    // In whole seconds, and so never longer.
    assert_eq!(token.expires_at_ms, (NOW + 10_500) / 1_000 * 1_000);
    refused(
        gateway.with(&token.text, AT_A_POOL, token.expires_at_ms),
        Code::Expired,
    );
    let (id, key) = gateway.key(MAX_KEY_TOKEN_TTL_MS);
    let token = gateway.token(&key);
    gateway.with(&token.text, AT_A_POOL, NOW).unwrap();
    gateway.callers.revoke_key("acme", &id, NOW).unwrap();
    refused(gateway.with(&token.text, AT_A_POOL, NOW), Code::Revoked);
}

/// I14: what was changed in any place is no token, and no other thing that this gateway signs is one.
#[test]
fn a_forged_token_is_none() {
    let gateway = Gateway::new();
    let (_, key) = gateway.key(MAX_KEY_TOKEN_TTL_MS);
    let token = gateway.token(&key);
    let text = token.text.as_str();
    for at in KEY_TOKEN_PREFIX.len()..text.len() {
        let mut forged = text.as_bytes().to_vec();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        // The last letter of base64 may have bits that say nothing: such a spelling is refused or is the same token.
        if at + 1 < text.len() {
            gateway.with(&forged, AT_A_POOL, NOW).unwrap_err();
        }
    }
    for text in [
        "",
        "cmt_",
        "cmt_a.b.c",
        &text[KEY_TOKEN_PREFIX.len()..],
        &key,
    ] {
        gateway.with(text, AT_A_POOL, NOW).unwrap_err();
    }
    // The key that signs is for nobody else to read.
    use std::os::unix::fs::PermissionsExt as _;
    let file = gateway.dir.path().join("callers/token.key");
    let mode = fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
