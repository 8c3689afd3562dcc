use casemate_model::Usage;
use serde_json::json;

use super::*;
use crate::MAX_KEPT_OUTPUT_BYTES;

/// How long a server may run.
const WALL: Duration = Duration::from_secs(600);

fn tool() -> Value {
    json!({ "name": "t", "inputSchema": { "type": "object" } })
}

fn conversation(output_bytes: u64) -> Conversation {
    Conversation {
        server: "s".to_owned(),
        descriptor: Descriptor::of(&tool()).unwrap(),
        arguments: json!({}),
        output_bytes,
    }
}

fn answer(id: u64, result: &Value) -> String {
    let message = json!({ "jsonrpc": "2.0", "id": id, "result": result });
    format!("{message}\n")
}

/// What a server says up to its answer, which has so many bytes of text.
fn said(bytes: usize) -> String {
    let text = json!({ "type": "text", "text": "x".repeat(bytes) });
    [
        answer(1, &json!({ "protocolVersion": "2025-06-18" })),
        answer(2, &json!({ "tools": [tool()] })),
        answer(3, &json!({ "content": [text] })),
    ]
    .concat()
}

/// What comes of a call of a server that writes this, up to its limit, and then waits: its end, why, and the pieces that were given on.
async fn told(output_bytes: u64, says: String) -> (Ended, Option<String>, Vec<Vec<u8>>) {
    let (_stdin, stdin) = mpsc::channel(CHANNEL_CAPACITY);
    let (_control, control) = mpsc::channel(CHANNEL_CAPACITY);
    let (events, mut given) = mpsc::channel(CHANNEL_CAPACITY);
    let io = CallIo {
        stdin,
        control,
        events,
    };
    let server = |mut io: CallIo| async move {
        let most = usize::try_from(output_bytes).unwrap();
        let says = says.as_bytes();
        for piece in says[..says.len().min(most)].chunks(5_000) {
            let event = Event::Output(Stream::Stdout, piece.to_vec());
            io.events.send(event).await.unwrap();
        }
        let hearing = async { while io.stdin.recv().await.is_some() {} };
        let cause = tokio::select! {
            () = hearing => Cause::Completed,
            _ = io.control.recv() => Cause::Cancelled,
            () = sleep(WALL) => Cause::TimedOut,
        };
        Ok(Ended {
            cause,
            exit: Some(Exit::Code(0)),
            usage: Usage {
                wall_ms: 1,
                cpu_us: 1,
                memory_peak_bytes: 1,
            },
            stdout_bytes: 0,
            stderr_bytes: 0,
            results_bytes: 0,
            output_truncated: false,
            denied: Vec::new(),
            violations: Vec::new(),
        })
    };
    let conversation = conversation(output_bytes);
    let hearing = async {
        let mut pieces = Vec::new();
        while let Some(Event::Output(_, bytes)) = given.recv().await {
            pieces.push(bytes);
        }
        pieces
    };
    let (told, pieces) = tokio::join!(Box::pin(conversation.through(io, server)), hearing);
    (told.0.unwrap(), told.1, pieces)
}

/// I15: a server that wrote all that it may without an answer is ended then, and not when its time is over.
#[tokio::test(start_paused = true)]
async fn output_beyond_the_limit_is_the_end() {
    let all = said(1_000);
    let most = all.len() as u64;
    let (ended, why, pieces) = told(most - 1, all.clone()).await;
    let why = why.unwrap();
    assert!(why.contains("max_output_bytes"), "{why}");
    assert_ne!(ended.cause, Cause::TimedOut);
    assert_ne!(ended.exit, Some(Exit::Code(0)));
    assert_eq!(pieces, Vec::<Vec<u8>>::new());
    let (ended, why, pieces) = told(most, all).await;
    assert_eq!((why, ended.exit), (None, Some(Exit::Code(0))));
    assert!(!pieces.is_empty());
}

/// No piece of an answer is larger than what is kept for whoever asks later: then nothing of it would be.
#[tokio::test(start_paused = true)]
async fn a_large_answer_comes_in_pieces() {
    let (_, why, pieces) = told(u64::MAX >> 1, said(MAX_KEPT_OUTPUT_BYTES)).await;
    assert_eq!(why, None);
    let all: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    let text = all["content"][0]["text"].as_str().unwrap();
    assert_eq!(text.len(), MAX_KEPT_OUTPUT_BYTES);
    assert!(
        pieces
            .iter()
            .all(|piece| piece.len() * 2 <= MAX_KEPT_OUTPUT_BYTES)
    );
}
