//! Services of platforms: what the SDKs of clouds ask for, where they ask for it.

use crate::{
    credentials::{Safe, for_everybody},
    ways::{Served, stdout},
};

/// What the scripts have: questions with fields, through the proxy and past it.
const ASKS: &str = r#"
import http.client, json, os, socket, urllib.error, urllib.request as r
def ask(url, method="GET", past=False, **fields):
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    opener = r.build_opener(r.ProxyHandler({})) if past else r.build_opener()
    try:
        return opener.open(r.Request(url, headers=fields, method=method), timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code) + str(error.headers.get("Casemate-Denied", ""))
    except OSError as error:
        return type(error).__name__
ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default/token"
"#;

/// R72, R75, I2: programs that ask the service of their platform, at the variables that say where it is, at the address that all of them have and at
/// Google's name for it, through the proxy and past it, get a placeholder, in whose place the credential of the rule goes into their requests.
#[test]
fn programs_find_the_services_of_platforms() {
    for_everybody(|safe| {
        let served = Served::start(&safe.world, "thread", "credential = \"cred:orders-api\"");
        let script = format!(
            r#"{ASKS}
url = "{}"
def uses(token):
    print(ask(url, Authorization="Bearer " + token))
google = dict(Metadata_Flavor="Google")
uses(json.loads(ask("http://" + os.environ["GCE_METADATA_HOST"] + ACCOUNT, **google))["access_token"])
for past in True, False:
    uses(json.loads(ask("http://metadata.google.internal" + ACCOUNT, past=past, **google))["access_token"])
    there = "http://169.254.169.254"
    uses(json.loads(ask(there + ACCOUNT, past=past, **google))["access_token"])
    azure = there + "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://orders"
    uses(json.loads(ask(azure, past=past, Metadata="true"))["access_token"])
    version_2 = ask(there + "/latest/api/token", "PUT", past=past, X_aws_ec2_metadata_token_ttl_seconds="60")
    roles = there + "/latest/meta-data/iam/security-credentials/"
    version_2 = dict(X_aws_ec2_metadata_token=version_2)
    role = ask(roles, past=past, **version_2)
    uses(json.loads(ask(roles + role, past=past, **version_2))["Token"])
    # What else is there is nowhere, and nobody is asked without the field of the platform.
    print(ask(there + "/latest/user-data", past=past), ask(azure, past=past), ask(roles, past=past), ask(there + ACCOUNT, past=past))
    print(ask("https://169.254.169.254/latest/api/token", past=past), ask("http://169.254.169.253/", past=past))
"#,
            safe.world.url("/v1/a")
        );
        let answer = served.ran(&["--thread", "t", "--", "/usr/bin/python3", "-c", &script]);
        let part = |refused: &str| {
            format!("good\ngood\ngood\ngood\n403addr_metadata 400 401 403\n{refused}\n")
        };
        let said = stdout(&answer);
        let past = part("URLError URLError");
        let through = part("URLError 403addr_metadata");
        assert_eq!(said, format!("good\n{past}{through}"), "{answer}");
        let upstream = &safe.world.upstream;
        assert_eq!((upstream.requests(), upstream.proven()), (9, 9));
        safe.assert_absent("an answer", answer.to_string().as_bytes());
    });
}

/// R74, R107, R117, I3: where no rule for requests has a credential, although one for logins has, there is no such address and no such name, and nobody answers by the proxy.
#[test]
fn without_a_credential_there_is_no_service() {
    const DATABASE: &str = "[[egress.rules]]\nname = \"database\"\nprotocol = \"postgres\"\nhost = \"orders.way.example\"\nclass = \"internal\"\n\
        cidr = [\"127.0.0.0/8\"]\nports = [5432]\nuser = \"agent\"\ndatabases = [\"orders\"]\ncredential = \"cred:orders-api\"\nside_effect = \"read\"\n";
    let no_service = |safe: &Safe, thread: &str, more: &str| {
        let served = Served::start(&safe.world, "thread", more);
        let script = format!(
            r#"{ASKS}
google = dict(Metadata_Flavor="Google")
print(ask("http://" + os.environ["GCE_METADATA_HOST"] + ACCOUNT, **google), ask("http://" + os.environ["GCE_METADATA_HOST"], **google))
for host in "169.254.169.254", "metadata.google.internal":
    print(ask("http://" + host + ACCOUNT, past=True, **google), ask("http://" + host + ACCOUNT, **google))
try:
    socket.create_connection(("169.254.169.254", 80), 5)
except OSError as error:
    print(error.errno)
"#
        );
        let answer = served.ran(&["--thread", thread, "--", "/usr/bin/python3", "-c", &script]);
        let said = stdout(&answer);
        let lines: Vec<_> = said.lines().collect();
        let unreachable = rustix::io::Errno::NETUNREACH.raw_os_error().to_string();
        assert_eq!(
            lines,
            [
                "404 403egress_denied",
                "URLError 403addr_metadata",
                "URLError 403egress_denied",
                &unreachable
            ],
            "{answer}"
        );
        assert_eq!(safe.world.upstream.requests(), 0);
    };
    for_everybody(|safe| {
        no_service(safe, "nothing", "");
        no_service(safe, "logins", DATABASE);
    });
}
