use http::HeaderMap;

use super::*;

const TOKEN: &str = "casemate-placeholder-of-a-test";
const GIVEN: Given<'static> = Given {
    token: TOKEN,
    key_id: "ASIAOFATEST",
    now_ms: 1_000,
};

/// A question, and the status of its answer with what it says; nothing if there is no such service.
fn ask(
    at_platform: bool,
    method: &Method,
    target: &str,
    fields: &[(&'static str, &str)],
    given: Option<Given<'_>>,
) -> Option<(u16, String)> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut all = HeaderMap::new();
    for (name, value) in fields {
        all.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let asked = Enquiry {
        at_platform,
        method,
        path,
        query,
        fields: &all,
    };
    let response = answer(&asked, given)?;
    let body = String::from_utf8(response.body().to_vec()).unwrap();
    let is_google = response.status().is_success() && (path.starts_with(GOOGLE) || path == "/");
    let flavor = response.headers().get(GOOGLE_FIELD);
    assert!(!is_google || flavor.is_some_and(|flavor| flavor == "Google"));
    Some((response.status().as_u16(), body))
}

fn get(at_platform: bool, target: &str, fields: &[(&'static str, &str)]) -> Option<(u16, String)> {
    ask(at_platform, &Method::GET, target, fields, Some(GIVEN))
}

const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");
const SHOWN: (&str, &str) = ("x-identity-header", WAY_OUT_IDENTITY_HEADER);
const METADATA: (&str, &str) = ("metadata", "true");
const IMDS: (&str, &str) = ("x-aws-ec2-metadata-token", TOKEN);

/// R74: nothing is given where nothing is lent: at the proxy it is said, and elsewhere there is no service. Other paths are nobody's.
#[test]
fn nothing_is_given_where_nothing_is_lent() {
    let everything = [FLAVOR, SHOWN, METADATA, IMDS];
    for path in [
        "/casemate/azure/token?resource=x",
        "/casemate/aws/credentials",
        "/casemate/docker/credentials",
        "/computeMetadata/v1/instance/service-accounts/default/token",
    ] {
        let (status, body) = ask(false, &Method::GET, path, &everything, None).unwrap();
        assert_eq!(status, 404);
        assert!(!body.contains(TOKEN));
    }
    for path in [
        "/",
        "/computeMetadata/v1/instance/service-accounts/default/token",
        "/metadata/identity/oauth2/token?resource=x",
        "/latest/meta-data/iam/security-credentials/casemate",
        "/latest/api/token",
    ] {
        for method in [Method::GET, Method::PUT] {
            assert_eq!(ask(true, &method, path, &everything, None), None, "{path}");
        }
    }
    assert_eq!(ask(false, &Method::GET, "/", &everything, None), None);
    for path in [
        "/casemate",
        "/casemate/azure/token/",
        "/Casemate/aws/credentials",
        "/metadata/identity/oauth2/token",
        "/latest/api/token",
    ] {
        assert_eq!(get(false, path, &everything), None, "{path}");
    }
    for path in [
        "/latest/meta-data/",
        "/latest/user-data",
        "/metadata/instance",
        "/casemate/azure/token",
    ] {
        assert_eq!(get(true, path, &everything), None, "{path}");
    }
}

/// Of the corpus, case I25: only who sets the header of the platform is answered, and only about something; a browser, or whoever was led here, cannot.
#[test]
fn the_platform_wants_its_header() {
    let token = "/computeMetadata/v1/instance/service-accounts/default/token";
    let azure = "/metadata/identity/oauth2/token?resource=x";
    let roles = "/latest/meta-data/iam/security-credentials/";
    for (at_platform, target, right, status) in [
        (false, "/casemate/azure/token?resource=x", SHOWN, 401),
        (true, azure, METADATA, 400),
        (true, roles, IMDS, 401),
        (false, token, FLAVOR, 403),
        (true, token, FLAVOR, 403),
    ] {
        let (good, body) = get(at_platform, target, &[right]).unwrap();
        assert_eq!(good, 200, "{target} {body}");
        for wrong in [
            &[][..],
            &[(right.0, "other")],
            &[right, right],
            &[("x-other", right.1)],
        ] {
            let (refused, body) = get(at_platform, target, wrong).unwrap();
            assert_eq!(refused, status, "{target}");
            assert!(!body.contains(TOKEN), "{target}");
        }
        let through = [right, ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(get(at_platform, target, &through).unwrap().0, 403);
        let post = ask(at_platform, &Method::POST, target, &[right], Some(GIVEN));
        assert_eq!(post.unwrap().0, 405);
    }
    for target in ["/casemate/azure/token", "/casemate/azure/token?x=y"] {
        assert_eq!(get(false, target, &[SHOWN]).unwrap().0, 400);
    }
    assert_eq!(get(true, "/", &[]), None);
}

/// R75: what each of them says is what its SDKs read.
#[test]
fn services_say_what_sdks_read() {
    let read = |said: Option<(u16, String)>| -> Value {
        let (status, body) = said.unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    };
    let token = read(get(
        true,
        "/metadata/identity/oauth2/token?resource=a%20b",
        &[METADATA],
    ));
    assert_eq!(
        (&token["access_token"], &token["resource"]),
        (&TOKEN.into(), &"a b".into())
    );
    assert_eq!(
        (&token["expires_on"], &token["expires_in"]),
        (&"86401".into(), &"86400".into())
    );

    let ttl = |seconds: &str| {
        let field = ("x-aws-ec2-metadata-token-ttl-seconds", seconds);
        ask(
            true,
            &Method::PUT,
            "/latest/api/token",
            &[field],
            Some(GIVEN),
        )
        .unwrap()
    };
    assert_eq!(ttl("21600"), (200, TOKEN.to_owned()));
    for wrong in ["0", "21601", "", "-1"] {
        assert_eq!(ttl(wrong).0, 400);
    }
    let docker = read(get(false, "/casemate/docker/credentials", &[]));
    assert_eq!(docker, json!({ "Username": "casemate", "Secret": TOKEN }));
    let roles = "/latest/meta-data/iam/security-credentials/";
    let role = get(true, roles, &[IMDS]).unwrap().1;
    let keys = read(get(true, &format!("{roles}{role}"), &[IMDS]));
    assert_eq!(
        (&keys["AccessKeyId"], &keys["Token"]),
        (&"ASIAOFATEST".into(), &TOKEN.into())
    );
    assert_eq!(keys["Expiration"], "1970-01-02T00:00:01Z");
    assert_eq!(get(true, &format!("{roles}admin"), &[IMDS]).unwrap().0, 404);

    for at_platform in [true, false] {
        let google = |path: &str| get(at_platform, path, &[FLAVOR]);
        assert_eq!(google("/").unwrap().0, 200);
        let accounts = "/computeMetadata/v1/instance/service-accounts/";
        let info = read(google(&format!("{accounts}default/?recursive=true")));
        let email = info["email"].as_str().unwrap();
        assert_eq!(
            google(&format!("{accounts}{email}/email")).unwrap().1,
            email
        );
        let token = read(google(&format!("{accounts}{email}/token?scopes=x")));
        assert_eq!(
            (&token["access_token"], &token["expires_in"]),
            (&TOKEN.into(), &86_400.into())
        );
        for nothing in [
            "default/identity?audience=x",
            "default/",
            "other/token",
            "default",
        ] {
            assert_eq!(
                google(&format!("{accounts}{nothing}")).unwrap().0,
                404,
                "{nothing}"
            );
        }
        assert_eq!(
            google("/computeMetadata/v1/project/attributes/ssh-keys")
                .unwrap()
                .0,
            404
        );
    }
}
