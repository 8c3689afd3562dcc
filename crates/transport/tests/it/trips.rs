//! Everything that can be asked arrives as it was meant, and so does the answer.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, sync::atomic::Ordering::SeqCst};

use casemate_model::{Cause, ContextId, DecisionId, Digest, Stream, Text};
use casemate_ports::{
    ArtefactSink, Chunk, Control, Event, FileFault, InputFile, KeeperError, PlaceSpec, PoolSize,
    Sandbox as _, SessionKeeper as _, Signal, TerminalSize, Way,
};
use tokio::sync::mpsc;

use crate::{
    fake::{ERRORS, ended, error, isolation, status},
    world::{World, caller, command, file, kind, owner, place_spec, session, session_spec},
};

pub(crate) struct Nowhere;

impl ArtefactSink for Nowhere {
    fn file(
        &mut self,
        _: &Text,
        _: bool,
        _: &mut dyn std::io::Read,
    ) -> std::io::Result<Option<String>> {
        panic!("a place gives no files");
    }
}

fn context() -> ContextId {
    ContextId::new(2, [2; 10])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_that_is_one_value_round_trips() {
    let world = World::new();
    let keeper = world.keeper().await;
    let size = PoolSize {
        min: 1,
        max: 2,
        idle_ms: u64::MAX,
    };
    keeper.stock(owner(), kind(), size).await.unwrap();
    assert!(keeper.pools().await.unwrap().is_empty());
    let opened = keeper.open(session_spec()).await.unwrap();
    assert_eq!(opened, status(&session_spec()));
    assert!(keeper.sessions().await.unwrap().is_empty());
    let (id, who, path) = (session(), owner(), Text::from(b"a\xff/\n".to_vec()));
    keeper
        .open_context(id, who.clone(), context())
        .await
        .unwrap();
    keeper
        .close_context(id, who.clone(), context())
        .await
        .unwrap();
    keeper
        .remove_file(id, who.clone(), path.clone())
        .await
        .unwrap();
    let entries = keeper
        .list_files(id, who.clone(), path.clone())
        .await
        .unwrap();
    assert_eq!(entries.len(), 10_000);
    assert_eq!(entries[9_999].name, Text::from(vec![1; 255]));
    keeper.close(id, who.clone()).await.unwrap();
    assert_eq!(
        *world.seen.asked.lock().unwrap(),
        [
            format!("stock {who:?} {:?} {size:?}", kind()),
            "pools".into(),
            format!("open {:?}", session_spec()),
            "sessions".into(),
            format!("open_context {id} {who:?} {}", context()),
            format!("close_context {id} {who:?} {}", context()),
            format!("remove {id} {who:?} {path}"),
            format!("list {id} {who:?} {path}"),
            format!("close {id} {who:?}"),
        ]
    );
}

#[tokio::test]
async fn every_error_arrives_as_the_keeper_gave_it() {
    let world = World::new();
    let keeper = world.keeper().await;
    for name in ERRORS {
        let mut who = owner();
        who.tenant = name.into();
        let sent = error(name, session()).unwrap();
        let mut errors = vec![
            keeper.close(session(), who.clone()).await.unwrap_err(),
            keeper
                .read_file(session(), who.clone(), "x".into())
                .await
                .unwrap_err(),
            keeper.connect(session(), who.clone(), 1).await.unwrap_err(),
        ];
        let mut spec = place_spec();
        spec.owner = who;
        errors.push(keeper.place(spec).await.unwrap_err());
        for got in errors {
            assert_eq!(format!("{got:?}"), format!("{sent:?}"));
            assert_eq!(got.to_string(), sent.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_gets_its_inputs_runs_and_is_collected() {
    let world = World::new();
    let large = vec![7; 300_000];
    let mut spec = place_spec();
    spec.context = Some(context());
    spec.way = Some(Way {
        authority: "certificate".into(),
        handover: OsString::from_vec(b"/run/\xff".to_vec()).into(),
        decision: DecisionId::new(5, [5; 10]),
    });
    let way = format!("{:?}", spec.way);
    for (name, content) in [(&b"a"[..], &large[..]), (b"../\xff\0", b""), (b"", b"x")] {
        spec.inputs.push(InputFile {
            name: Text::from(name.to_vec()),
            file: file(content),
        });
    }
    let mut place = world.keeper().await.place(spec).await.unwrap();
    let ready = place.ready().await.unwrap();
    let asked = world.seen.asked.lock().unwrap().clone();
    assert!(asked.last().unwrap().contains(&way), "{asked:?}");
    assert_eq!(ready.isolation, isolation());
    let digests: Vec<_> = ready.inputs.iter().map(|input| input.sha256).collect();
    assert_eq!(
        digests,
        [Digest::of(&large), Digest::of(b""), Digest::of(b"x")]
    );
    assert_eq!(ready.inputs[1].name, Text::from(b"../\xff\0".to_vec()));

    let (mut caller, io) = caller();
    let reader = tokio::spawn(async move {
        let mut counts = [0; 3];
        while let Some(Event::Output(stream, bytes)) = caller.events.recv().await {
            counts[stream as usize] += bytes.len();
        }
        counts
    });
    let mut run = command(&["say", "\n"]);
    run.terminal = Some(TerminalSize {
        rows: 1,
        columns: u16::MAX,
    });
    let end = place.run(run.clone(), io).await.unwrap();
    assert_eq!(end, ended(Cause::Completed));
    assert_eq!(reader.await.unwrap(), [150_000; 3]);
    assert_eq!(*world.seen.commands.lock().unwrap(), [run.clone()]);

    let (_caller, io) = crate::world::caller();
    let again = place.run(run, io).await.unwrap_err();
    assert!(matches!(again, KeeperError::Spec(_)), "{again}");
    assert!(place.collect(&mut Nowhere).await.unwrap().is_empty());
    assert_eq!(world.seen.collected.load(SeqCst), 1);
    assert_eq!(world.seen.places_dropped.load(SeqCst), 1);
}

#[tokio::test]
async fn a_place_that_ran_nothing_is_collected_and_one_that_failed_says_why() {
    let world = World::new();
    let mut place = world.place().await;
    place.ready().await.unwrap();
    place.collect(&mut Nowhere).await.unwrap();
    assert_eq!(world.seen.collected.load(SeqCst), 1);

    let mut place = world.place().await;
    place.ready().await.unwrap();
    let (_caller, io) = caller();
    let failed = place.run(command(&["fail"]), io).await.unwrap_err();
    assert!(matches!(&failed, KeeperError::Lost(why) if why == "as asked"));
    place.collect(&mut Nowhere).await.unwrap();
    assert_eq!(world.seen.places_dropped.load(SeqCst), 2);
}

/// Every byte goes through both ways and in order, however it is cut, and the end of input is an end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_input_and_output_are_whole_and_in_order() {
    let world = World::new();
    let mut place = world.place().await;
    place.ready().await.unwrap();
    let (mut caller, io) = caller();
    let stdin = caller.stdin;
    let chunks: Vec<Vec<u8>> = (0..300_u32)
        .map(|number| vec![number.to_le_bytes()[0]; (number as usize * 977) % 200_000 + 1])
        .collect();
    let expected = chunks.concat();
    let writer = tokio::spawn(async move {
        for chunk in chunks {
            stdin.send(chunk).await.unwrap();
        }
    });
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(Event::Output(Stream::Stdout, bytes)) = caller.events.recv().await {
            all.extend(bytes);
        }
        (all, caller.control)
    });
    let end = place.run(command(&["cat"]), io).await.unwrap();
    assert_eq!(end.cause, Cause::Completed);
    writer.await.unwrap();
    assert!(reader.await.unwrap().0 == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controls_arrive_in_order() {
    let world = World::new();
    let mut place = world.place().await;
    place.ready().await.unwrap();
    let (caller, io) = caller();
    let words = [
        Control::Deliver(64),
        Control::Resize(TerminalSize {
            rows: 24,
            columns: 80,
        }),
        Control::Interrupt(Signal::Terminate),
    ];
    for word in words {
        caller.control.send(word).await.unwrap();
    }
    let end = place.run(command(&["wait"]), io).await.unwrap();
    assert_eq!(end.cause, Cause::Completed);
    assert_eq!(*world.seen.controls.lock().unwrap(), words);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_whole_both_ways() {
    let world = World::new();
    let keeper = world.keeper().await;
    let (sender, content) = mpsc::channel(1);
    let upload = tokio::spawn(async move {
        for number in 0..50_u8 {
            sender
                .send(Chunk::Bytes(vec![number; 99_999]))
                .await
                .unwrap();
        }
        sender.send(Chunk::End).await.unwrap();
    });
    let digest = keeper
        .write_file(session(), owner(), "a/b".into(), content)
        .await
        .unwrap();
    upload.await.unwrap();
    let whole: Vec<u8> = (0..50).flat_map(|number| vec![number; 99_999]).collect();
    assert_eq!(digest.sha256, Digest::of(&whole));

    let (size, mut content) = keeper
        .read_file(session(), owner(), "a/b".into())
        .await
        .unwrap();
    let mut read = Vec::new();
    while let Some(bytes) = content.recv().await {
        read.extend(bytes);
    }
    assert_eq!(read.len() as u64, size);
    assert_eq!((read[0], read[19_999_999]), (0, 199));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_both_ways_and_ends_one_way_at_a_time() {
    let world = World::new();
    let keeper = world.keeper().await;
    let mut connection = keeper.connect(session(), owner(), 80).await.unwrap();
    let to = connection.to;
    let writer = tokio::spawn(async move {
        for number in 0..100_u8 {
            to.send(vec![number; 70_000]).await.unwrap();
        }
    });
    let mut read = Vec::new();
    while let Some(bytes) = connection.from.recv().await {
        read.extend(bytes);
    }
    writer.await.unwrap();
    assert_eq!(read.len(), 7_000_003);
    assert!(read.ends_with(b"\x63bye"));
    assert_eq!(world.seen.connections_ended.load(SeqCst), 1);
}

/// A gateway of many threads may move what it waits for from one to another.
#[test]
fn what_the_client_gives_may_change_threads() {
    fn sendable<T: Send>(_: impl FnOnce(casemate_transport::RemoteKeeper) -> T) {}
    sendable(|keeper| async move { keeper.sessions().await });
    sendable(|keeper| async move { keeper.open(session_spec()).await });
    sendable(|keeper| async move {
        let (_sender, content) = mpsc::channel(1);
        keeper
            .write_file(session(), owner(), "x".into(), content)
            .await
    });
    sendable(|keeper| async move { keeper.read_file(session(), owner(), "x".into()).await });
    sendable(|keeper| async move { keeper.connect(session(), owner(), 1).await });
    sendable(|keeper| async move {
        let mut place = keeper.place(place_spec()).await?;
        place.ready().await?;
        place.run(command(&[]), caller().1).await
    });
}

/// A thread that is busy holds nobody up but itself, and one that ends takes nothing of the others along.
#[tokio::test]
async fn every_runtime_asks_for_itself() {
    let world = World::new();
    let keeper = world.keeper().await;
    let elsewhere = |keeper: casemate_transport::RemoteKeeper| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut place = keeper.place(place_spec()).await.unwrap();
                place.ready().await.unwrap();
                keeper.sessions().await.unwrap();
            });
        })
    };
    for _ in 0..3 {
        // Nobody drives the runtime in which the keeper was found.
        elsewhere(keeper.clone()).join().unwrap();
    }
    let mut place = keeper.place(place_spec()).await.unwrap();
    place.ready().await.unwrap();
}

/// I4: the place of a call with a way out is its own until its caller has let go of it, so that the next call of a context
/// does not begin while the way out of this one is still served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_with_a_way_out_stays_until_its_caller_leaves() {
    let world = World::new();
    let keeper = world.keeper().await;
    let way = Way {
        authority: "certificate".into(),
        handover: "/run/way.sock".into(),
        decision: DecisionId::new(5, [5; 10]),
    };
    for (way, collected) in [(Some(way), 0), (None, 2)] {
        let spec = PlaceSpec {
            way,
            ..place_spec()
        };
        let mut place = keeper.place(spec).await.unwrap();
        place.ready().await.unwrap();
        let (_caller, io) = caller();
        place.run(command(&["say"]), io).await.unwrap();
        // By the last of these answers the keeper has long come to what it does next.
        for _ in 0..20 {
            keeper.sessions().await.unwrap();
        }
        assert_eq!(world.seen.collected.load(SeqCst), collected);
        place.collect(&mut Nowhere).await.unwrap();
    }
    assert_eq!(world.seen.collected.load(SeqCst), 2);
}

/// A packed workspace is whole or has no end, and the keeper hears when nobody has it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_workspace_is_whole_or_has_no_end() {
    let world = World::new();
    let keeper = world.keeper().await;
    for (agent, is_whole) in [("agent", true), ("cut", false)] {
        let mut who = owner();
        who.agent = agent.into();
        let (bytes, mut content) = keeper.pack(session(), who).await.unwrap();
        let (mut seen, mut end) = (0, false);
        while let Some(chunk) = content.recv().await {
            match chunk {
                Chunk::Bytes(bytes) => seen += bytes.len() as u64,
                Chunk::End => {
                    end = true;
                    break;
                }
            }
        }
        assert_eq!((bytes, end), (2_000_000, is_whole));
        // What is cut off may lose what was on its way.
        assert!(seen == bytes || (!is_whole && seen < bytes), "{seen}");
        assert_eq!(world.seen.packs_let_go.load(SeqCst), 0, "it is held");
        if is_whole {
            drop(content);
            while world.seen.packs_let_go.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            world.seen.packs_let_go.store(0, SeqCst);
        }
    }
    let (sender, content) = mpsc::channel(1);
    drop(sender);
    let cut = keeper.unpack(session(), owner(), content).await;
    assert!(
        matches!(
            cut,
            Err(KeeperError::File {
                fault: FileFault::CutOff,
                ..
            })
        ),
        "{cut:?}"
    );
}
