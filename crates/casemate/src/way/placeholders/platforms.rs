//! The services by which platforms give programs credentials, as their SDKs ask for them: what they answer is a placeholder.

#[cfg(test)]
mod tests;

use bytes::Bytes;
use casemate_egress::Enquiry;
use casemate_ports::WAY_OUT_IDENTITY_HEADER;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Azure, in the form of App Service.
const APP_SERVICE: &str = "/casemate/azure/token";
const APP_SERVICE_FIELD: HeaderName = HeaderName::from_static("x-identity-header");
/// AWS, in the form of its containers.
const CONTAINER: &str = "/casemate/aws/credentials";
/// Registries of images, as the helpers of Docker's clients say it.
const DOCKER: &str = "/casemate/docker/credentials";
const DOCKER_USER: &str = "casemate";
/// Azure, in the form of its virtual machines.
const AZURE_MACHINE: &str = "/metadata/identity/oauth2/token";
const AZURE_FIELD: HeaderName = HeaderName::from_static("metadata");
/// AWS, in the form of its virtual machines: first a token for the service itself.
const AWS_MACHINE: &str = "/latest/api/token";
const AWS_ROLES: &str = "/latest/meta-data/iam/security-credentials/";
const AWS_ROLE: &str = "casemate";
const AWS_FIELD: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const AWS_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
/// As long as AWS has it at most.
const MAX_AWS_TTL_S: u32 = 21_600;
/// Google.
const GOOGLE: &str = "/computeMetadata/v1/";
const GOOGLE_ACCOUNTS: &str = "instance/service-accounts/";
const GOOGLE_EMAIL: &str = "placeholder@casemate-placeholder.iam.gserviceaccount.com";
const GOOGLE_PROJECT: &str = "casemate-placeholder";
const GOOGLE_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const GOOGLE_FIELD: HeaderName = HeaderName::from_static("metadata-flavor");
/// Who is asked through somebody else answers nobody.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How long programs keep a placeholder; no call is longer, and no client of a session is told that it may not keep its own.
const LIFE_MS: u64 = 24 * 60 * 60 * 1_000;

/// What a call is given in place of credentials.
#[derive(Clone, Copy)]
pub(super) struct Given<'g> {
    pub(super) token: &'g str,
    pub(super) key_id: &'g str,
    pub(super) now_ms: u64,
}

/// The answer to a program that asks a platform's service; nothing if there is no such service. Without anything `given` the services at the proxy say
/// so, and there are no others.
pub(super) fn answer(asked: &Enquiry<'_>, given: Option<Given<'_>>) -> Option<Response<Bytes>> {
    let nothing = || failed(StatusCode::NOT_FOUND, "no credential is lent to this call");
    let service = Asked::of(asked)?;
    let Some(given) = given else {
        return (!asked.at_platform && asked.path != "/").then(nothing);
    };
    let method = match service {
        Asked::AwsMachine => Method::PUT,
        _ => Method::GET,
    };
    if *asked.method != method {
        return Some(failed(
            StatusCode::METHOD_NOT_ALLOWED,
            "the service takes no such method",
        ));
    }
    if asked.fields.contains_key(FORWARDED) {
        return Some(failed(
            StatusCode::FORBIDDEN,
            "the service is not asked through others",
        ));
    }
    Some(match service {
        Asked::AppService => given.app_service(asked),
        Asked::Container => given.keys(),
        Asked::Docker => given.docker(),
        Asked::AzureMachine => given.azure_machine(asked),
        Asked::AwsMachine => given.aws_machine(asked),
        Asked::AwsRoles(role) => given.aws_role(asked, role),
        Asked::Google(path) => given.google(asked, path),
    })
}

/// A service, and what is said in its path.
enum Asked<'p> {
    AppService,
    Container,
    Docker,
    AzureMachine,
    AwsMachine,
    AwsRoles(&'p str),
    Google(&'p str),
}

impl<'p> Asked<'p> {
    fn of(asked: &Enquiry<'p>) -> Option<Self> {
        let path = asked.path;
        if let Some(path) = path.strip_prefix(GOOGLE) {
            return Some(Self::Google(path));
        }
        match (asked.at_platform, path) {
            // Clients look whether it is there.
            (_, "/") if has(asked, &GOOGLE_FIELD, "Google") => Some(Self::Google("")),
            (false, APP_SERVICE) => Some(Self::AppService),
            (false, CONTAINER) => Some(Self::Container),
            (false, DOCKER) => Some(Self::Docker),
            (true, AZURE_MACHINE) => Some(Self::AzureMachine),
            (true, AWS_MACHINE) => Some(Self::AwsMachine),
            (true, path) => path.strip_prefix(AWS_ROLES).map(Self::AwsRoles),
            _ => None,
        }
    }
}

impl Given<'_> {
    const fn until_s(&self) -> u64 {
        self.now_ms.saturating_add(LIFE_MS) / 1_000
    }

    fn app_service(&self, asked: &Enquiry<'_>) -> Response<Bytes> {
        // Who cannot set a header was led here.
        if !has(asked, &APP_SERVICE_FIELD, WAY_OUT_IDENTITY_HEADER) {
            return failed(
                StatusCode::UNAUTHORIZED,
                "the header X-IDENTITY-HEADER is wrong",
            );
        }
        let Some(resource) = resource(asked) else {
            return failed(StatusCode::BAD_REQUEST, "the query has no `resource`");
        };
        json_of(&json!({
            "access_token": self.token,
            "expires_on": self.until_s().to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }))
    }

    fn azure_machine(&self, asked: &Enquiry<'_>) -> Response<Bytes> {
        if !has(asked, &AZURE_FIELD, "true") {
            return failed(StatusCode::BAD_REQUEST, "the header Metadata is not `true`");
        }
        let Some(resource) = resource(asked) else {
            return failed(StatusCode::BAD_REQUEST, "the query has no `resource`");
        };
        json_of(&json!({
            "access_token": self.token,
            "expires_in": (LIFE_MS / 1_000).to_string(),
            "expires_on": self.until_s().to_string(),
            "not_before": (self.now_ms / 1_000).to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }))
    }

    fn docker(&self) -> Response<Bytes> {
        json_of(&json!({ "Username": DOCKER_USER, "Secret": self.token }))
    }

    /// Keys of AWS. Machines say more than containers, which nobody minds.
    fn keys(&self) -> Response<Bytes> {
        let time = |seconds: u64| {
            let time = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
            Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        };
        let (Some(now), Some(until)) = (time(self.now_ms / 1_000), time(self.until_s())) else {
            return failed(StatusCode::INTERNAL_SERVER_ERROR, "the clock is wrong");
        };
        json_of(&json!({
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": now,
            "AccessKeyId": self.key_id,
            "SecretAccessKey": self.token,
            "Token": self.token,
            "Expiration": until,
        }))
    }

    fn aws_machine(&self, asked: &Enquiry<'_>) -> Response<Bytes> {
        let seconds = asked.fields.get(AWS_TTL).and_then(|ttl| ttl.to_str().ok());
        let seconds = seconds.and_then(|ttl| ttl.parse::<u32>().ok());
        let Some(seconds) = seconds.filter(|ttl| (1..=MAX_AWS_TTL_S).contains(ttl)) else {
            return failed(
                StatusCode::BAD_REQUEST,
                "the header X-aws-ec2-metadata-token-ttl-seconds is not 1 to 21600",
            );
        };
        let mut response = text(self.token);
        response.headers_mut().insert(AWS_TTL, seconds.into());
        response
    }

    /// Only whoever asked for a token before: the first version of the service has none.
    fn aws_role(&self, asked: &Enquiry<'_>, role: &str) -> Response<Bytes> {
        if !has(asked, &AWS_FIELD, self.token) {
            return failed(
                StatusCode::UNAUTHORIZED,
                "the header X-aws-ec2-metadata-token is wrong",
            );
        }
        match role {
            "" => text(AWS_ROLE),
            AWS_ROLE => self.keys(),
            _ => failed(StatusCode::NOT_FOUND, "there is no such role"),
        }
    }

    fn google(&self, asked: &Enquiry<'_>, path: &str) -> Response<Bytes> {
        let mut response = match has(asked, &GOOGLE_FIELD, "Google") {
            true => self.google_at(asked, path),
            false => failed(
                StatusCode::FORBIDDEN,
                "the header Metadata-Flavor is not `Google`",
            ),
        };
        let flavor = HeaderValue::from_static("Google");
        response.headers_mut().insert(GOOGLE_FIELD, flavor);
        response
    }

    fn google_at(&self, asked: &Enquiry<'_>, path: &str) -> Response<Bytes> {
        let account = path
            .strip_prefix(GOOGLE_ACCOUNTS)
            .and_then(|path| path.split_once('/'))
            .filter(|(account, _)| ["default", GOOGLE_EMAIL].contains(account));
        let all = asked.query.unwrap_or_default().as_bytes();
        let all = url::form_urlencoded::parse(all)
            .any(|pair| pair == ("recursive".into(), "true".into()));
        match (path, account) {
            ("", None) => text("computeMetadata/"),
            ("project/project-id", None) => text(GOOGLE_PROJECT),
            (_, Some((_, "email"))) => text(GOOGLE_EMAIL),
            (_, Some((_, "scopes"))) => text(GOOGLE_SCOPE),
            (_, Some((_, ""))) if all => json_of(&json!({
                "aliases": ["default"],
                "email": GOOGLE_EMAIL,
                "scopes": [GOOGLE_SCOPE],
            })),
            (_, Some((_, "token"))) => json_of(&json!({
                "access_token": self.token,
                "expires_in": LIFE_MS / 1_000,
                "token_type": "Bearer",
            })),
            _ => failed(StatusCode::NOT_FOUND, "there is nothing of that name"),
        }
    }
}

/// Whether a field is there once, and says this.
fn has(asked: &Enquiry<'_>, name: &HeaderName, value: &str) -> bool {
    let mut all = asked.fields.get_all(name).iter();
    let (first, second) = (all.next(), all.next());
    second.is_none() && first.is_some_and(|first| first.as_bytes() == value.as_bytes())
}

/// What the token is asked for. It decides nothing.
fn resource(asked: &Enquiry<'_>) -> Option<String> {
    let query = asked.query.unwrap_or_default().as_bytes();
    let mut pairs = url::form_urlencoded::parse(query);
    let (_, resource) = pairs.find(|(name, _)| name == "resource")?;
    Some(resource.into_owned())
}

fn failed(status: StatusCode, why: &str) -> Response<Bytes> {
    let mut response = json_of(&json!({ "error": "invalid_request", "error_description": why }));
    *response.status_mut() = status;
    response
}

fn json_of(value: &Value) -> Response<Bytes> {
    of_type("application/json", value.to_string())
}

fn text(text: &str) -> Response<Bytes> {
    of_type("text/plain", text.to_owned())
}

fn of_type(media: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    let media = HeaderValue::from_static(media);
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}
