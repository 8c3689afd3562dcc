//! Programs as people have them, and what each is asked for.

use std::{env, process::Command};

use crate::services::KEPT;

/// A command that has lost the variables by which clients find a proxy.
pub(super) const BARE: &[&str] = &[
    "env",
    "-u",
    "ALL_PROXY",
    "-u",
    "HTTPS_PROXY",
    "-u",
    "HTTP_PROXY",
    "-u",
    "all_proxy",
    "-u",
    "https_proxy",
    "-u",
    "http_proxy",
];

pub(super) const PYTHON: &str = "/usr/bin/python3";

/// A program as people have it.
pub(super) struct Client {
    /// A command that succeeds where it is there.
    pub(super) needs: &'static [&'static str],
    /// Its words; a URL is the last.
    pub(super) words: &'static [&'static str],
    /// What it is asked for.
    pub(super) path: &'static str,
    /// What it then says.
    pub(super) says: &'static str,
    /// The requests and messages of it.
    pub(super) sends: &'static [&'static str],
    /// Whether it looks for a proxy.
    pub(super) asks_proxy: bool,
}

pub(super) const CURL: Client = Client {
    needs: &["curl", "--version"],
    words: &["curl", "-sS", "-f"],
    path: "/v1/a",
    says: "GET /v1/a",
    sends: &["GET /v1/a"],
    asks_proxy: true,
};

pub(super) const GIT: Client = Client {
    needs: &["git", "--version"],
    words: &[
        "sh",
        "-c",
        "git clone -q $1 /tmp/clone && cat /tmp/clone/file; code=$?; rm -rf /tmp/clone; exit $code",
        "sh",
    ],
    path: "/v1/repo.git",
    says: KEPT,
    sends: &[
        "GET /v1/repo.git/info/refs",
        "POST /v1/repo.git/git-upload-pack",
        "POST /v1/repo.git/git-upload-pack",
    ],
    ..CURL
};

pub(super) const PIP: Client = Client {
    needs: &[PYTHON, "-s", "-m", "pip", "--version"],
    words: &[
        "sh",
        "-c",
        "/usr/bin/python3 -s -m pip download -q --disable-pip-version-check --retries 0 --no-deps -d /tmp/got --index-url $1 one && cd /tmp/got && ls; code=$?; rm -rf /tmp/got; exit $code",
        "sh",
    ],
    path: "/v1/simple",
    says: "one-1.0-py3-none-any.whl\n",
    sends: &[
        "GET /v1/simple/one/",
        "GET /v1/packages/one-1.0-py3-none-any.whl",
    ],
    ..CURL
};

pub(super) const REQUESTS: Client = Client {
    needs: &[PYTHON, "-s", "-c", "import requests"],
    words: &[
        PYTHON,
        "-s",
        "-c",
        "import requests, sys; answer = requests.get(sys.argv[1]); answer.raise_for_status(); print(answer.text)",
    ],
    ..CURL
};

pub(super) const HTTPX: Client = Client {
    needs: &[PYTHON, "-s", "-c", "import httpx"],
    words: &[
        PYTHON,
        "-s",
        "-c",
        "import httpx, sys; answer = httpx.get(sys.argv[1]); answer.raise_for_status(); print(answer.text)",
    ],
    ..CURL
};

pub(super) const HTTPX_H2: Client = Client {
    needs: &[PYTHON, "-s", "-c", "import httpx, h2"],
    words: &[
        PYTHON,
        "-s",
        "-c",
        "import httpx, sys; answer = httpx.Client(http2=True).get(sys.argv[1]); answer.raise_for_status(); assert answer.http_version == 'HTTP/2'; print(answer.text)",
    ],
    ..CURL
};

pub(super) const NODE: Client = Client {
    needs: &["node", "--version"],
    words: &[
        "node",
        "-e",
        "fetch(process.argv[1]).then(async answer => { if (!answer.ok) throw new Error(answer.status); console.log(await answer.text()) })",
    ],
    // From version 24.
    asks_proxy: false,
    ..CURL
};

pub(super) const GRPC: Client = Client {
    needs: &[PYTHON, "-s", "-c", "import grpc"],
    words: &[
        PYTHON,
        "-s",
        "-c",
        r"
import grpc, sys
_, _, host, path = sys.argv[1].split('/', 3)
with grpc.secure_channel(host, grpc.ssl_channel_credentials()) as channel:
    print(channel.unary_unary('/' + path + '/Once')(b'once', timeout=20).decode())
    print([told.decode() for told in channel.unary_stream('/' + path + '/Thrice')(b'thrice', timeout=20)])
",
    ],
    path: "/v1/shop",
    says: "told once\n['told thrice', 'told thrice', 'told thrice']\n",
    sends: &["POST /v1/shop/Once", "POST /v1/shop/Thrice"],
    ..CURL
};

pub(super) const WEBSOCKETS: Client = Client {
    needs: &[PYTHON, "-s", "-c", "import websockets"],
    words: &[
        PYTHON,
        "-s",
        "-c",
        r"
import sys
from websockets.sync.client import connect
with connect('wss' + sys.argv[1].removeprefix('https')) as socket:
    socket.send('hello')
    print(socket.recv())
",
    ],
    path: "/v1/socket",
    says: "hello\n",
    sends: &["GET /v1/socket", "message of 5"],
    ..CURL
};

pub(super) const CLIENTS: &[&Client] = &[
    &CURL,
    &GIT,
    &PIP,
    &REQUESTS,
    &HTTPX,
    &HTTPX_H2,
    &NODE,
    &GRPC,
    &WEBSOCKETS,
];

impl Client {
    /// Whether it is there, where sandboxes have it too: in the system's places, and not in a user's. Where it has to be, it is there
    /// or the test fails.
    pub(super) fn is_here(&self) -> bool {
        let [program, words @ ..] = self.needs else {
            panic!("a client without a program");
        };
        let ran = Command::new(program)
            .args(words)
            .env("PATH", "/usr/bin:/bin")
            .output();
        let here = ran.is_ok_and(|ran| ran.status.success());
        assert!(here || env::var_os("CI").is_none(), "no {:?}", self.needs);
        here
    }

    pub(super) fn words<'a>(&'a self, knows_proxy: bool, url: &'a str) -> Vec<&'a str> {
        let bare = if knows_proxy { &[] } else { BARE };
        [bare, self.words, &[url]].concat()
    }
}
