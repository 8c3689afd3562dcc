//! WebSockets: terminals, tunnels; and the socket itself.

use std::time::Duration;

use casemate_api::{BindError, Listener};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::{
    client::{Served, until},
    house::House,
    remote::Remote,
};

async fn open(
    served: &Served,
    path: &str,
) -> Result<WebSocketStream<tokio::net::UnixStream>, Error> {
    let request = format!("ws://casemate{path}")
        .into_client_request()
        .unwrap();
    let (socket, _) = client_async(request, served.connect().await).await?;
    Ok(socket)
}

async fn ended(socket: &mut WebSocketStream<tokio::net::UnixStream>) -> serde_json::Value {
    loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                return value["ended"].clone();
            }
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_terminal_is_a_call_that_ends_with_its_connection() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path = |command: &str, agent: &str| {
        format!("/v1/sessions/{session}/terminal?command={command}&agent={agent}")
    };
    let mut socket = open(&served, &path("true", "local")).await.unwrap();
    assert_eq!(ended(&mut socket).await["status"], "succeeded");
    let mut socket = open(&served, &path("wait", "local")).await.unwrap();
    until(|| served.house.keeper.running() == 1).await;
    socket
        .send(Message::Binary(vec![b'x'; 10].into()))
        .await
        .unwrap();
    drop(socket);
    until(|| served.house.keeper.running() == 0).await;
    // Whoever sends nonsense is not obeyed in part.
    let mut socket = open(&served, &path("wait", "local")).await.unwrap();
    until(|| served.house.keeper.running() == 1).await;
    socket
        .send(Message::Text("{\"signal\":65}".into()))
        .await
        .unwrap();
    until(|| served.house.keeper.running() == 0).await;
    let runs = served.house.keeper.runs();
    let mut foreign = open(&served, &path("true", "other")).await.unwrap();
    assert_eq!(ended(&mut foreign).await["code"], "session_unknown");
    assert_eq!(served.house.keeper.runs(), runs);
}

#[tokio::test]
async fn a_tunnel_carries_bytes_to_a_port_of_the_session() {
    let served = Served::new(House::new("thread")).await;
    let session = served.session("t").await;
    let path =
        |port: &str, agent: &str| format!("/v1/sessions/{session}/ports/{port}?agent={agent}");
    // The fake's ports echo.
    let mut socket = open(&served, &path("8080", "local")).await.unwrap();
    for bytes in [vec![1; 3], vec![2; 100_000]] {
        socket
            .send(Message::Binary(bytes.clone().into()))
            .await
            .unwrap();
        let echoed = socket.next().await.unwrap().unwrap();
        assert!(echoed.into_data() == bytes);
    }
    socket.send(Message::Text("end".into())).await.unwrap();
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    for (port, agent, status) in [
        ("8080", "other", 404),
        ("0", "local", 400),
        ("65536", "local", 400),
    ] {
        match open(&served, &path(port, agent)).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), status, "{port} {agent}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_socket_has_one_gateway() {
    let served = Served::new(House::new("thread")).await;
    let taken = Listener::bind(&served.socket).await.unwrap_err();
    let this = std::process::id().cast_signed();
    assert!(
        matches!(taken, BindError::Taken { process: Some(process), .. } if process == this),
        "{taken}"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    std::fs::write(&path, b"precious").unwrap();
    let file = Listener::bind(&path).await.unwrap_err();
    assert!(matches!(file, BindError::NotASocket(_)), "{file}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    // One that a dead gateway left is replaced.
    let path = dir.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&path).await.unwrap();
    drop(listener);
    assert!(!path.exists());
}

/// An upgraded connection over a network keeps its place: there are no more of them than there may be.
#[tokio::test]
async fn sockets_over_a_network_have_places() {
    let most = 3;
    let remote = Remote::of_at_most(most).await;
    let operator = remote.somebody(&["operator"]);
    let call = serde_json::json!({ "thread": "t", "tool": "python", "code": "1" });
    let ran = remote.post("/v1/calls", &operator, &call).await.json();
    let path = format!("/v1/sessions/{}/ports/80", ran["session"].as_str().unwrap());
    let mut sockets = Vec::new();
    while sockets.len() < most {
        // The connection before has ended for us, and not for the gateway yet.
        if let Ok(socket) = remote.upgrade(&path, &operator).await {
            sockets.push(socket);
        }
    }
    let one_more = remote.upgrade(&path, &operator);
    let one_more = tokio::time::timeout(Duration::from_millis(300), one_more).await;
    assert!(!matches!(one_more, Ok(Ok(_))), "one more than there may be");
    // Each of them works, and its place is another's when it has ended.
    for socket in &mut sockets {
        socket.send(Message::Binary(vec![1].into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_data(), [1][..]);
    }
    sockets.pop();
    let next = remote.upgrade(&path, &operator);
    let next = tokio::time::timeout(Duration::from_secs(10), next).await;
    assert!(matches!(next, Ok(Ok(_))), "{next:?}");
}

/// A socket whose owner does not keep up is not taken for one that nobody has.
#[tokio::test]
async fn a_socket_with_a_full_queue_is_somebodys() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("casemate.sock");
    let new = || socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    let address = SocketAddrUnix::new(&path).unwrap();
    let (owner, waits) = (new(), new());
    bind(&owner, &address).unwrap();
    listen(&owner, 0).unwrap();
    connect(&waits, &address).unwrap();
    let refused = Listener::bind(&path).await.unwrap_err();
    assert!(matches!(refused, BindError::Taken { .. }), "{refused:?}");
    assert!(path.exists());
    drop(owner);
    Listener::bind(&path).await.unwrap();
}
