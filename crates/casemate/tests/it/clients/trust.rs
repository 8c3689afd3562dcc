//! What programs believe that are told nothing.

use super::{
    roomy, shop,
    table::{CURL, Client, PYTHON},
};
use crate::{home::users, ways::stdout};

/// R105, R111: programs that look for authorities in the system's places alone, in whatever form, believe the way out's, and nobody
/// else.
#[test]
fn programs_that_are_told_nothing_find_the_authority() {
    const OPENSSL: Client = Client {
        needs: &["openssl", "version"],
        words: &[
            "sh",
            "-c",
            "host=${1#https://}; openssl s_client -verify_return_error -quiet -no_ign_eof -connect ${host%%/*} -servername ${host%%:*} </dev/null 2>/dev/null && echo GET /v1/a",
            "sh",
        ],
        sends: &[],
        ..CURL
    };
    const WGET: Client = Client {
        needs: &["wget", "--version"],
        words: &["wget", "-q", "-O", "-"],
        ..CURL
    };
    /// The bundle, and the directory by hashes.
    const PYTHON_FILE: Client = Client {
        needs: &[PYTHON, "-s", "--version"],
        words: &[
            PYTHON,
            "-s",
            "-c",
            "import ssl, sys, urllib.request as r; c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.load_verify_locations(cafile='/etc/ssl/certs/ca-certificates.crt'); print(r.urlopen(sys.argv[1], context=c).read().decode())",
        ],
        ..CURL
    };
    const PYTHON_DIRECTORY: Client = Client {
        words: &[
            PYTHON,
            "-s",
            "-c",
            "import ssl, sys, urllib.request as r; c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.load_verify_locations(capath='/etc/ssl/certs'); print(r.urlopen(sys.argv[1], context=c).read().decode())",
        ],
        ..PYTHON_FILE
    };
    const PYTHON_DEFAULT: Client = Client {
        words: &[
            PYTHON,
            "-s",
            "-c",
            "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())",
        ],
        ..PYTHON_FILE
    };
    for user in users() {
        let (world, services) = shop(user);
        let url = world.url("/v1/a");
        for client in [
            &CURL,
            &WGET,
            &OPENSSL,
            &PYTHON_FILE,
            &PYTHON_DIRECTORY,
            &PYTHON_DEFAULT,
        ] {
            if !client.is_here() {
                continue;
            }
            let bare = ["env", "-i", "PATH=/usr/bin:/bin"];
            let ran = roomy(&world, &[&bare[..], client.words, &[&url]].concat());
            let answer = ran.json();
            assert_eq!(answer["exit_code"], 0, "{} {answer}", answer["stderr"]);
            assert_eq!(
                stdout(&answer).trim(),
                client.says.trim(),
                "{:?}",
                client.words
            );
            assert_eq!(services.arrived(), client.sends, "{:?}", client.words);
        }
        // There is no other.
        let count = "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls -R /etc/ssl | grep -v :";
        let ran = world.run(&["sh", "-c", count]);
        let there: Vec<_> = [
            "1",
            "cert.pem",
            "certs",
            "",
            "ca-certificates.crt",
            "fcc01c93.0",
            "java",
            "",
            "cacerts",
        ]
        .into();
        assert_eq!(
            ran.exits(0).json()["stdout"]
                .as_str()
                .unwrap()
                .lines()
                .collect::<Vec<_>>(),
            there
        );
    }
}
