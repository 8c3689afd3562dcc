//! Questions and answers.

use casemate_decider::{Denial, MAX_SHOWN_BYTES, Question, QuestionBody};
use serde_json::{Value, json};

use crate::script::{QUESTION, asked, connected, denied, passes};

#[tokio::test]
async fn a_question_says_what_is_sent_and_leaves_out_what_is_not_there() {
    let (mut script, decider, _driver) = connected().await;
    let question = Question {
        server_name: Some("a.test"),
        query: "q=1",
        headers: &[
            ("Host", b"a.test"),
            ("X-One", b"1"),
            ("x-one", b"2\xe9"),
            ("accept", b""),
        ],
        ..QUESTION
    };
    let asking = tokio::spawn({
        let decider = decider.clone();
        async move { decider.ask(&question).await }
    });
    let expected = json!({
        "t": "req", "id": 1, "method": "POST", "host": "a.test", "port": 443, "hostHeader": "a.test", "sni": "a.test", "path": "/v1", "query": "q=1",
        "headers": { "x-one": ["1", "2é"], "accept": [""] },
    });
    assert_eq!(script.read().await, expected);
    script
        .verdict(&1.into(), &json!({ "action": "allow" }))
        .await;
    assert_eq!(asking.await.unwrap(), passes());
    let second = asked(&decider);
    let expected = json!({ "t": "req", "id": 2, "method": "POST", "host": "a.test", "port": 443, "path": "/v1" });
    assert_eq!(script.read().await, expected);
    script
        .verdict(
            &2.into(),
            &json!({ "action": "deny", "status": 403, "reason": "no" }),
        )
        .await;
    let denial = Denial::Decider {
        status: 403,
        reason: Some("no".to_owned()),
    };
    assert_eq!(second.await.unwrap(), denied(denial));
}

/// A decider tightens: what it puts in is refused with the request, and the link goes on.
#[tokio::test]
async fn an_answer_that_widens_denies() {
    let (mut script, decider, _driver) = connected().await;
    for allow in [
        json!({ "action": "allow", "setHeaders": { "x-one": ["1"] } }),
        json!({ "action": "allow", "cred": "github", "credential": "value" }),
        json!({ "action": "allow", "cred": "github", "credential": "value", "removeHeaders": ["cookie"] }),
    ] {
        let asking = asked(&decider);
        let id = script.read().await["id"].clone();
        script.verdict(&id, &allow).await;
        assert_eq!(asking.await.unwrap(), denied(Denial::Widens));
    }
    let asking = asked(&decider);
    let id = script.read().await["id"].clone();
    script
        .verdict(
            &id,
            &json!({ "action": "allow", "removeHeaders": ["cookie", "x-one"] }),
        )
        .await;
    let without = casemate_decider::Answer::Pass {
        remove_headers: vec!["cookie".to_owned(), "x-one".to_owned()],
    };
    assert_eq!(asking.await.unwrap(), without);
}

/// What the hello does not list is denied without a question, and so is what it denies.
#[tokio::test]
async fn what_is_not_listed_is_not_asked_about() {
    let (mut script, decider, _driver) = connected().await;
    for host in [
        "c.test",
        "b.test",
        "x.b.test",
        "A.test",
        "a.test.",
        "192.0.2.1",
    ] {
        let answer = decider.ask(&Question { host, ..QUESTION }).await;
        assert_eq!(answer, denied(Denial::NotListed), "{host}");
    }
    let asking = asked(&decider);
    assert_eq!(script.read().await["id"], 1);
    script
        .verdict(&1.into(), &json!({ "action": "allow" }))
        .await;
    assert_eq!(asking.await.unwrap(), passes());
}

#[tokio::test]
async fn a_body_is_shown_as_far_as_it_is_wanted() {
    let (mut script, decider, _driver) = connected().await;
    for (max, expected) in [
        (3, json!({ "data": "MDEy", "cut": true })),
        (10, json!({ "data": "MDEyMzQ1Njc4OQ==" })),
        (1 << 25, json!({ "data": "MDEyMzQ1Njc4OQ==" })),
    ] {
        let asking = asked(&decider);
        let id = script.read().await["id"].clone();
        script
            .verdict(&id, &json!({ "action": "need_body", "max": max }))
            .await;
        let mut body = script.read().await;
        let message = body.as_object_mut().unwrap();
        assert_eq!(
            (message.remove("t"), message.remove("id")),
            (Some("body".into()), Some(id.clone()))
        );
        assert_eq!(body, expected);
        script.verdict(&id, &json!({ "action": "allow" })).await;
        assert_eq!(asking.await.unwrap(), passes());
    }
    let long = vec![b'x'; MAX_SHOWN_BYTES + 1];
    let asking = tokio::spawn({
        let decider = decider.clone();
        async move {
            decider
                .ask(&Question {
                    body: QuestionBody::Whole(&long),
                    ..QUESTION
                })
                .await
        }
    });
    let id = script.read().await["id"].clone();
    script
        .verdict(&id, &json!({ "action": "need_body", "max": 1 << 25 }))
        .await;
    assert_eq!(script.read().await["cut"], true);
    script
        .verdict(&id, &json!({ "action": "deny", "status": 451 }))
        .await;
    assert_eq!(
        asking.await.unwrap(),
        denied(Denial::Decider {
            status: 451,
            reason: None
        })
    );
}

/// A body that cannot be shown is not taken for one that was; the decider's later answer to that request is no fault.
#[tokio::test]
async fn a_body_that_cannot_be_shown_denies() {
    let (mut script, decider, _driver) = connected().await;
    let asking = tokio::spawn({
        let decider = decider.clone();
        async move {
            decider
                .ask(&Question {
                    body: QuestionBody::Stream,
                    ..QUESTION
                })
                .await
        }
    });
    let id = script.read().await["id"].clone();
    script
        .verdict(&id, &json!({ "action": "need_body", "max": 10 }))
        .await;
    assert_eq!(asking.await.unwrap(), denied(Denial::Body));
    script
        .verdict(&id, &json!({ "action": "deny", "status": 403 }))
        .await;
    let asking = asked(&decider);
    let id = script.read().await["id"].clone();
    script.verdict(&id, &json!({ "action": "allow" })).await;
    assert_eq!(asking.await.unwrap(), passes());
}

/// Requests that the protocol cannot carry are denied, not cut to fit.
#[tokio::test]
async fn what_cannot_be_said_is_denied() {
    let (_script, decider, _driver) = connected().await;
    let long = "x".repeat(9_000);
    let values = vec![("x", &b"1"[..]); 191];
    let value = vec![b'x'; 70_000];
    for question in [
        Question {
            path: &long,
            ..QUESTION
        },
        Question {
            path: "",
            ..QUESTION
        },
        Question {
            method: "",
            ..QUESTION
        },
        Question {
            port: 0,
            ..QUESTION
        },
        Question {
            headers: &values,
            ..QUESTION
        },
        Question {
            headers: &[("x", &value)],
            ..QUESTION
        },
        Question {
            headers: &[("x", b"a\nb")],
            ..QUESTION
        },
        Question {
            headers: &[("x", b"\x85")],
            ..QUESTION
        },
        Question {
            headers: &[("x y", b"1")],
            ..QUESTION
        },
        Question {
            headers: &[("host", b"a.test"), ("Host", b"b.test")],
            ..QUESTION
        },
        Question {
            query: &"\"".repeat(600_000),
            ..QUESTION
        },
    ] {
        assert_eq!(decider.ask(&question).await, denied(Denial::Inexpressible));
    }
}

/// Answers go to their requests, in whatever order they come.
#[tokio::test]
async fn answers_are_not_mixed_up() {
    let (mut script, decider, _driver) = connected().await;
    let asking: Vec<_> = (0..50).map(|_| asked(&decider)).collect();
    let mut ids = Vec::new();
    for _ in 0..asking.len() {
        ids.push(script.read().await["id"].as_u64().unwrap());
    }
    assert!(ids.is_sorted() && ids[0] == 1);
    for id in ids.iter().rev() {
        let answer = if id % 2 == 0 {
            json!({ "action": "allow" })
        } else {
            json!({ "action": "deny", "status": 403 })
        };
        script.verdict(&Value::from(*id), &answer).await;
    }
    let mut passed = 0;
    for asking in asking {
        passed += usize::from(asking.await.unwrap() == passes());
    }
    assert_eq!(passed, 25);
}
