//! Whatever goes wrong, nothing passes.

use casemate_decider::{Decider, DeciderError, Denial, MAX_FRAME_BYTES};
use proptest::{collection::vec, prelude::*};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::script::{Script, asked, connected, denied, passes};

/// No answer is no permission. It is dropped when it comes after all.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_dropped() {
    let (mut script, decider, driver) = connected().await;
    let asking = asked(&decider);
    let id = script.read().await["id"].clone();
    assert_eq!(asking.await.unwrap(), denied(Denial::TimedOut));
    script
        .verdict(&id, &json!({ "action": "need_body", "max": 1 }))
        .await;
    script.verdict(&id, &json!({ "action": "allow" })).await;
    let asking = asked(&decider);
    let next = script.read().await["id"].clone();
    assert_ne!(next, id);
    script.verdict(&next, &json!({ "action": "allow" })).await;
    assert_eq!(asking.await.unwrap(), passes());
    assert!(!driver.is_finished());
    // Once is late, twice is wrong.
    script.verdict(&id, &json!({ "action": "allow" })).await;
    assert!(matches!(
        driver.await.unwrap(),
        DeciderError::Stray { id: 1 }
    ));
    assert_eq!(asked(&decider).await.unwrap(), denied(Denial::Unavailable));
}

/// A request whose caller is gone is forgotten, and its answer is no fault.
#[tokio::test]
async fn a_caller_that_is_gone_leaves_nothing_behind() {
    let (mut script, decider, driver) = connected().await;
    let asking = asked(&decider);
    let id = script.read().await["id"].clone();
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    script.verdict(&id, &json!({ "action": "allow" })).await;
    let asking = asked(&decider);
    let id = script.read().await["id"].clone();
    script.verdict(&id, &json!({ "action": "allow" })).await;
    assert_eq!(asking.await.unwrap(), passes());
    assert!(!driver.is_finished());
}

/// Each breach ends the link: the request that waits is denied, and every later one.
#[tokio::test]
async fn a_breach_ends_the_link() {
    let allow = r#"{"t":"verdict","id":1,"action":"allow"}"#;
    for breach in [
        "",
        "{}",
        "[]",
        "null",
        "1",
        "{",
        "\u{feff}{}",
        r#"{"t":"hello","proto":1,"allowedDomains":[],"deniedDomains":[]}"#,
        r#"{"t":"verdict","id":2,"action":"allow"}"#,
        r#"{"t":"verdict","id":0,"action":"allow"}"#,
        r#"{"t":"verdict","id":"1","action":"allow"}"#,
        r#"{"t":"verdict","id":1.5,"action":"allow"}"#,
        r#"{"t":"verdict","id":-1,"action":"allow"}"#,
        r#"{"t":"verdict","id":1,"action":"Allow"}"#,
        r#"{"t":"verdict","action":"allow"}"#,
        r#"{"t":"verdict","id":1}"#,
        r#"{"t":"Verdict","id":1,"action":"allow"}"#,
        r#"{"t":"verdict","id":1,"action":"deny","action":"allow","status":403}"#,
        r#"{"t":"verdict","id":1,"action":"allow","id":1}"#,
        r#"{"t":"verdict","id":1,"action":"allow","reason":"x"}"#,
        r#"{"t":"verdict","id":1,"action":"allow","reason":null}"#,
        r#"{"t":"verdict","id":1,"action":"allow","setHeaders":{}}"#,
        r#"{"t":"verdict","id":1,"action":"allow","setHeaders":{"X":["1"]}}"#,
        r#"{"t":"verdict","id":1,"action":"allow","setHeaders":{"x":["a\nb"]}}"#,
        r#"{"t":"verdict","id":1,"action":"allow","setHeaders":{"host":["b.test"]}}"#,
        r#"{"t":"verdict","id":1,"action":"allow","removeHeaders":[]}"#,
        r#"{"t":"verdict","id":1,"action":"allow","removeHeaders":["x","x"]}"#,
        r#"{"t":"verdict","id":1,"action":"allow","removeHeaders":["Transfer-Encoding"]}"#,
        r#"{"t":"verdict","id":1,"action":"allow","removeHeaders":["content_length"]}"#,
        r#"{"t":"verdict","id":1,"action":"allow","cred":"x"}"#,
        r#"{"t":"verdict","id":1,"action":"allow","credential":"x"}"#,
        r#"{"t":"verdict","id":1,"action":"allow","cred":"","credential":"x"}"#,
        r#"{"t":"verdict","id":1,"action":"deny"}"#,
        r#"{"t":"verdict","id":1,"action":"deny","status":200}"#,
        r#"{"t":"verdict","id":1,"action":"deny","status":600}"#,
        r#"{"t":"verdict","id":1,"action":"deny","status":403,"reason":""}"#,
        r#"{"t":"verdict","id":1,"action":"deny","status":403,"reason":"a\u0007"}"#,
        r#"{"t":"verdict","id":1,"action":"deny","status":403,"reason":"\ud800"}"#,
        r#"{"t":"verdict","id":1,"action":"need_body"}"#,
        r#"{"t":"verdict","id":1,"action":"need_body","max":0}"#,
        r#"{"t":"verdict","id":1,"action":"need_body","max":33554433}"#,
    ] {
        let (mut script, decider, driver) = connected().await;
        let asking = asked(&decider);
        script.read().await;
        script.write(breach).await;
        script.write(allow).await;
        assert_eq!(
            asking.await.unwrap(),
            denied(Denial::Unavailable),
            "{breach}"
        );
        driver.await.unwrap();
        assert_eq!(
            asked(&decider).await.unwrap(),
            denied(Denial::Unavailable),
            "{breach}"
        );
    }
}

/// A body is asked for once, and nothing is allowed while it is on its way.
#[tokio::test]
async fn answers_out_of_turn_end_the_link() {
    let need = json!({ "action": "need_body", "max": 10 });
    let (mut script, decider, driver) = connected().await;
    let asking = asked(&decider);
    script.read().await;
    script.verdict(&1.into(), &need).await;
    script.read().await;
    script.verdict(&1.into(), &need).await;
    assert_eq!(asking.await.unwrap(), denied(Denial::Unavailable));
    assert!(matches!(
        driver.await.unwrap(),
        DeciderError::OutOfTurn { id: 1 }
    ));
}

#[tokio::test]
async fn the_end_of_a_decider_is_the_end_of_requests() {
    let (script, decider, driver) = connected().await;
    drop(script);
    assert!(matches!(driver.await.unwrap(), DeciderError::Read(_)));
    assert_eq!(asked(&decider).await.unwrap(), denied(Denial::Unavailable));

    let (mut script, decider, driver) = connected().await;
    let asking = asked(&decider);
    script.read().await;
    driver.abort();
    assert_eq!(asking.await.unwrap(), denied(Denial::Unavailable));

    // A length that is too long, and one that promises more than comes.
    let long = u32::try_from(MAX_FRAME_BYTES + 1).unwrap().to_be_bytes();
    let (mut script, decider, driver) = connected().await;
    script.bytes(&long).await;
    assert!(matches!(driver.await.unwrap(), DeciderError::LongFrame));
    assert_eq!(asked(&decider).await.unwrap(), denied(Denial::Unavailable));
    let (mut script, _decider, driver) = connected().await;
    script.bytes(&[0, 0, 0, 9, b'{']).await;
    drop(script);
    assert!(matches!(driver.await.unwrap(), DeciderError::Read(_)));
}

/// A decider that does not read holds nobody up for ever.
#[tokio::test(start_paused = true)]
async fn a_decider_that_does_not_read_denies() {
    // It says hello on one stream, and never reads the other.
    let (mut says, from) = tokio::io::duplex(1 << 10);
    let hello = br#"{"t":"hello","proto":1,"allowedDomains":["a.test"],"deniedDomains":[]}"#;
    says.write_u32(u32::try_from(hello.len()).unwrap())
        .await
        .unwrap();
    says.write_all(hello).await.unwrap();
    let (full, _never_read) = tokio::io::duplex(64);
    let (decider, driver) = Decider::connect(from, full).await.unwrap();
    let driver = tokio::spawn(driver.run());
    let asking: Vec<_> = (0..40).map(|_| asked(&decider)).collect();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), denied(Denial::TimedOut));
    }
    assert!(!driver.is_finished());
}

#[tokio::test(start_paused = true)]
async fn without_a_hello_there_is_no_decider() {
    let (_script, (reader, writer)) = Script::new();
    assert!(matches!(
        Decider::connect(reader, writer).await,
        Err(DeciderError::NoHello)
    ));
    for hello in [
        "{}",
        r#"{"t":"hello","proto":2,"allowedDomains":[],"deniedDomains":[]}"#,
        r#"{"t":"hello","proto":1,"allowedDomains":[]}"#,
        r#"{"t":"hello","proto":1,"allowedDomains":["https://a.test"],"deniedDomains":[]}"#,
        r#"{"t":"hello","proto":1,"allowedDomains":["a.test","a.test"],"deniedDomains":[]}"#,
        r#"{"t":"hello","proto":1,"allowedDomains":[],"deniedDomains":[],"version":1}"#,
        r#"{"t":"verdict","id":1,"action":"allow"}"#,
    ] {
        let (mut script, (reader, writer)) = Script::new();
        script.write(hello).await;
        assert!(
            matches!(
                Decider::connect(reader, writer).await,
                Err(DeciderError::Frame(_))
            ),
            "{hello}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever bytes a decider sends, nothing passes by them.
    #[test]
    fn noise_lets_nothing_pass(noise in vec(any::<u8>(), 0..60), framed in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut script, decider, _driver) = connected().await;
            let asking = asked(&decider);
            script.read().await;
            if framed {
                script.bytes(&u32::try_from(noise.len()).unwrap().to_be_bytes()).await;
            }
            script.bytes(&noise).await;
            prop_assert_ne!(asking.await.unwrap(), passes());
            Ok(())
        })?;
    }
}
