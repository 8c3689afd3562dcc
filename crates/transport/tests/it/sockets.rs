//! One keeper on a socket, in a directory that is nobody else's.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::Path,
};

use casemate_ports::{KeeperError, SessionKeeper as _};
use casemate_transport::{BindError, Listener, PeerError, RemoteKeeper};

use crate::world::World;

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    open_to(directory.path(), 0o700);
    directory
}

fn open_to(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_dead_keepers_socket_is_taken_over_and_a_living_ones_is_not() {
    let directory = directory();
    let socket = directory.path().join("keeper.sock");
    // What a keeper leaves that was killed.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let alive = Listener::bind(&socket).unwrap();
    let taken = Listener::bind(&socket).unwrap_err();
    assert!(matches!(taken, BindError::Taken(_)), "{taken}");
    assert!(socket.exists());
    drop(alive);
    assert!(!socket.exists());
    Listener::bind(&socket).unwrap();
}

/// Somebody tidied up: the keeper is found again, with its sessions, and no other can start beside it.
#[tokio::test]
async fn a_socket_whose_file_was_removed_is_made_anew() {
    let world = World::new();
    fs::remove_file(world.socket()).unwrap();
    let nobody = RemoteKeeper::connect(&world.socket()).await.unwrap_err();
    assert!(matches!(nobody, KeeperError::Unavailable(_)), "{nobody}");
    let taken = Listener::bind(&world.socket()).unwrap_err();
    assert!(matches!(taken, BindError::Taken(_)), "{taken}");
    let start = std::time::Instant::now();
    while !world.socket().exists() {
        assert!(start.elapsed().as_secs() < 20, "it is not made anew");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let keeper = RemoteKeeper::connect(&world.socket()).await.unwrap();
    keeper.sessions().await.unwrap();
}

/// Where the directory is another one now, nothing is touched.
#[tokio::test]
async fn a_keeper_whose_directory_is_gone_is_lost() {
    let directory = directory();
    let run = directory.path().join("run");
    let socket = run.join("keeper.sock");
    fs::create_dir(&run).unwrap();
    open_to(&run, 0o700);
    let lost = Listener::bind(&socket).unwrap();
    assert!(!lost.is_lost());
    fs::remove_dir_all(&run).unwrap();
    assert!(lost.is_lost());
    fs::create_dir(&run).unwrap();
    open_to(&run, 0o700);
    let found = Listener::bind(&socket).unwrap();
    assert!(lost.is_lost() && !found.is_lost());
    drop(lost);
    assert!(socket.exists(), "it is the other's");
}

#[tokio::test]
async fn a_directory_that_others_can_enter_is_refused_at_both_ends() {
    let world = World::new();
    for mode in [0o701, 0o710, 0o755] {
        let directory = directory();
        open_to(directory.path(), mode);
        let open = Listener::bind(&directory.path().join("keeper.sock")).unwrap_err();
        assert!(matches!(open, BindError::Directory(PeerError::Open(_))));
        open_to(world.directory.path(), mode);
        let open = RemoteKeeper::connect(&world.socket()).await.unwrap_err();
        assert!(open.to_string().contains("mode 0700"), "{open}");
    }
    let directory = directory();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(world.directory.path(), &link).unwrap();
    open_to(world.directory.path(), 0o700);
    let linked = Listener::bind(&link.join("keeper.sock")).unwrap_err();
    assert!(matches!(linked, BindError::Directory(PeerError::Open(_))));
    let nowhere = Listener::bind(&directory.path().join("no/keeper.sock")).unwrap_err();
    assert!(matches!(
        nowhere,
        BindError::Directory(PeerError::Directory { .. })
    ));
}

#[tokio::test]
async fn what_is_not_a_socket_is_not_removed_if_it_is_a_directory() {
    let directory = directory();
    let socket = directory.path().join("keeper.sock");
    fs::create_dir(&socket).unwrap();
    let refused = Listener::bind(&socket).unwrap_err();
    assert!(matches!(refused, BindError::Remove { .. }), "{refused}");
}

#[tokio::test]
async fn nobody_there_is_an_error_and_not_a_wait() {
    let directory = directory();
    let socket = directory.path().join("keeper.sock");
    let nobody = RemoteKeeper::connect(&socket).await.unwrap_err();
    assert!(matches!(nobody, KeeperError::Unavailable(_)), "{nobody}");
    drop(UnixListener::bind(&socket).unwrap());
    let dead = RemoteKeeper::connect(&socket).await.unwrap_err();
    assert!(matches!(dead, KeeperError::Unavailable(_)), "{dead}");
}

/// A keeper that listens and says nothing is found out by the ping.
#[tokio::test(start_paused = true)]
async fn a_keeper_that_does_not_answer_is_unavailable() {
    let directory = directory();
    let socket = directory.path().join("keeper.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let keeper = RemoteKeeper::connect(&socket).await.unwrap();
    let silent = keeper.sessions().await.unwrap_err();
    assert!(matches!(silent, KeeperError::Unavailable(_)), "{silent}");
}
