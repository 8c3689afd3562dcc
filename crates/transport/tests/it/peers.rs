//! Who is not this user is not heard.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    thread,
    time::Duration,
};

use casemate_ports::SessionKeeper as _;
use casemate_transport::RemoteKeeper;
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket},
    process::geteuid,
    thread::set_thread_uid,
};

use crate::world::World;

const FOREIGN: u32 = 60_001;

/// What every HTTP/2 client says first, and an empty SETTINGS frame.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Does `what` in a thread of another user; only root can.
fn as_foreigner<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = thread::spawn(|| {
        set_thread_uid(rustix::process::Uid::from_raw(FOREIGN)).unwrap();
        what()
    });
    thread.join().unwrap()
}

/// What the server says to a client that speaks first.
fn greet(mut stream: UnixStream) -> Vec<u8> {
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let _ = stream.write_all(PREFACE);
    let mut said = [0; 100];
    // A reset is as good as an end.
    let count = stream.read(&mut said).unwrap_or(0);
    said.into_iter().take(count).collect()
}

/// The directory keeps other users out, and if it did not, the keeper would not hear them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_is_refused_before_a_byte_is_read() {
    if !geteuid().is_root() {
        return;
    }
    let world = World::new();
    let socket = world.socket();
    let path = socket.clone();
    as_foreigner(move || UnixStream::connect(path).unwrap_err());

    let keeper = world.keeper().await;
    fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let path = socket.clone();
    let said = as_foreigner(move || greet(UnixStream::connect(path).unwrap()));
    assert_eq!(said, b"", "another user got an answer");
    // The same bytes from this user are HTTP/2, so the test would see an answer.
    let said = thread::spawn(move || greet(UnixStream::connect(socket).unwrap()));
    assert!(!said.join().unwrap().is_empty());
    assert_eq!(world.seen.count(), 0);
    keeper.sessions().await.unwrap();
}

/// A keeper of another user is told nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_of_another_user_is_refused() {
    if !geteuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = directory.path().join("keeper.sock");
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    // Whose a listening socket is, is whoever made it listen.
    let listener = as_foreigner(move || {
        listen(&listener, 5).unwrap();
        listener
    });
    let refused = RemoteKeeper::connect(&path).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the keeper is not available: the other end of the socket belongs to the user 60001, not to 0"
    );
    drop(listener);
}
