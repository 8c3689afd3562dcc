//! Workspaces that go out of one sandbox and into another.

use casemate_ports::{Chunk, FileFault, KeeperError, SessionKeeper as _, SessionSpec};
use tokio::sync::mpsc;

use crate::desk::{Desk, cell, context_id, owner, session_id, shell, spec};

/// Everything about every file that its programs can see.
const LISTED: &str = "find . -printf '%P %y %m %n %s %T@ %l\\n' | sort; find . -type f -links 1 -size -4000k -exec sha256sum {} + | sort; \
                      stat -c %b sparse; python3 -c 'import os; print(os.getxattr(\"plain\", \"user.note\"))' 2>&1 | tail -1";

async fn pack(desk: &Desk, number: u8) -> Result<Vec<Chunk>, KeeperError> {
    let (bytes, mut content) = desk.keeper.pack(session_id(number), owner("agent")).await?;
    let mut chunks = Vec::new();
    while let Some(chunk) = content.recv().await {
        let last = chunk == Chunk::End;
        chunks.push(chunk);
        if last {
            break;
        }
    }
    let lengths = chunks.iter().map(|chunk| match chunk {
        Chunk::Bytes(bytes) => bytes.len() as u64,
        Chunk::End => 0,
    });
    assert_eq!(lengths.sum::<u64>(), bytes);
    assert_eq!(chunks.last(), Some(&Chunk::End));
    Ok(chunks)
}

async fn unpack(desk: &Desk, number: u8, chunks: Vec<Chunk>) -> Result<(), KeeperError> {
    let (sender, content) = mpsc::channel(1);
    let sending = async move {
        for chunk in chunks {
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let put = desk
        .keeper
        .unpack(session_id(number), owner("agent"), content);
    tokio::join!(put, sending).0
}

/// R20: files, directories and links come out as they went in, with permissions, times, attributes and holes.
pub(crate) async fn a_workspace_goes_whole_into_another_sandbox(desk: Desk) {
    desk.session(1).await;
    desk.call(
        1,
        shell(
            "echo plain > plain; chmod 640 plain; python3 -c 'import os; os.setxattr(\"plain\", \"user.note\", b\"x\")'; \
             head -c 3000000 /dev/urandom > large; cp /bin/true tool; chmod 4755 tool; \
             ln -s /etc/passwd out-link; ln -s nowhere broken; mkdir -p d/e 'sp ace'; echo a > d/e/one; ln d/e/one d/two; ln d/e/one three; \
             truncate -s 256M sparse; echo end | dd of=sparse seek=262143 bs=1024 conv=notrunc status=none; \
             mkfifo -m 600 pipe; touch \"$(printf 'odd\\377name')\"; echo locked > d/locked; chmod 400 d/locked; \
             touch -d '1969-07-20 20:17:40.5 UTC' plain; touch -h -d '2001-01-01' broken; rmdir out; \
             python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'; rm socket; \
             touch -d '2002-02-02' d/e; chmod 555 d/e; touch -d '2003-03-03' d .",
        ),
    )
    .await
    .ok();
    let before = desk.call(1, shell(LISTED)).await.ok();
    assert!(before.contains("sparse f 644 1 268435"), "{before}");
    let chunks = pack(&desk, 1).await.expect("packed");
    desk.session(2).await;
    unpack(&desk, 2, chunks).await.expect("unpacked");
    assert_eq!(desk.call(2, shell(LISTED)).await.ok(), before);
    let same = "test d/e/one -ef d/two && test d/e/one -ef three && echo one";
    assert_eq!(desk.call(2, shell(same)).await.ok(), "one\n");
    // Both are whole, and neither is the other.
    desk.call(2, shell("echo new > plain")).await.ok();
    assert_eq!(desk.call(1, shell("cat plain")).await.ok(), "plain\n");
    // A call's memory is not the most that a workspace may hold.
    assert_eq!(desk.call(1, shell("cmp large large")).await.ok(), "");
}

/// While a workspace is packed nothing else is done in its session, and while anything is, it is not packed.
pub(crate) async fn a_workspace_is_packed_alone(desk: Desk) {
    desk.session(1).await;
    desk.call(1, shell("echo kept > file")).await.ok();
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let place = desk.keeper.place(desk.place(1)).await.expect("a place");
    let running = desk.run(place, shell("echo up; sleep 0.5"), Vec::new(), |_| {
        sender.send(()).expect("somebody waits");
    });
    let packing = async {
        receiver.await.expect("it runs");
        let packed = desk.keeper.pack(session_id(1), owner("agent")).await;
        assert!(matches!(packed, Err(KeeperError::Busy(_))), "{packed:?}");
    };
    let (done, ()) = tokio::join!(running, packing);
    done.expect("a call").ok();

    let (_, mut content) = desk
        .keeper
        .pack(session_id(1), owner("agent"))
        .await
        .expect("packed");
    let refused = desk.call_in(desk.place(1), shell("true")).await;
    assert!(matches!(refused, Err(KeeperError::Busy(_))), "{refused:?}");
    while content.recv().await != Some(Chunk::End) {}
    // Not before whoever packs it is done with it.
    let refused = desk.call_in(desk.place(1), shell("true")).await;
    assert!(matches!(refused, Err(KeeperError::Busy(_))), "{refused:?}");
    let read = desk
        .keeper
        .read_file(session_id(1), owner("agent"), "file".into());
    assert!(matches!(read.await, Err(KeeperError::Busy(_))));
    drop(content);
    let free = async {
        loop {
            match desk.call_in(desk.place(1), shell("cat file")).await {
                Err(KeeperError::Busy(_)) => tokio::task::yield_now().await,
                done => return done,
            }
        }
    };
    assert_eq!(free.await.expect("a call").ok(), "kept\n");
    let other = desk.keeper.pack(session_id(1), owner("other")).await;
    assert!(matches!(other, Err(KeeperError::NoSession(_))), "{other:?}");
}

/// What its own user may not read is not left out: nothing is packed, and the session goes on.
pub(crate) async fn what_cannot_be_read_is_not_packed(desk: Desk) {
    desk.session(1).await;
    desk.call(1, shell("echo x > hidden; chmod 000 hidden"))
        .await
        .ok();
    match pack(&desk, 1).await {
        Err(KeeperError::File { fault, .. }) => assert_eq!(fault, FileFault::Denied),
        other => panic!("{other:?}"),
    }
    desk.call(1, shell("test $(stat -c %a hidden) = 0; chmod 600 hidden"))
        .await
        .ok();
    pack(&desk, 1).await.expect("packed");
}

/// R41: a stream that is cut off, or was made by somebody else, puts nothing outside of the workspace, and is no success.
pub(crate) async fn a_bad_stream_is_refused(desk: Desk) {
    use casemate_frames::{Moment, PACKED_END, Packed, PackedEntry};
    desk.session(1).await;
    desk.call(1, shell("head -c 300000 /dev/zero > file"))
        .await
        .ok();
    let mut cut = pack(&desk, 1).await.expect("packed");
    cut.pop();
    let moment = Moment {
        seconds: 0,
        nanoseconds: 0,
    };
    let entry = |path: &[u8], what| {
        let entry = PackedEntry {
            path: path.to_vec(),
            mode: 0o644,
            accessed: moment,
            modified: moment,
            attributes: Vec::new(),
            what,
        };
        entry.encode().expect("encoded")
    };
    let file = || Packed::File {
        bytes: 0,
        pieces: Vec::new(),
    };
    let whole = |entries: &[Vec<u8>]| {
        let bytes = [entries.concat(), PACKED_END.to_vec()].concat();
        vec![Chunk::Bytes(bytes), Chunk::End]
    };
    let link = || entry(b"link", Packed::Link(b"/tmp".to_vec()));
    let streams = [
        cut,
        vec![Chunk::Bytes(vec![255; 4_096]), Chunk::End],
        vec![Chunk::Bytes(vec![0, 0, 0, 0, 1]), Chunk::End],
        vec![Chunk::End],
        whole(&[link(), entry(b"link/x", file())]),
        whole(&[entry(b"x", file()), entry(b"x", file())]),
        whole(&[entry(b"x", Packed::Same(b"none".to_vec()))]),
    ];
    for (number, stream) in streams.into_iter().enumerate() {
        let number = u8::try_from(number).expect("few") + 2;
        desk.session(number).await;
        unpack(&desk, number, stream).await.expect_err("refused");
        assert_eq!(
            desk.call(number, shell("ls -A /tmp | wc -l")).await.ok(),
            "0\n"
        );
    }
}

/// A session that was put away comes back under its name in another sandbox, without its interpreters; one that violated does not.
pub(crate) async fn a_session_comes_back_in_another_sandbox(desk: Desk) {
    desk.session(1).await;
    let (id, who) = (session_id(1), owner("agent"));
    desk.keeper
        .open_context(id, who.clone(), context_id(1))
        .await
        .expect("a context");
    desk.call(1, shell("echo kept > file; echo lost > /tmp/file"))
        .await
        .ok();
    let chunks = pack(&desk, 1).await.expect("packed");
    let again = SessionSpec {
        resumes: true,
        ..spec(1)
    };
    let lives = desk.keeper.open(again.clone()).await;
    assert!(matches!(lives, Err(KeeperError::Spec(_))), "{lives:?}");
    desk.keeper.close(id, who.clone()).await.expect("closed");
    let as_new = desk.keeper.open(spec(1)).await;
    assert!(matches!(as_new, Err(KeeperError::Spec(_))), "{as_new:?}");
    let of_others = SessionSpec {
        owner: owner("other"),
        ..again.clone()
    };
    let of_others = desk.keeper.open(of_others).await;
    assert!(matches!(of_others, Err(KeeperError::Spec(_))));
    desk.keeper.open(again).await.expect("it comes back");
    unpack(&desk, 1, chunks).await.expect("unpacked");
    let files = shell("cat file; ls -A /tmp");
    assert_eq!(desk.call(1, files).await.ok(), "kept\n");
    let mut place = desk.place(1);
    place.context = Some(context_id(1));
    let gone = desk.call_in(place, cell("1")).await;
    assert!(
        matches!(gone, Err(KeeperError::NoContext { .. })),
        "{gone:?}"
    );
    let statuses = desk.keeper.sessions().await.expect("sessions");
    assert_eq!(statuses.len(), 1, "{statuses:?}");
    assert_eq!(statuses[0].gone, None);
}
