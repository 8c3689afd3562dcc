//! Files and ports of a session.

use casemate_model::{Digest, Text};
use casemate_ports::{Chunk, EntryKind, FileFault, KeeperError, SessionKeeper as _};
use tokio::sync::mpsc;

use crate::desk::{Desk, owner, session_id, shell, spec};

async fn write(desk: &Desk, path: &[u8], content: &[u8]) -> Result<u64, KeeperError> {
    let (sender, receiver) = mpsc::channel(16);
    let path = Text::from(path.to_vec());
    let sending = async {
        for chunk in content.chunks(100_000) {
            if sender.send(Chunk::Bytes(chunk.to_vec())).await.is_err() {
                return;
            }
        }
        drop(sender.send(Chunk::End).await);
    };
    let writing = desk
        .keeper
        .write_file(session_id(1), owner("agent"), path, receiver);
    let (written, ()) = tokio::join!(writing, sending);
    let written = written?;
    assert_eq!(written.sha256, Digest::of(content));
    Ok(written.bytes)
}

async fn read(desk: &Desk, path: &[u8]) -> Result<Vec<u8>, KeeperError> {
    let path = Text::from(path.to_vec());
    let (bytes, mut content) = desk
        .keeper
        .read_file(session_id(1), owner("agent"), path)
        .await?;
    let mut all = Vec::new();
    while let Some(chunk) = content.recv().await {
        all.extend(chunk);
    }
    assert_eq!(all.len() as u64, bytes);
    Ok(all)
}

fn fault<T: std::fmt::Debug>(result: Result<T, KeeperError>) -> FileFault {
    match result {
        Err(KeeperError::File { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

/// Uploads and downloads of any bytes under any name that is one.
pub(crate) async fn files_go_in_and_out(desk: Desk) {
    desk.session(1).await;
    let content: Vec<u8> = (0..1_000_003_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect();
    assert_eq!(
        write(&desk, b"a/b/data.bin", &content)
            .await
            .expect("written"),
        1_000_003
    );
    assert_eq!(read(&desk, b"a/b/data.bin").await.expect("read"), content);
    write(&desk, b"a/b/data.bin", b"new")
        .await
        .expect("replaced");
    assert_eq!(
        desk.call(
            1,
            shell("cat a/b/data.bin; ls -A a/b; stat -c '%U %a' a/b/data.bin")
        )
        .await
        .ok(),
        "newdata.bin\nuser 644\n"
    );
    write(&desk, b"", b"x").await.expect_err("no name");
    write(&desk, b"sp ace\n\xff", b"odd")
        .await
        .expect("any bytes but NUL and a slash");
    assert_eq!(read(&desk, b"sp ace\n\xff").await.expect("read"), b"odd");
    write(&desk, b"empty", b"").await.expect("written");
    let keeper = &desk.keeper;
    let list = keeper
        .list_files(session_id(1), owner("agent"), "".into())
        .await
        .expect("a list");
    let names: Vec<_> = list
        .iter()
        .map(|entry| (entry.name.to_string(), entry.kind, entry.bytes))
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names[0].1, EntryKind::Directory);
    assert!(
        names
            .iter()
            .any(|(name, kind, bytes)| name == "empty" && *kind == EntryKind::File && *bytes == 0)
    );
    keeper
        .remove_file(session_id(1), owner("agent"), "empty".into())
        .await
        .expect("removed");
    assert_eq!(fault(read(&desk, b"empty").await), FileFault::NotFound);
    assert_eq!(
        fault(
            keeper
                .remove_file(session_id(1), owner("agent"), "a".into())
                .await
        ),
        FileFault::NotEmpty
    );
}

/// R20, R41: no path leads out of the workspace, whatever programs put there.
pub(crate) async fn no_path_leads_out(desk: Desk) {
    desk.session(1).await;
    desk.call(1, shell("ln -s /etc etc; ln -s /etc/passwd p; ln -s ../../etc/passwd q; mkdir d; mkfifo d/fifo; ln -s /proc/self/environ e")).await.ok();
    for path in [
        &b".."[..],
        b"../x",
        b"a/../../x",
        b"/etc/passwd",
        b"./x",
        b"a//b",
        b"a/",
        b"nul\0x",
        b"etc/passwd",
        b"p",
        b"q",
        b"e",
    ] {
        let (read, written) = (read(&desk, path).await, write(&desk, path, b"x").await);
        let listed = desk
            .keeper
            .list_files(session_id(1), owner("agent"), Text::from(path.to_vec()))
            .await;
        let shown = String::from_utf8_lossy(path);
        assert_eq!(fault(read), FileFault::BadPath, "{shown}");
        listed.expect_err("not listed");
        // A link is replaced, never followed.
        if !matches!(path, b"p" | b"q" | b"e") {
            assert_eq!(fault(written), FileFault::BadPath, "{shown}");
        }
    }
    assert_eq!(fault(read(&desk, b"d/fifo").await), FileFault::NotRegular);
    assert_eq!(fault(read(&desk, b"d").await), FileFault::IsDirectory);
    assert_eq!(
        fault(write(&desk, b"d", b"x").await),
        FileFault::IsDirectory
    );
    assert_eq!(
        fault(write(&desk, b"p/x", b"x").await),
        FileFault::NotDirectory
    );
    assert_eq!(fault(read(&desk, b"d/none").await), FileFault::NotFound);
    assert_eq!(
        desk.call(1, shell("head -c 4 /etc/passwd")).await.ok(),
        "root"
    );
}

/// An upload that is cut off, or too large, leaves what was there before, and nothing half-written.
pub(crate) async fn half_an_upload_is_none(desk: Desk) {
    let mut small = spec(1);
    small.kind.limits.disk_bytes = 4 << 20;
    small.kind.limits.file_bytes = 2 << 20;
    desk.keeper.open(small).await.expect("a session");
    write(&desk, b"file", b"before").await.expect("written");
    let (sender, receiver) = mpsc::channel(16);
    let cut = async {
        sender
            .send(Chunk::Bytes(vec![1; 50_000]))
            .await
            .expect("heard");
        let listed = desk.call(1, shell("find . -type f")).await.ok();
        assert_eq!(listed, "./file\n", "nothing half-written is visible");
        drop(sender);
    };
    let writing = desk
        .keeper
        .write_file(session_id(1), owner("agent"), "file".into(), receiver);
    let (written, ()) = tokio::join!(writing, cut);
    assert_eq!(fault(written), FileFault::CutOff);
    assert_eq!(
        fault(write(&desk, b"file", &vec![0; 3 << 20]).await),
        FileFault::TooLarge
    );
    write(&desk, b"other", &vec![0; 2 << 20])
        .await
        .expect("written");
    assert_eq!(
        fault(write(&desk, b"file", &vec![0; 2 << 20]).await),
        FileFault::NoSpace
    );
    assert_eq!(read(&desk, b"file").await.expect("read"), b"before");
    assert_eq!(
        desk.call(1, shell("ls -A")).await.ok(),
        "file\nother\nout\n"
    );
}

/// A port on which a running call listens is reachable by other calls and from outside, and gone with its call.
pub(crate) async fn a_port_is_reachable_while_its_program_runs(desk: Desk) {
    desk.session(1).await;
    desk.session(2).await;
    let server = "python3 -c \"\n\
        import socket\n\
        s = socket.create_server(('127.0.0.1', 8000)); open('/workspace/up', 'w').close()\n\
        for _ in range(2):\n\
        \tc, _ = s.accept(); c.sendall(b'hello ' + c.recv(100)); c.close()\n\"";
    let client = async {
        let peer = "while [ ! -e up ]; do sleep 0.02; done; exec 3<>/dev/tcp/127.0.0.1/8000; echo peer >&3; cat <&3";
        assert_eq!(desk.call(1, shell(peer)).await.ok(), "hello peer\n");
        let elsewhere = desk.call(2, shell("exec 3<>/dev/tcp/127.0.0.1/8000")).await;
        assert_ne!(
            elsewhere.ended.exit,
            Some(casemate_model::Exit::Code(0)),
            "another session's network"
        );
        let mut connection = desk
            .keeper
            .connect(session_id(1), owner("agent"), 8000)
            .await
            .expect("a connection");
        connection.to.send(b"outside".to_vec()).await.expect("room");
        let mut heard = Vec::new();
        while let Some(bytes) = connection.from.recv().await {
            heard.extend(bytes);
        }
        assert_eq!(heard, b"hello outside");
    };
    let (served, ()) = tokio::join!(desk.call(1, shell(server)), client);
    served.ok();
    let closed = desk
        .keeper
        .connect(session_id(1), owner("agent"), 8000)
        .await;
    assert!(matches!(closed, Err(KeeperError::Spec(_))), "{closed:?}");
}
