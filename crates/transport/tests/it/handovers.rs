//! Sockets of ways out change processes whole, once, and only if they are what they should be.

use std::{
    fs::{self, File},
    io::{self, IoSlice, Read as _, Write as _},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixListener, net::UnixStream},
    },
    path::PathBuf,
};

use casemate_model::DecisionId;
use casemate_ports::{BadSocket, WaySockets};
use casemate_transport::{
    PeerError,
    handover::{self, Expected, HandedOver, Handover, HandoverError, SendError},
    limits::MAX_EXPECTED,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Somebody who serves ways out.
struct World {
    directory: TempDir,
    handover: Handover,
    expected: Expected,
}

impl World {
    fn new() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    /// One that hears this user.
    fn of(user: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let listener = handover::listen(&directory.path().join("way.sock")).unwrap();
        let handover = Handover::new(listener, user).unwrap();
        Self {
            directory,
            expected: handover.expected(),
            handover,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("way.sock")
    }

    fn send(&self, number: u8, sockets: WaySockets) -> JoinHandle<Result<(), SendError>> {
        let path = self.path();
        tokio::spawn(async move { handover::send(&path, decision(number), &sockets).await })
    }

    /// What comes of these bytes with these descriptors, from somebody who then says no more.
    async fn raw(&mut self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> HandoverError {
        let stream = UnixStream::connect(self.path()).unwrap();
        pass(&stream, message, descriptors).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let refused = self.handover.next().await.unwrap_err();
        // And whoever sent it sees that nothing is served.
        let mut answer = Vec::new();
        let read = (&stream).read_to_end(&mut answer);
        assert!(read.is_err() || answer.is_empty(), "{answer:?}");
        refused
    }
}

fn pass(stream: &UnixStream, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(fds)));
    let parts = [IoSlice::new(message)];
    Ok(sendmsg(stream, &parts, &mut control, SendFlags::NOSIGNAL)?)
}

fn decision(number: u8) -> DecisionId {
    DecisionId::new(u64::from(number), [number; 10])
}

fn message(number: u8) -> Vec<u8> {
    format!("casemate-way/1 {}", decision(number)).into_bytes()
}

fn tcp(address: &str) -> TcpListener {
    TcpListener::bind(address).unwrap()
}

fn sockets(transparent: usize) -> WaySockets {
    WaySockets {
        proxy: tcp("127.0.0.1:0"),
        transparent: (0..transparent).map(|_| tcp("0.0.0.0:0")).collect(),
        dns: UdpSocket::bind("127.0.0.1:0").unwrap(),
        dns_tcp: tcp("127.0.0.1:0"),
    }
}

/// Each socket is the one that it was, and the sender waits until somebody says that it is served.
#[tokio::test]
async fn sockets_arrive_and_their_sender_waits_until_they_are_served() {
    let mut world = World::new();
    let ours = sockets(16);
    let ports = |sockets: &WaySockets| {
        let listeners = [&sockets.proxy, &sockets.dns_tcp];
        let all = listeners.into_iter().chain(&sockets.transparent);
        let mut ports: Vec<_> = all
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        ports.push(sockets.dns.local_addr().unwrap().port());
        ports
    };
    let (wanted, proxy) = (ports(&ours), ours.proxy.local_addr().unwrap());
    world.expected.expect(decision(1)).unwrap();
    let mut sent = world.send(1, ours);
    let HandedOver {
        decision: named,
        sockets,
        served,
    } = world.handover.next().await.unwrap();
    assert_eq!(named, decision(1));
    assert_eq!(ports(&sockets), wanted);
    tokio::select! {
        biased;
        sent = &mut sent => panic!("{sent:?}"),
        () = tokio::task::yield_now() => {}
    }
    served.say().await;
    sent.await.unwrap().unwrap();
    // The sender has closed its own: what is left are those that came.
    let mut client = TcpStream::connect(proxy).unwrap();
    let listener = tokio::net::TcpListener::from_std(sockets.proxy).unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    client.write_all(b"x").unwrap();
    accepted.readable().await.unwrap();
    assert_eq!(accepted.try_read(&mut [0; 2]).unwrap(), 1);
}

/// I4: only a call that is expected gets in, and once: nobody puts other sockets in the place of those that it has.
#[tokio::test]
async fn a_decision_has_one_handover_and_a_stranger_none() {
    let mut world = World::new();
    let sent = world.send(1, sockets(0));
    let refused = world.handover.next().await.unwrap_err();
    assert!(matches!(refused, HandoverError::Unexpected(id) if id == decision(1)));
    assert!(matches!(
        sent.await.unwrap(),
        Err(SendError::Refused(id)) if id == decision(1)
    ));

    world.expected.expect(decision(1)).unwrap();
    world.expected.expect(decision(2)).unwrap();
    let sent = world.send(1, sockets(0));
    world.handover.next().await.unwrap().served.say().await;
    sent.await.unwrap().unwrap();
    let again = world.send(1, sockets(0));
    let refused = world.handover.next().await.unwrap_err();
    assert!(matches!(refused, HandoverError::Unexpected(id) if id == decision(1)));
    assert!(matches!(again.await.unwrap(), Err(SendError::Refused(_))));

    world.expected.forget(decision(2));
    let late = world.send(2, sockets(0));
    let refused = world.handover.next().await.unwrap_err();
    assert!(matches!(refused, HandoverError::Unexpected(id) if id == decision(2)));
    assert!(matches!(late.await.unwrap(), Err(SendError::Refused(_))));
}

/// Whoever took them and is gone serves nothing.
#[tokio::test]
async fn sockets_that_are_dropped_are_not_served() {
    let mut world = World::new();
    world.expected.expect(decision(1)).unwrap();
    let sent = world.send(1, sockets(1));
    drop(world.handover.next().await.unwrap());
    assert!(matches!(sent.await.unwrap(), Err(SendError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let mut world = World::new();
    world.expected.expect(decision(1)).unwrap();
    let sent = world.send(1, sockets(1));
    let _held = world.handover.next().await.unwrap();
    assert!(matches!(sent.await.unwrap(), Err(SendError::Timeout(_))));
    // Nor for one that says nothing, and meanwhile others are heard.
    let _silent = UnixStream::connect(world.path()).unwrap();
    world.expected.expect(decision(2)).unwrap();
    let sent = world.send(2, sockets(1));
    world.handover.next().await.unwrap().served.say().await;
    sent.await.unwrap().unwrap();
    let late = world.handover.next().await.unwrap_err();
    assert!(matches!(late, HandoverError::Timeout), "{late}");
}

/// A descriptor in the place of another, or one that is nothing of the kind.
#[tokio::test]
async fn what_is_not_the_socket_that_belongs_there_is_refused() {
    let mut world = World::new();
    world.expected.expect(decision(1)).unwrap();
    let good = sockets(1);
    let of = || -> Vec<OwnedFd> {
        let fds = good.descriptors();
        fds.iter()
            .map(|fd| fd.try_clone_to_owned().unwrap())
            .collect()
    };
    let directory = tempfile::tempdir().unwrap();
    let file = || OwnedFd::from(File::open(directory.path()).unwrap());
    let connected = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect("127.0.0.1:9").unwrap();
        OwnedFd::from(socket)
    };
    let stream = || {
        let stream = TcpStream::connect(good.proxy.local_addr().unwrap()).unwrap();
        OwnedFd::from(stream)
    };
    let unix = |name: &str| {
        let listener = UnixListener::bind(directory.path().join(name)).unwrap();
        OwnedFd::from(listener)
    };
    let bad: Vec<(usize, OwnedFd)> = vec![
        (0, file()),
        (0, stream()),
        (0, UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        (0, unix("a")),
        // Of every address: it would hear whoever was meant for others.
        (0, tcp("0.0.0.0:0").into()),
        (0, tcp("[::1]:0").into()),
        (1, file()),
        (1, connected()),
        (1, tcp("127.0.0.1:0").into()),
        (1, UdpSocket::bind("0.0.0.0:0").unwrap().into()),
        (2, UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        (3, tcp("127.0.0.1:0").into()),
        (3, unix("b")),
    ];
    for (at, wrong) in bad {
        let mut all = of();
        all[at] = wrong;
        let fds: Vec<_> = all.iter().map(|fd| fd.as_fd()).collect();
        let refused = world.raw(&message(1), &fds).await;
        let is_kind =
            matches!(&refused, HandoverError::Sockets(BadSocket::Kind(found)) if *found == at);
        assert!(is_kind, "{at}: {refused:?}");
    }
    // What was refused has used nothing up.
    let sent = world.send(1, sockets(1));
    world.handover.next().await.unwrap().served.say().await;
    sent.await.unwrap().unwrap();
}

#[tokio::test]
async fn too_few_descriptors_and_too_many_are_refused() {
    let mut world = World::new();
    world.expected.expect(decision(1)).unwrap();
    let good = sockets(16);
    let all = good.descriptors();
    for few in 0..3 {
        let refused = world.raw(&message(1), &all[..few]).await;
        let is_count =
            matches!(&refused, HandoverError::Sockets(BadSocket::Count(count)) if *count == few);
        assert!(is_count, "{few}: {refused:?}");
    }
    let one = good.transparent[0].as_fd();
    for more in [1, 2, 40] {
        let mut many = all.clone();
        many.extend(std::iter::repeat_n(one, more));
        let refused = world.raw(&message(1), &many).await;
        // The kernel keeps back those for which there is no room.
        let is_refused = matches!(
            refused,
            HandoverError::Message | HandoverError::Sockets(BadSocket::Count(_))
        );
        assert!(is_refused, "{refused:?}");
    }
    // Nor can they be sent.
    let more = sockets(17);
    assert!(matches!(
        handover::send(&world.path(), decision(1), &more).await,
        Err(SendError::Send(_))
    ));
}

#[tokio::test]
async fn a_message_that_is_not_exactly_one_is_refused() {
    let mut world = World::new();
    world.expected.expect(decision(1)).unwrap();
    let (good, whole) = (sockets(1), message(1));
    let longer = [&whole[..], b"0"].concat();
    let oversized = vec![b'x'; 100_000];
    let other_version = String::from_utf8(whole.clone())
        .unwrap()
        .replace("way/1", "way/2");
    let other_id = String::from_utf8(whole.clone())
        .unwrap()
        .replace("dec_", "sbx_");
    for bytes in [
        &whole[..whole.len() - 1],
        &whole[..1],
        &longer,
        &oversized,
        other_version.as_bytes(),
        other_id.as_bytes(),
        &[0xff; 51],
    ] {
        let refused = world.raw(bytes, &good.descriptors()).await;
        assert!(matches!(refused, HandoverError::Message), "{refused:?}");
    }
    // One that hangs up at once.
    drop(UnixStream::connect(world.path()).unwrap());
    let refused = world.handover.next().await.unwrap_err();
    assert!(matches!(refused, HandoverError::Message), "{refused:?}");
}

#[tokio::test]
async fn another_user_is_not_heard() {
    let mut world = World::of(rustix::process::geteuid().as_raw() ^ 1);
    world.expected.expect(decision(1)).unwrap();
    let sent = world.send(1, sockets(0));
    let refused = world.handover.next().await.unwrap_err();
    assert!(
        matches!(refused, HandoverError::Peer(PeerError::Foreign { .. })),
        "{refused}"
    );
    // It may see the end before it has said everything.
    assert!(matches!(
        sent.await.unwrap(),
        Err(SendError::Refused(_) | SendError::Send(_))
    ));
}

#[tokio::test]
async fn nothing_is_sent_where_others_can_listen() {
    let world = World::new();
    fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let open = world.send(1, sockets(0)).await.unwrap();
    assert!(matches!(open, Err(SendError::Peer(PeerError::Open(_)))));
    fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(world.path()).unwrap();
    let nobody = world.send(1, sockets(0)).await.unwrap();
    assert!(matches!(nobody, Err(SendError::Connect { .. })));
}

#[test]
fn no_more_calls_are_expected_than_there_is_room_for() {
    let expected = Expected::default();
    let id = |number: usize| DecisionId::new(number as u64, [0; 10]);
    for number in 0..MAX_EXPECTED {
        expected.expect(id(number)).unwrap();
    }
    expected.expect(id(0)).unwrap();
    expected.expect(id(MAX_EXPECTED)).unwrap_err();
    expected.forget(id(7));
    expected.expect(id(MAX_EXPECTED)).unwrap();
}
