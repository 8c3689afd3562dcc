//! The way out of programs that know of no proxy: by name, over made-up addresses.

use crate::{
    home::Ran,
    upstream::Upstream,
    way::{HOST, World, for_everybody},
};

/// A command that has lost every variable but the certificate's.
const BARE: &[&str] = &[
    "env",
    "-i",
    "PATH=/usr/bin:/bin",
    "SSL_CERT_FILE=/etc/casemate/authority.pem",
];

/// A program that says what becomes of names, and of connections to what it is given.
const LOOK: &str = r#"
import errno, socket, sys
def say(what, did):
    try: print(what, did())
    except socket.gaierror: print(what, 'no name')
    except OSError as error: print(what, errno.errorcode.get(error.errno, error.errno))
def ask(name):
    return sorted({found[4][0] for found in socket.getaddrinfo(name, 443)})
def connect(host, port):
    socket.create_connection((host, int(port)), 5).close()
    return 'connected'
def datagram(host, port):
    with socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        end.connect((host, int(port)))
        end.send(b'\0\1\1\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1')
        return len(end.recv(512))
for word in sys.argv[1:]:
    kind, *what = word.split('/')
    say(word, lambda: {'ask': ask, 'tcp': connect, 'udp': datagram}[kind](*what))
"#;

fn look(world: &World, words: &[&str]) -> Ran {
    let python = ["/usr/bin/python3", "-c", LOOK];
    world.run(&[BARE, &python[..], words].concat())
}

/// What was said of each word, in order.
fn said(ran: &Ran) -> Vec<String> {
    let answer = ran.exits(0).json();
    let lines = answer["stdout"].as_str().unwrap().lines();
    lines
        .map(|line| line.split_once(' ').unwrap().1.to_owned())
        .collect()
}

/// R105, R107, I4: a program without any proxy variable reaches what the rules allow, by name and over TLS that it verifies,
/// and each request is on record as one that knew of no proxy.
#[test]
fn programs_that_know_no_proxy_reach_what_is_allowed() {
    for_everybody(|world| {
        let url = world.url("/v1/orders/7");
        let python =
            format!("import urllib.request as r; print(r.urlopen('{url}').read().decode())");
        for command in [
            &["curl", "-sS", url.as_str()][..],
            &["curl", "-sS", "--http1.1", url.as_str()],
            &["/usr/bin/python3", "-c", &python],
        ] {
            let before = world.upstream.requests();
            let ran = world.run(&[BARE, command].concat());
            let answer = ran.exits(0).json();
            let stdout = answer["stdout"].as_str().unwrap();
            assert_eq!(stdout.trim(), "GET /v1/orders/7 HTTP/1.1", "{ran:?}");
            assert_eq!(world.upstream.requests(), before + 1);
            assert_eq!(answer["denied"], serde_json::json!([]), "{ran:?}");
            let log = world.requests();
            let [.., sent, ended] = log.as_slice() else {
                panic!("{log:?}");
            };
            for record in [sent, ended] {
                assert_eq!(record["summary"]["entry"], "transparent");
                assert_eq!(record["summary"]["host"], HOST);
                assert_eq!(record["summary"]["call"], answer["decision"]);
            }
        }
    });
}

/// R107, R117, I3: a name that no rule allows does not exist, whoever knows it outside; one that a rule allows has a made-up
/// address, and the outside is not asked for it before a request is let through.
#[test]
fn a_name_that_is_not_allowed_does_not_exist() {
    for_everybody(|world| {
        let ran = look(
            world,
            &[
                "ask/other.way.example",
                "ask/way.example",
                "ask/a.orders.way.example",
                "ask/orders.way.example.",
                "ask/ORDERS.way.example",
                "ask/localhost",
                "ask/127.1",
            ],
        );
        let said = said(&ran);
        assert_eq!(said[..3], ["no name", "no name", "no name"]);
        for made_up in &said[3..5] {
            assert_eq!(made_up, "['198.18.0.1']", "{ran:?}");
        }
        assert!(said[5].contains("127.0.0.1"), "{ran:?}");
        assert_eq!(said[6], "['127.0.0.1']");
        let log = world.requests();
        assert!(!log.is_empty());
        for record in &log {
            assert_eq!(record["kind"], "denied");
            assert_eq!(record["summary"]["entry"], "dns");
        }
        assert_eq!(world.upstream.connections(), 0);
    });
}

/// R107, R117, R237, I3: there is no route to an address, by no protocol, and nobody else answers for names.
#[test]
fn an_address_has_no_route() {
    for_everybody(|world| {
        let port = world.upstream.port;
        let ran = look(
            world,
            &[
                &format!("tcp/192.0.2.1/{port}"),
                "tcp/8.8.8.8/443",
                "tcp/169.254.169.254/80",
                "tcp/10.0.0.1/443",
                "tcp/198.17.255.255/443",
                "tcp/198.20.0.0/443",
                "tcp/2001:db8::1/443",
                "tcp/::ffff:8.8.8.8/443",
                "udp/8.8.8.8/53",
                "udp/224.0.0.251/5353",
                "udp/2001:4860:4860::8888/53",
                // Its own, where nothing listens.
                "tcp/198.18.0.1/22",
                "udp/198.18.0.1/443",
                "udp/198.18.0.1/53",
                "tcp/::1/443",
            ],
        );
        let said = said(&ran);
        for (at, what) in said.iter().enumerate() {
            let wanted = match at {
                0..=10 => "ENETUNREACH",
                _ => "ECONNREFUSED",
            };
            assert_eq!(what, wanted, "{at}: {ran:?}");
        }
        let denied = ran.json()["denied"].as_array().unwrap().clone();
        // What is its own is no attempt to get out.
        let count = |attempt: &serde_json::Value| attempt["count"].as_u64().unwrap();
        assert_eq!(denied.iter().map(count).sum::<u64>(), 11, "{denied:?}");
        assert!(denied.iter().all(|attempt| attempt["kind"] == "network"));
        assert!(world.requests().is_empty());
        assert_eq!(world.upstream.connections(), 0);
    });
}

/// R110, I5: a made-up address that nobody asked for stands for no name, and one that stands for a name takes no other.
#[test]
fn a_made_up_address_is_one_name() {
    for_everybody(|world| {
        let port = world.upstream.port;
        for (connect, url, code) in [
            ("198.18.9.9", world.url("/v1/a"), "addr_reserved"),
            ("127.0.0.1", world.url("/v1/a"), "addr_literal"),
            (
                HOST,
                format!("https://other.way.example:{port}/v1/a"),
                "authority_mismatch",
            ),
        ] {
            let to = format!("::{connect}:{port}");
            let curl = ["curl", "-sS", "-k", "--connect-to", &to, &url];
            let ran = world.run(&[BARE, &curl[..]].concat());
            assert_ne!(ran.json()["exit_code"], 0, "{ran:?}");
            let log = world.requests();
            let last = log.last().unwrap();
            assert_eq!(last["kind"], "denied");
            assert_eq!(last["summary"]["code"], code, "{last}");
            assert_eq!(last["summary"]["entry"], "transparent");
        }
        assert_eq!(world.upstream.connections(), 0);
    });
}

/// R106, R109, I6: what the rules say is said of these requests too.
#[test]
fn requests_without_a_proxy_are_judged_as_any_other() {
    for_everybody(|world| {
        for (words, code) in [
            (
                &["-X", "DELETE", &world.url("/v1/a")][..],
                "casemate-denied: egress_denied\r",
            ),
            (
                &[world.url("/v2/a").as_str()],
                "casemate-denied: egress_denied\r",
            ),
            (
                &[&format!("http://{HOST}:{}/v1/a", world.upstream.port)],
                "casemate-denied: plaintext_denied\r",
            ),
            // Listened to whatever the rules say.
            (
                &[&format!("http://{HOST}/v1/a")],
                "casemate-denied: egress_denied\r",
            ),
        ] {
            let curl = ["curl", "-sS", "-D", "-", "-o", "/dev/null"];
            let ran = world.run(&[BARE, &curl[..], words].concat());
            let answer = ran.json();
            let heads = answer["stdout"].as_str().unwrap().to_ascii_lowercase();
            assert!(heads.contains(code), "{code}: {ran:?}");
        }
        assert_eq!(world.upstream.connections(), 0);
        assert!(
            world
                .requests()
                .iter()
                .all(|record| record["kind"] == "denied")
        );
    });
}

/// A port that no rule names is not listened to.
#[test]
fn other_ports_are_closed() {
    for_everybody(|world| {
        let other = Upstream::plain();
        let url = format!("https://{HOST}:{}/v1/a", other.port);
        let ran = world.run(&[BARE, &["curl", "-sS", &url]].concat());
        assert_eq!(ran.json()["exit_code"], 7, "{ran:?}");
        assert_eq!(other.connections(), 0);
        assert!(world.requests().is_empty());
    });
}

/// Questions over TCP are answered too, and what is no question is not: the next one is.
#[test]
fn names_are_answered_over_both_transports() {
    for_everybody(|world| {
        let script = r#"
import socket, struct
def query(name, kind):
    labels = b''.join(bytes([len(label)]) + label for label in name.encode().split(b'.'))
    return b'\7\7\1\0\0\1\0\0\0\0\0\0' + labels + b'\0' + struct.pack('>HH', kind, 1)
def tcp(message):
    with socket.create_connection(('127.0.0.1', 53), 5) as end:
        end.sendall(struct.pack('>H', len(message)) + message)
        try: head = end.recv(2)
        except ConnectionResetError: head = b''
        return end.recv(512) if head else head
def udp(*messages):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        for message in messages: end.sendto(message, ('127.0.0.1', 53))
        return end.recv(512)
good = query('orders.way.example', 1)
for ask in (tcp, udp): print(socket.inet_ntoa(ask(good)[-4:]))
for kind in (28, 16, 65, 255): print(udp(query('orders.way.example', kind))[3] & 15, udp(query('orders.way.example', kind))[7])
print(udp(query('other.way.example', 1))[3] & 15, tcp(query('other.way.example', 1))[3] & 15)
print(socket.inet_ntoa(udp(b'', b'\0' * 600, good[:20], good)[-4:]))
print(tcp(b'\0' * 12), tcp(b'\0' * 5000))
"#;
        let ran = world.run(&["/usr/bin/python3", "-c", script]);
        let answer = ran.json();
        assert_eq!(
            answer["stdout"].as_str().unwrap(),
            "198.18.0.1\n198.18.0.1\n0 0\n0 0\n0 0\n0 0\n3 3\n198.18.0.1\nb'' b''\n",
            "{ran:?}"
        );
    });
}

/// I3: without rules there is none of it: no answerer, no address, no file.
#[test]
fn a_profile_without_destinations_has_none_of_it() {
    for_everybody(|world| {
        let script = format!(
            "{LOOK}
import os
print(os.path.exists('/etc/resolv.conf'), os.path.exists('/etc/casemate'))
print(*open('/proc/net/fib_trie').read().count('198.18.0.0') * ['x'], len(open('/proc/net/tcp').readlines()))
"
        );
        let words = [
            "run",
            "--json",
            "--",
            "/usr/bin/python3",
            "-c",
            &script,
            "ask/orders.way.example",
            "tcp/198.18.0.1/443",
            "tcp/127.0.0.1/443",
            "udp/127.0.0.1/53",
            "tcp/127.0.0.1/53",
        ];
        let ran = Ran(world.casemate(&words).output().unwrap());
        let answer = ran.exits(0).json();
        let said: Vec<_> = answer["stdout"].as_str().unwrap().lines().collect();
        assert_eq!(
            said,
            [
                "ask/orders.way.example no name",
                "tcp/198.18.0.1/443 ENETUNREACH",
                "tcp/127.0.0.1/443 ECONNREFUSED",
                "udp/127.0.0.1/53 ECONNREFUSED",
                "tcp/127.0.0.1/53 ECONNREFUSED",
                "False False",
                "1",
            ],
            "{ran:?}"
        );
    });
}
