//! I15: whoever does not read is not sent, and whoever waits does not hold up the others.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use casemate_model::Cause;
use casemate_ports::{
    Chunk, Control, FileFault, InputFile, KeeperError, Sandbox as _, SessionKeeper as _,
};
use casemate_transport::limits::{MAX_DATA_BYTES, MAX_LONG_STREAMS, STREAM_WINDOW_BYTES};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    trips::Nowhere,
    world::{World, caller, command, file, owner, place_spec, session, until},
};

/// Waits until `count` stands still, and gives it.
async fn standstill(count: impl Fn() -> usize) -> usize {
    let mut last = count();
    loop {
        sleep(Duration::from_millis(150)).await;
        match count() {
            now if now == last && now > 0 => return now,
            now => last = now,
        }
    }
}

/// I15: what is on its way to somebody who does not read is bounded, and the word that stops it gets through.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_stalls_stops_the_output_and_can_still_cancel() {
    let world = World::new();
    let mut place = world.place().await;
    place.ready().await.unwrap();
    let (caller, io) = caller();
    let running = tokio::spawn(async move { place.run(command(&["flood"]), io).await });
    let sent = standstill(|| world.seen.events_sent.load(SeqCst)).await;
    // Two channels of 16, and what the windows and buffers of both ends hold.
    let most = 2 * 16 * 4096 + 6 * (STREAM_WINDOW_BYTES as usize + MAX_DATA_BYTES);
    assert!(
        sent * 4096 <= most,
        "{sent} chunks of 4096 are on their way"
    );
    // Others are not held up by it.
    world.keeper().await.sessions().await.unwrap();

    caller.control.send(Control::Cancel).await.unwrap();
    let stopped = Instant::now();
    until("the control is heard", || {
        !world.seen.controls.lock().unwrap().is_empty()
    })
    .await;
    assert!(stopped.elapsed() < Duration::from_secs(2));
    // What was written before still comes, and then the end.
    let mut events = caller.events;
    while events.recv().await.is_some() {}
    assert_eq!(running.await.unwrap().unwrap().cause, Cause::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_read_stops_its_input_and_can_still_be_stopped() {
    let world = World::new();
    let mut place = world.place().await;
    place.ready().await.unwrap();
    let (caller, io) = caller();
    let running = tokio::spawn(async move { place.run(command(&["wait"]), io).await });
    let mut chunks = 0;
    let chunk = vec![0; MAX_DATA_BYTES];
    while let Ok(sent) =
        tokio::time::timeout(Duration::from_millis(300), caller.stdin.send(chunk.clone())).await
    {
        sent.unwrap();
        chunks += 1;
    }
    assert!(chunks <= 2 * 16 + 3, "{chunks} chunks were taken");
    caller.control.send(Control::Deliver(5)).await.unwrap();
    caller.control.send(Control::Cancel).await.unwrap();
    let end = running.await.unwrap().unwrap();
    assert_eq!(end.cause, Cause::Cancelled);
    let controls = world.seen.controls.lock().unwrap().clone();
    assert_eq!(controls, [Control::Deliver(5), Control::Cancel]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_closes_its_input_closes_its_writers_channel() {
    let world = World::new();
    let mut place = world.place().await;
    place.ready().await.unwrap();
    let (caller, io) = caller();
    let running = tokio::spawn(async move { place.run(command(&["deaf"]), io).await });
    tokio::time::timeout(Duration::from_secs(5), caller.stdin.closed())
        .await
        .unwrap();
    caller.control.send(Control::Cancel).await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().cause, Cause::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_and_a_download_go_at_their_readers_pace() {
    let world = World::new();
    let keeper = world.keeper().await;
    let (sender, content) = mpsc::channel(1);
    let uploading = {
        let keeper = keeper.clone();
        let mut who = owner();
        who.tenant = "stuck".into();
        tokio::spawn(async move { keeper.write_file(session(), who, "x".into(), content).await })
    };
    let mut chunks = 0;
    while let Ok(sent) = tokio::time::timeout(
        Duration::from_millis(300),
        sender.send(Chunk::Bytes(vec![0; MAX_DATA_BYTES])),
    )
    .await
    {
        sent.unwrap();
        chunks += 1;
    }
    assert!(chunks <= 16 + 8, "{chunks} chunks were taken");
    uploading.abort();
    // Its stream was full, and the keeper hears all the same that nobody is there any more.
    until("the upload is cut off", || {
        world.seen.uploads_cut.load(SeqCst) == 1
    })
    .await;
    assert_eq!(world.seen.uploads_whole.load(SeqCst), 0);

    let (_, content) = keeper
        .read_file(session(), owner(), "x".into())
        .await
        .unwrap();
    let sent = standstill(|| world.seen.events_sent.load(SeqCst)).await;
    assert!(sent <= 2 * 16 + 8, "{sent} chunks of 100 000 were taken");
    drop(content);
    keeper.sessions().await.unwrap();
}

/// I15: as many as the connection takes at once, each stalled, and one more question is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_places_stall_and_nobody_else_does() {
    const PLACES: usize = 1_000;
    let world = World::new();
    let keeper = world.keeper().await;
    let mut callers = Vec::new();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..PLACES {
        let (caller, io) = caller();
        callers.push(caller);
        let keeper = keeper.clone();
        running.spawn(async move {
            let mut place = keeper.place(place_spec()).await?;
            place.ready().await?;
            let ended = place.run(command(&["flood"]), io).await?;
            place.collect(&mut Nowhere).await?;
            Ok::<_, KeeperError>(ended.cause)
        });
    }
    until("all of them write", || {
        world.seen.commands.lock().unwrap().len() == PLACES
    })
    .await;
    standstill(|| world.seen.events_sent.load(SeqCst)).await;
    keeper.sessions().await.unwrap();
    let mut place = keeper.place(place_spec()).await.unwrap();
    place.ready().await.unwrap();
    for caller in callers {
        caller.control.send(Control::Cancel).await.unwrap();
        tokio::spawn(async move {
            let mut events = caller.events;
            while events.recv().await.is_some() {}
        });
    }
    while let Some(ended) = running.join_next().await {
        assert_eq!(ended.unwrap().unwrap(), Cause::Cancelled);
    }
    assert_eq!(world.seen.places_dropped.load(SeqCst), PLACES);
}

/// Dropping what runs, again and again, does not cost the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_dropped_places_leave_the_connection_whole() {
    const PLACES: usize = 6_000;
    let world = World::new();
    let keeper = world.keeper().await;
    let mut witness = keeper.place(place_spec()).await.unwrap();
    witness.ready().await.unwrap();
    for round in 0..PLACES / 200 {
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let keeper = keeper.clone();
            running.spawn(async move {
                let mut place = keeper.place(place_spec()).await.unwrap();
                let (_caller, io) = caller();
                let _ = tokio::time::timeout(
                    Duration::from_millis(20),
                    place.run(command(&["flood"]), io),
                )
                .await;
            });
        }
        // Half of the rounds do not even wait for their answers.
        if round % 2 == 0 {
            while running.join_next().await.is_some() {}
        } else {
            sleep(Duration::from_millis(5)).await;
            running.shutdown().await;
        }
    }
    until("all are gone", || {
        world.seen.places.load(SeqCst) == world.seen.places_dropped.load(SeqCst) + 1
    })
    .await;
    let (_caller, io) = caller();
    let ended = witness.run(command(&["true"]), io).await.unwrap();
    assert_eq!(ended.cause, Cause::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_place_too_many_is_refused_by_name_and_number() {
    let world = World::new();
    let keeper = world.keeper().await;
    let mut places = Vec::new();
    for _ in 0..MAX_LONG_STREAMS {
        places.push(keeper.place(place_spec()).await.unwrap());
    }
    let refused = keeper.place(place_spec()).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the quota `streams` of the connection to the keeper is used up: 3840 of 3840"
    );
    keeper.sessions().await.unwrap();
    places.pop();
    keeper.place(place_spec()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_over_the_disk_of_the_place_are_refused_before_there_is_one() {
    let world = World::new();
    let mut spec = place_spec();
    spec.limits.disk_bytes = 99_999;
    spec.inputs.push(InputFile {
        name: "large".into(),
        file: file(&vec![0; 100_000]),
    });
    let refused = world.keeper().await.place(spec).await.unwrap_err();
    let is_too_large = matches!(
        &refused,
        KeeperError::File { path, fault: FileFault::TooLarge } if path.as_bytes() == b"large"
    );
    assert!(is_too_large, "{refused}");
    assert_eq!(world.seen.count(), 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_name_before_it_is_sent() {
    let world = World::new();
    let keeper = world.keeper().await;
    let long = "x".repeat(300_000);
    let refused = keeper
        .list_files(session(), owner(), long.as_str().into())
        .await
        .unwrap_err();
    assert!(matches!(refused, KeeperError::Spec(_)), "{refused}");
    let mut place = keeper.place(place_spec()).await.unwrap();
    let (_caller, io) = caller();
    let mut large = command(&[]);
    large.argv = vec!["x".repeat(13_000_000).into()];
    let refused = place.run(large, io).await.unwrap_err();
    assert!(matches!(refused, KeeperError::Spec(_)), "{refused}");
    drop(place);
    assert_eq!(world.seen.commands.lock().unwrap().len(), 0);
}

/// A refusal does not wait for the rest of an upload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_refused_ends_early() {
    let world = World::new();
    let (sender, content) = mpsc::channel(1);
    let mut who = owner();
    who.tenant = "full".into();
    let refused = world
        .keeper()
        .await
        .write_file(session(), who, "x".into(), content)
        .await
        .unwrap_err();
    assert!(matches!(
        refused,
        KeeperError::File {
            fault: FileFault::NoSpace,
            ..
        }
    ));
    assert!(sender.send(Chunk::End).await.is_err());
}
