//! What secrets are usually called and what they look like.
//!
//! A net with holes, and only the first of several: a sandbox gets nothing that its caller did not
//! declare. This catches the caller who declares a secret out of habit.

/// Whole names, in upper case.
const NAMES: &[&str] = &[
    // The word alone.
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "APIKEY",
    "API_KEY",
    "PRIVATE_KEY",
    "CREDENTIALS",
    "CONNECTION_STRING",
    // Half of a key pair that opens an account together with the other half.
    "AWS_ACCESS_KEY_ID",
    // Files that hold credentials, or sockets that lend them.
    "GOOGLE_APPLICATION_CREDENTIALS",
    "KUBECONFIG",
    "NETRC",
    "SSH_AUTH_SOCK",
    "GPG_AGENT_INFO",
    // Passwords under names of their own.
    "PGPASSWORD",
    "PGPASSFILE",
    "MYSQL_PWD",
    "REDISCLI_AUTH",
    "SSHPASS",
    "NPM_CONFIG__AUTH",
    // CI runners.
    "SYSTEM_ACCESSTOKEN",
    "CI_JOB_JWT",
];

/// Ends of names, in upper case. The seeds' `OPENAI_API_KEY`, `AZURE_CLIENT_SECRET` and `GITHUB_TOKEN`
/// are among them.
const NAME_ENDS: &[&str] = &[
    "_TOKEN",
    "_SECRET",
    "_SECRETS",
    "_PASSWORD",
    "_PASSWD",
    "_PASSPHRASE",
    "_CREDENTIAL",
    "_CREDENTIALS",
    "_API_KEY",
    "_APIKEY",
    "_ACCESS_KEY",
    "_SECRET_KEY",
    "_PRIVATE_KEY",
    "_SSH_KEY",
    "_SIGNING_KEY",
    "_ENCRYPTION_KEY",
    "_MASTER_KEY",
    "_ACCOUNT_KEY",
    "_STORAGE_KEY",
    "_SAS_URL",
    "_CONNECTION_STRING",
    "_PAT",
];

/// How a kind of secret begins.
struct Shape {
    /// Its first characters.
    prefix: &'static str,
    /// How many letters and digits in a row must follow somewhere in the same word: a short prefix
    /// needs more, so that `sk-SK` stays a locale and `task-1` a name.
    least: usize,
    /// Whose it is.
    what: &'static str,
}

const fn shape(prefix: &'static str, least: usize, what: &'static str) -> Shape {
    Shape {
        prefix,
        least,
        what,
    }
}

const SHAPES: &[Shape] = &[
    // GitHub: personal, OAuth, user-to-server, server-to-server, refresh, fine-grained.
    shape("ghp_", 16, "a GitHub token"),
    shape("gho_", 16, "a GitHub token"),
    shape("ghu_", 16, "a GitHub token"),
    shape("ghs_", 16, "a GitHub token"),
    shape("ghr_", 16, "a GitHub token"),
    shape("github_pat_", 16, "a GitHub token"),
    shape("glpat-", 8, "a GitLab token"),
    // OpenAI (`sk-proj-…`), Anthropic (`sk-ant-…`) and those who copied them.
    shape("sk-", 20, "a model provider's key"),
    shape("hf_", 24, "a Hugging Face token"),
    // Stripe.
    shape("sk_live_", 12, "a Stripe key"),
    shape("sk_test_", 12, "a Stripe key"),
    shape("rk_live_", 12, "a Stripe key"),
    shape("whsec_", 16, "a webhook secret"),
    // AWS key ids: long-lived and temporary.
    shape("AKIA", 16, "an AWS key id"),
    shape("ASIA", 16, "an AWS key id"),
    // Slack: bot, user, workspace, refresh, session, app.
    shape("xoxb-", 8, "a Slack token"),
    shape("xoxp-", 8, "a Slack token"),
    shape("xoxa-", 8, "a Slack token"),
    shape("xoxr-", 8, "a Slack token"),
    shape("xoxe-", 8, "a Slack token"),
    shape("xoxs-", 8, "a Slack token"),
    shape("xapp-", 8, "a Slack token"),
    // Google.
    shape("AIza", 16, "a Google key"),
    shape("ya29.", 16, "a Google token"),
    // Registries.
    shape("npm_", 24, "an npm token"),
    shape("pypi-AgE", 16, "a PyPI token"),
    shape("dckr_pat_", 8, "a Docker token"),
    // Others with prefixes of their own.
    shape("hvs.", 16, "a Vault token"),
    shape("dop_v1_", 24, "a DigitalOcean token"),
    shape("shpat_", 24, "a Shopify token"),
    shape("dapi", 32, "a Databricks token"),
    shape("AGE-SECRET-KEY-1", 24, "an age key"),
];

/// The least length of a JWT's header and payload, in characters.
const MIN_JWT_PART_CHARS: usize = 10;
/// How far from its beginning a secret is looked at, in bytes: what keeps a hostile value cheap.
const MAX_LOOK_BYTES: usize = 512;
/// The most places that begin like a secret, and are looked at: a source of many megabytes is not looked at for seconds.
const MAX_BEGINNINGS: usize = 10_000;

/// Whether a variable of this name usually holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    NAMES.contains(&name.as_str()) || NAME_ENDS.iter().any(|end| name.ends_with(end))
}

/// Whose secret `value` looks like, wherever in it that begins.
pub(crate) fn secret_in(value: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(value);
    if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    if has_url_password(&text) {
        return Some("a password in a URL");
    }
    let mut beginnings = 0;
    words(&text).find_map(|word| {
        if is_jwt(word) {
            return Some("a JSON web token");
        }
        SHAPES.iter().find_map(|shape| {
            let rest = word.strip_prefix(shape.prefix)?;
            beginnings += 1;
            if beginnings > MAX_BEGINNINGS {
                return Some("more secrets than can be looked at");
            }
            (longest_run(rest) >= shape.least).then_some(shape.what)
        })
    })
}

/// Every place where a secret could begin, up to where it would end: from a letter or digit that does
/// not follow another, over everything that tokens are made of.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let of_token = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.');
    text.split(move |char| !of_token(char)).flat_map(|run| {
        let mut before = '-';
        run.char_indices().filter_map(move |(at, char)| {
            let starts = char.is_ascii_alphanumeric() && !before.is_ascii_alphanumeric();
            before = char;
            let end = run.len().min(at + MAX_LOOK_BYTES);
            starts.then(|| run.get(at..end)).flatten()
        })
    })
}

fn longest_run(text: &str) -> usize {
    text.split(|char: char| !char.is_ascii_alphanumeric())
        .map(str::len)
        .max()
        .unwrap_or(0)
}

/// Header and payload of a JWT are JSON objects, and `eyJ` is base64url for `{"`.
fn is_jwt(word: &str) -> bool {
    let mut parts = word.splitn(3, '.');
    let mut object = || {
        parts
            .next()
            .is_some_and(|part| part.starts_with("eyJ") && part.len() >= MIN_JWT_PART_CHARS)
    };
    word.starts_with("eyJ") && object() && object()
}

fn has_url_password(text: &str) -> bool {
    text.split("://").skip(1).any(|rest| {
        rest.split(['/', '?', '#', ' ', '\n'])
            .next()
            .and_then(|authority| authority.rsplit_once('@'))
            .and_then(|(user, _)| user.split_once(':'))
            .is_some_and(|(_, password)| !password.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R98: the seeds' names, and those that every platform has.
    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "OPENAI_API_KEY",
            "AZURE_CLIENT_SECRET",
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
            "aws_access_key_id",
            "Db_Password",
            "TOKEN",
            "STRIPE_SECRET_KEY",
            "DEPLOY_PRIVATE_KEY",
            "AZURE_STORAGE_CONNECTION_STRING",
            "SSH_AUTH_SOCK",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "MAX_TOKENS",
            "TOKENIZER",
            "PRIMARY_KEY",
            "PASSWORD_POLICY",
            "MONKEY",
            "PWD",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    /// R97, R98: shapes are found at the start, after a word, and in the middle of a command.
    /// I15: what nobody could look at in time is refused.
    #[test]
    fn a_flood_of_beginnings_is_a_secret() {
        let flood = |count: usize| "npm_-".repeat(count);
        assert_eq!(secret_in(flood(MAX_BEGINNINGS).as_bytes()), None);
        assert!(secret_in(flood(MAX_BEGINNINGS + 1).as_bytes()).is_some());
    }

    #[test]
    fn values_that_look_like_secrets_are_found() {
        let alnum = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6";
        for shape in SHAPES {
            for value in [
                format!("{}{alnum}", shape.prefix),
                format!("Authorization: Bearer {}{alnum}", shape.prefix),
                format!("--key={}{alnum}\n", shape.prefix),
                format!("x_{}x-{alnum}_x", shape.prefix),
            ] {
                assert!(secret_in(value.as_bytes()).is_some(), "{value}");
            }
            let short = format!("{}abc", shape.prefix);
            assert_eq!(secret_in(short.as_bytes()), None, "{short}");
        }
        for value in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
            "postgres://user:hunter2@db.example.com/x",
            "sk-proj-abc_a1B2c3D4e5F6g7H8i9J0k1",
        ] {
            assert!(secret_in(value.as_bytes()).is_some(), "{value}");
        }
        let mut odd = b"\xff\xfe ".to_vec();
        odd.extend(format!("ghp_{alnum}").bytes());
        assert!(secret_in(&odd).is_some(), "in bytes that are not UTF-8");
    }

    #[test]
    fn everyday_values_pass() {
        for value in [
            "",
            "sk-SK",
            "task-12345678901234567890",
            "risk-report-2026-11-20-final.csv",
            "eyJhIjoxfQ==",
            "https://example.com/a:b@c",
            "https://user@example.com",
            "mailto:a@example.com",
            "AKIA",
            "/data/sk-monthly-summary-of-the-year.csv",
            "print('ghp_')",
            "-----BEGIN CERTIFICATE-----",
            "git@example.com:repo",
            "xoxb",
            "3.14159265358979323846",
        ] {
            assert_eq!(secret_in(value.as_bytes()), None, "{value}");
        }
    }
}
