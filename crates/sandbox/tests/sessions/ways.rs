//! Calls of sessions with ways out: a network for each, whose sockets somebody else serves.

use std::{
    cell::{Cell, RefCell},
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    pin::Pin,
    rc::Rc,
    thread::JoinHandle,
    time::Duration,
};

use casemate_model::DecisionId;
use casemate_ports::{
    Command, HandsOver, KeeperError, Kind, NotServed, PlaceSpec, SessionKeeper as _, SessionSpec,
    Way, WayPorts, WaySockets,
};
use casemate_sandbox::NamespaceSessions;

use crate::desk::{Desk, Done, cell, context_id, kind, owner, program, session_id, shell, spec};

/// Somebody who serves ways out: each client is told which call it is of, and by which door it came.
#[derive(Debug, Default)]
struct Servers {
    handed: RefCell<Vec<(DecisionId, WaySockets)>>,
    /// Whether nothing is served any more.
    refuses: Cell<bool>,
}

impl HandsOver for Servers {
    fn hand_over<'a>(
        &'a self,
        way: &'a Way,
        sockets: &'a WaySockets,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotServed>> + 'a>> {
        let copy = sockets.try_clone().unwrap();
        let served = match self.refuses.get() {
            true => Err(NotServed("nobody".into())),
            false => Ok(()),
        };
        self.handed.borrow_mut().push((way.decision, copy));
        Box::pin(async move { served })
    }
}

fn decision(number: u8) -> DecisionId {
    DecisionId::new(1, [number; 10])
}

fn way(number: u8) -> Option<Way> {
    Some(Way {
        authority: format!("authority {number}"),
        handover: PathBuf::from("/nonexistent/way.sock"),
        decision: decision(number),
    })
}

/// A keeper whose sessions have ways out, and who serves them.
struct House {
    desk: Desk,
    servers: Rc<Servers>,
}

impl House {
    fn open() -> Self {
        let servers = Rc::new(Servers::default());
        let handover = Rc::clone(&servers) as Rc<dyn HandsOver>;
        let images = PathBuf::from("/nonexistent");
        let keeper = NamespaceSessions::handing_over(&images, handover).expect("a keeper");
        Self {
            desk: Desk {
                keeper: Rc::new(keeper),
            },
            servers,
        }
    }

    async fn session(&self, number: u8) {
        let kind = Kind {
            way: Some(WayPorts::new([8443]).unwrap()),
            violations: None,
            ..kind()
        };
        let spec = SessionSpec {
            kind,
            ..spec(number)
        };
        self.desk.keeper.open(spec).await.expect("a session");
    }

    /// A call of session 1 with a way out of this number.
    async fn call(&self, number: u8, command: Command) -> Result<Done, KeeperError> {
        let place = PlaceSpec {
            way: way(number),
            ..self.desk.place(1)
        };
        self.desk.call_in(place, command).await
    }

    async fn in_context(&self, number: u8, command: Command) -> Result<Done, KeeperError> {
        let place = PlaceSpec {
            way: way(number),
            context: Some(context_id(1)),
            ..self.desk.place(1)
        };
        self.desk.call_in(place, command).await
    }

    fn take(&self) -> (DecisionId, WaySockets) {
        self.servers.handed.borrow_mut().remove(0)
    }
}

/// How many wait to be accepted.
fn waiting(listener: &TcpListener) -> usize {
    std::iter::from_fn(|| listener.accept().ok()).count()
}

/// Answers the first client of a listener with `word`; says what it sent.
fn answer(listener: &TcpListener, word: &'static str) -> JoinHandle<String> {
    let listener = listener.try_clone().unwrap();
    listener.set_nonblocking(false).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let original = stream.local_addr().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut said = [0; 64];
        let count = stream.read(&mut said).unwrap();
        stream.write_all(word.as_bytes()).unwrap();
        format!("{} to {original}", String::from_utf8_lossy(&said[..count]))
    })
}

const ASK: &str = "import socket, sys\n\
    def ask(host, port, word):\n\
    \x20with socket.create_connection((host, port), 5) as end:\n\
    \x20 end.sendall(word.encode())\n\
    \x20 return end.recv(64).decode()\n";

/// R105, I4: the sockets that are handed over are those of the one call that its decision names, whether it is a program or
/// a cell: whoever connects there is that call, and made-up addresses lead there with the address that was meant.
pub(crate) async fn a_call_has_a_way_out_of_its_own(_: Desk) {
    let house = House::open();
    house.session(1).await;
    let script = format!(
        "{ASK}print(open('/etc/casemate/authority.pem').read(), open('/etc/resolv.conf').read().split()[:2])\n\
         print(ask('127.0.0.1', 3128, 'proxy'), ask('198.18.3.4', 443, 'tls'), ask('198.19.255.254', 8443, 'other'))\n"
    );
    for (number, is_cell) in [(1, false), (2, true)] {
        let command = if is_cell {
            cell(&script)
        } else {
            program(&["/usr/bin/python3", "-c", &script])
        };
        let call = house.call(number, command);
        let serve = async {
            let (named, sockets) = loop {
                if !house.servers.handed.borrow().is_empty() {
                    break house.take();
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(named, decision(number));
            let ports: Vec<_> = sockets
                .transparent
                .iter()
                .map(|listener| listener.local_addr().unwrap().port())
                .collect();
            assert_eq!(ports, [80, 443, 8443]);
            assert_eq!(sockets.dns.local_addr().unwrap().port(), 53);
            [
                answer(&sockets.proxy, "p"),
                answer(&sockets.transparent[1], "t"),
                answer(&sockets.transparent[2], "o"),
            ]
        };
        let (done, served) = tokio::join!(call, serve);
        let done = done.expect("a call");
        assert_eq!(
            done.ended.denied,
            [],
            "made-up addresses are the call's own"
        );
        let wanted = format!("authority {number} ['nameserver', '127.0.0.1']\np t o\n");
        assert_eq!(done.ok(), wanted);
        let heard = served.map(|thread| thread.join().unwrap());
        assert_eq!(
            heard,
            [
                "proxy to 127.0.0.1:3128",
                "tls to 198.18.3.4:443",
                "other to 198.19.255.254:8443"
            ]
        );
    }
}

/// I3, I4: calls with ways out share no network: neither with each other at the same time, nor with the session, nor one
/// after the other.
pub(crate) async fn calls_with_ways_out_share_no_network(_: Desk) {
    let house = House::open();
    house.session(1).await;
    let serve = "python3 -c \"\n\
        import socket, time, os\n\
        end = socket.create_server(('127.0.0.1', 9000))\n\
        open('/workspace/up', 'w').close()\n\
        end.settimeout(8)\n\
        while not os.path.exists('/workspace/done'): time.sleep(0.01)\n\
        end.setblocking(False)\n\
        try: end.accept()\n\
        except BlockingIOError: print('nobody came')\"";
    let reach = "while [ ! -e /workspace/up ]; do sleep 0.01; done\n\
        for port in 9000 3128 53 443; do (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null && echo $port; done\n\
        touch /workspace/done";
    let (first, second) = tokio::join!(house.call(1, shell(serve)), house.call(2, shell(reach)));
    assert_eq!(first.expect("a call").ok(), "nobody came\n");
    assert_eq!(second.expect("a call").ok(), "3128\n53\n443\n");
    let (named, sockets) = house.take();
    let (other, others) = house.take();
    let (mine, theirs) = match named == decision(1) {
        true => (sockets, others),
        false => (others, sockets),
    };
    assert_ne!(named, other);
    let all = |sockets: &WaySockets| {
        let listeners = [&sockets.proxy, &sockets.dns_tcp];
        let listeners = listeners.into_iter().chain(&sockets.transparent);
        listeners.map(waiting).sum::<usize>()
    };
    // What came, came to the call's own.
    assert_eq!((all(&mine), all(&theirs)), (0, 3));
}

/// A call without a way out, in a session that could have one, finds nobody: its listeners are closed, not silent.
pub(crate) async fn a_call_without_its_way_out_finds_nobody(_: Desk) {
    let house = House::open();
    house.session(1).await;
    let look = "for port in 3128 53 443; do (exec 3<>/dev/tcp/127.0.0.1/$port) 2>&1 | grep -m1 -o refused; done; \
        wc -c < /etc/casemate/authority.pem";
    let done = house.desk.call(1, shell(look)).await;
    assert_eq!(done.ok(), "refused\nrefused\nrefused\n0\n");
    assert!(house.servers.handed.borrow().is_empty());
}

/// Nothing of a call runs before its way out is served, and nothing if it is not: the session lives on.
pub(crate) async fn a_call_whose_way_out_nobody_serves_does_not_run(_: Desk) {
    let house = House::open();
    house.session(1).await;
    house.servers.refuses.set(true);
    let context = house
        .desk
        .keeper
        .open_context(session_id(1), owner("agent"), context_id(1));
    context.await.expect("a context");
    let touch = "open('/workspace/ran', 'w').close()";
    for failed in [
        house.call(1, shell("touch /workspace/ran")).await,
        house.call(1, cell(touch)).await,
        house.in_context(1, cell(touch)).await,
    ] {
        assert!(
            matches!(&failed, Err(KeeperError::Lost(why)) if why.contains("nobody")),
            "{failed:?}"
        );
    }
    let long = Way {
        authority: "x".repeat(16 * 1024 + 1),
        ..way(1).unwrap()
    };
    let place = PlaceSpec {
        way: Some(long),
        ..house.desk.place(1)
    };
    let long = house
        .desk
        .call_in(place, shell("touch /workspace/ran"))
        .await;
    assert!(matches!(long, Err(KeeperError::Spec(_))), "{long:?}");
    house.servers.refuses.set(false);
    let look = house.call(2, shell("ls /workspace")).await.expect("a call");
    assert_eq!(look.ok(), "out\n");
    let look = house.in_context(3, cell("print(1)")).await.expect("a cell");
    assert_eq!(look.ok(), "1\n", "the context is as it was");
}

/// Where a kind has no ways out, or the keeper brings none to where they are served, none is promised.
pub(crate) async fn a_way_out_that_cannot_be_is_refused(desk: Desk) {
    let house = House::open();
    house.desk.session(1).await;
    let kindless = house.call(1, shell("true")).await;
    assert!(
        matches!(kindless, Err(KeeperError::Spec(_))),
        "{kindless:?}"
    );
    let kind = Kind {
        way: Some(WayPorts::new([]).unwrap()),
        violations: None,
        ..kind()
    };
    let spec = SessionSpec { kind, ..spec(1) };
    desk.keeper.open(spec).await.expect("a session");
    let place = PlaceSpec {
        way: way(1),
        ..desk.place(1)
    };
    let nobody = desk.call_in(place, shell("true")).await;
    assert!(matches!(nobody, Err(KeeperError::Spec(_))), "{nobody:?}");
}

/// I3: a session whose calls have no ways out has nothing of one, and its calls share its loopback as ever.
pub(crate) async fn a_session_without_ways_has_none_of_it(desk: Desk) {
    desk.session(1).await;
    let look = "ls -d /etc/casemate /etc/resolv.conf 2>/dev/null; grep -c 198.18 /proc/net/fib_trie; \
        wc -l < /proc/net/tcp; wc -l < /proc/net/udp; readlink /proc/self/ns/net";
    let first = desk.call(1, shell(look)).await.ok();
    assert!(first.starts_with("0\n1\n1\nnet:"), "{first}");
    assert_eq!(desk.call(1, shell(look)).await.ok(), first);
    let house = House::open();
    house.session(1).await;
    let network = "readlink /proc/self/ns/net";
    let one = house.call(1, shell(network)).await.expect("a call").ok();
    let other = house.call(2, shell(network)).await.expect("a call").ok();
    assert_ne!(one, other);
}

/// I4: each cell of a context has the authority and the decision of its own call, and who connected while no cell ran
/// belongs to none: nobody takes them for the next one.
pub(crate) async fn each_cell_of_a_context_has_its_own_way_out(_: Desk) {
    let house = House::open();
    house.session(1).await;
    let context = house
        .desk
        .keeper
        .open_context(session_id(1), owner("agent"), context_id(1));
    context.await.expect("a context");
    let linger = format!(
        "{ASK}print(open('/etc/casemate/authority.pem').read())\n\
         ends = [socket.create_connection(('127.0.0.1', port), 5) for port in (3128, 443)]\n\
         lone = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
         lone.sendto(b'x', ('127.0.0.1', 53))\n"
    );
    let first = house.in_context(1, cell(&linger)).await.expect("a cell");
    assert_eq!(first.ok(), "authority 1\n");
    let (named, sockets) = house.take();
    assert_eq!(named, decision(1));
    // Nobody has taken them when the call ends.
    drop(sockets);
    let again = "print(open('/etc/casemate/authority.pem').read())\n\
        for end in ends:\n\
        \x20try: print(end.recv(1))\n\
        \x20except ConnectionResetError: print('reset')\n";
    let second = house.in_context(22, cell(again)).await.expect("a cell");
    let said = second.ok();
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("authority 22"));
    for line in lines {
        assert!(["b''", "reset"].contains(&line), "{said}");
    }
    let (named, sockets) = house.take();
    assert_eq!(named, decision(22));
    assert_eq!(waiting(&sockets.proxy), 0);
    assert_eq!(waiting(&sockets.transparent[1]), 0);
    assert!(no_question(&sockets.dns));
}

fn no_question(dns: &UdpSocket) -> bool {
    dns.recv_from(&mut [0]).is_err()
}

/// A port of a session whose calls have networks of their own is that of the newest call or context which listens there;
/// those of a way out are nobody's.
pub(crate) async fn a_tunnel_leads_to_whoever_listens(_: Desk) {
    let house = House::open();
    house.session(1).await;
    let open = |number| {
        let keeper = &house.desk.keeper;
        keeper.open_context(session_id(1), owner("agent"), context_id(number))
    };
    open(1).await.expect("a context");
    let serve = |word: &str| {
        format!(
            "import os, socket\n\
             with socket.create_server(('127.0.0.1', 9000)) as end:\n\
             \x20end.settimeout(0.01)\n\
             \x20open('/workspace/{word}', 'w').close()\n\
             \x20while os.path.exists('/workspace/{word}'):\n\
             \x20 try: one = end.accept()[0]\n\
             \x20 except TimeoutError: continue\n\
             \x20 one.sendall(b'{word}')\n\
             \x20 one.close()\n"
        )
    };
    let (in_context, in_call) = (serve("context"), serve("call"));
    let outside = async {
        until_there(&house, "context").await;
        let from_context = Ok("context".to_owned());
        assert_eq!(reached(&house, 9000).await, from_context);
        // Newer, but nothing listens there.
        open(2).await.expect("a context");
        assert_eq!(reached(&house, 9000).await, from_context);
        let newest = async {
            until_there(&house, "call").await;
            assert_eq!(reached(&house, 9000).await, Ok("call".to_owned()));
            remove(&house, "call").await;
        };
        let call = house.call(2, program(&["/usr/bin/python3", "-c", &in_call]));
        let (done, ()) = tokio::join!(call, newest);
        done.expect("a call").ok();
        assert_eq!(reached(&house, 9000).await, from_context);
        remove(&house, "context").await;
    };
    let (done, ()) = tokio::join!(house.in_context(1, cell(&in_context)), outside);
    done.expect("a cell").ok();
    for port in [3128, 53, 80, 443, 8443] {
        let refused = reached(&house, port).await.unwrap_err();
        assert!(refused.contains("belongs to the way out"), "{refused}");
    }
    let refused = reached(&house, 9001).await.unwrap_err();
    assert!(refused.contains("nothing listens"), "{refused}");
}

/// Waits until a file of session 1 is there.
async fn until_there(house: &House, name: &str) {
    let keeper = &house.desk.keeper;
    while let Err(error) = keeper
        .read_file(session_id(1), owner("agent"), name.into())
        .await
    {
        assert!(matches!(error, KeeperError::File { .. }), "{error}");
    }
}

async fn remove(house: &House, name: &str) {
    let keeper = &house.desk.keeper;
    let removed = keeper.remove_file(session_id(1), owner("agent"), name.into());
    removed.await.expect("it is there");
}

/// What somebody outside hears from a port of session 1.
async fn reached(house: &House, port: u16) -> Result<String, String> {
    let connected = house
        .desk
        .keeper
        .connect(session_id(1), owner("agent"), port);
    let mut connection = connected.await.map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    while let Some(bytes) = connection.from.recv().await {
        heard.extend(bytes);
    }
    Ok(String::from_utf8(heard).unwrap())
}
