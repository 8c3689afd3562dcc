//! I9: nothing runs for a caller who left, however it left, and what was half sent is nowhere.

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

use casemate_model::{Cause, Text};
use casemate_ports::{Chunk, KeeperError, Sandbox as _, SessionKeeper as _};
use casemate_transport::RemoteKeeper;
use tokio::{sync::mpsc, time::sleep};

use crate::world::{World, caller, command, owner, place_spec, session, session_spec, until};

const SOCKET: &str = "CASEMATE_TEST_SOCKET";

/// A client of its own process, that waits to be killed: started by the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn client_process() {
    let Ok(socket) = env::var(SOCKET) else {
        return;
    };
    let keeper = RemoteKeeper::connect(Path::new(&socket)).await.unwrap();
    let mut place = keeper.place(place_spec()).await.unwrap();
    let (_caller, io) = caller();
    let uploading = keeper.clone();
    tokio::spawn(async move {
        let (sender, content) = mpsc::channel(1);
        sender.send(Chunk::Bytes(vec![1])).await.unwrap();
        let upload = uploading.write_file(session(), owner(), "x".into(), content);
        let _ = upload.await;
        drop(sender);
    });
    place.run(command(&["flood"]), io).await.unwrap();
}

fn client(socket: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["leaving::client_process", "--exact", "--nocapture"])
        .env(SOCKET, socket)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_killed_takes_its_place_and_its_upload_along() {
    let world = World::new();
    let mut client = client(&world.socket());
    until("it runs and uploads", || {
        world.seen.events_sent.load(SeqCst) > 10 && world.seen.upload_chunks.load(SeqCst) == 1
    })
    .await;
    assert_eq!(world.seen.places_dropped.load(SeqCst), 0);
    client.kill().unwrap();
    client.wait().unwrap();
    until("the place is dropped", || {
        world.seen.places_dropped.load(SeqCst) == 1
    })
    .await;
    until("the upload is cut off", || {
        world.seen.uploads_cut.load(SeqCst) == 1
    })
    .await;
    assert_eq!(world.seen.uploads_whole.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_place_kills_it_at_every_moment() {
    let world = World::new();
    let keeper = world.keeper().await;
    let dropped = |count| {
        let seen = world.seen.clone();
        until("the place is dropped", move || {
            seen.places_dropped.load(SeqCst) == count
        })
    };
    drop(keeper.place(place_spec()).await.unwrap());
    dropped(1).await;

    let mut place = keeper.place(place_spec()).await.unwrap();
    place.ready().await.unwrap();
    drop(place);
    dropped(2).await;

    // The run is dropped, and the place is still held.
    let mut place = keeper.place(place_spec()).await.unwrap();
    place.ready().await.unwrap();
    let (_caller, io) = caller();
    let run = place.run(command(&["flood"]), io);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), run)
            .await
            .is_err()
    );
    dropped(3).await;
    let gone = place.ready().await.unwrap_err();
    assert!(matches!(gone, KeeperError::Unavailable(_)), "{gone}");
    assert_eq!(world.seen.collected.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_closes_either_channel_is_gone_and_is_told_the_end() {
    let world = World::new();
    for words in [&["wait"][..], &["flood"]] {
        for events_first in [true, false] {
            let mut place = world.place().await;
            place.ready().await.unwrap();
            let (caller, io) = caller();
            let crate::world::Caller {
                stdin,
                control,
                events,
            } = caller;
            let running = tokio::spawn(async move {
                let ended = place.run(command(words), io).await;
                (ended, place)
            });
            sleep(Duration::from_millis(30)).await;
            let (kept_control, kept_events) = if events_first {
                drop(events);
                (Some(control), None)
            } else {
                drop(control);
                (None, Some(events))
            };
            if let Some(mut events) = kept_events {
                while events.recv().await.is_some() {}
            }
            let (ended, _place) = running.await.unwrap();
            assert_eq!(ended.unwrap().cause, Cause::Cancelled, "{words:?}");
            drop((stdin, kept_control));
        }
    }
}

/// A program that reads to the end does not take what broke off for the whole, however late the news of its caller come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_caller_who_left_had_not_ended_has_no_end() {
    let world = World::new();
    for _ in 0..100 {
        let mut place = world.place().await;
        place.ready().await.unwrap();
        let (caller, io) = caller();
        let crate::world::Caller {
            stdin,
            control,
            events,
        } = caller;
        drop(events);
        drop(stdin);
        let ended = place.run(command(&["cat"]), io).await.unwrap();
        assert_eq!(ended.cause, Cause::Cancelled);
        drop(control);
    }
}

/// A file whose upload breaks off is not there, and the one who uploads is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_off_arrives_as_cut_off() {
    let world = World::new();
    let keeper = world.keeper().await;
    let (sender, content) = mpsc::channel(4);
    sender.send(Chunk::Bytes(vec![1; 10])).await.unwrap();
    drop(sender);
    let cut = keeper
        .write_file(session(), owner(), "x".into(), content)
        .await
        .unwrap_err();
    assert_eq!(
        cut.to_string(),
        "`x`: the upload was cut off; nothing of it was kept"
    );
    assert_eq!(world.seen.uploads_cut.load(SeqCst), 1);

    // Whoever waits for the answer goes away.
    let (sender, content) = mpsc::channel(4);
    sender.send(Chunk::Bytes(vec![1; 10])).await.unwrap();
    let upload = tokio::spawn({
        let keeper = keeper.clone();
        async move {
            keeper
                .write_file(session(), owner(), "y".into(), content)
                .await
        }
    });
    until("it has come in part", || {
        world.seen.upload_chunks.load(SeqCst) == 2
    })
    .await;
    upload.abort();
    until("it is cut off", || world.seen.uploads_cut.load(SeqCst) == 2).await;
    assert_eq!(world.seen.uploads_whole.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_dropped_ends_even_when_nothing_moves() {
    let world = World::new();
    let keeper = world.keeper().await;
    let connection = keeper.connect(session(), owner(), 9).await.unwrap();
    // Full, as nobody there reads.
    while tokio::time::timeout(
        Duration::from_millis(200),
        connection.to.send(vec![0; 60_000]),
    )
    .await
    .is_ok()
    {}
    drop(connection);
    until("it has ended", || {
        world.seen.connections_ended.load(SeqCst) == 1
    })
    .await;
}

/// A question is done whole, whether or not the one who asked waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_whose_asker_left_is_done_to_its_end() {
    let world = World::new();
    let keeper = world.keeper().await;
    let mut spec = session_spec();
    spec.owner.tenant = "slow".into();
    let asked = tokio::spawn(async move { keeper.open(spec).await });
    until("it is asked", || world.seen.count() == 1).await;
    asked.abort();
    until("it is done", || world.seen.opens_finished.load(SeqCst) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_dies_is_an_error_of_its_own_and_the_next_one_is_found() {
    let mut world = World::new();
    let keeper = world.keeper().await;
    let mut place = keeper.place(place_spec()).await.unwrap();
    place.ready().await.unwrap();
    let (_caller, io) = caller();
    let running = tokio::spawn(async move { place.run(command(&["wait"]), io).await });
    until("it runs", || world.seen.commands.lock().unwrap().len() == 1).await;
    world.stop();
    let broken = running.await.unwrap().unwrap_err();
    assert!(matches!(broken, KeeperError::Unavailable(_)), "{broken}");
    let nobody = keeper.sessions().await.unwrap_err();
    assert!(matches!(nobody, KeeperError::Unavailable(_)), "{nobody}");
    world.start();
    keeper.sessions().await.unwrap();
    keeper
        .remove_file(session(), owner(), Text::from("x"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_about_to_end_starts_nothing_and_ends_what_runs() {
    let world = World::new();
    let keeper = world.keeper().await;
    let mut place = keeper.place(place_spec()).await.unwrap();
    world.drain().await;
    for refused in [
        keeper.place(place_spec()).await.map(drop).unwrap_err(),
        keeper.open(session_spec()).await.map(drop).unwrap_err(),
        keeper
            .connect(session(), owner(), 1)
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(
            refused.to_string(),
            "the keeper is not available: it is about to end"
        );
    }
    place.ready().await.unwrap();
    let (_caller, io) = caller();
    place.run(command(&["true"]), io).await.unwrap();
    keeper.close(session(), owner()).await.unwrap();
}
