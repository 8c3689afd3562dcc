use super::*;

fn call(change: impl FnOnce(&mut Ended)) -> Value {
    let mut ended = Ended {
        decision: "dec_1".to_owned(),
        status: Some("succeeded".to_owned()),
        cause: Some("completed".to_owned()),
        exit_code: Some(0),
        ..Ended::default()
    };
    change(&mut ended);
    let result = done(&Done::Ended(Box::new(ended)));
    serde_json::to_value(result).unwrap_or_default()
}

fn valid(result: &Value) {
    let schema = Value::Object(crate::schema::ran().as_ref().clone());
    let data = &result["structuredContent"];
    assert!(jsonschema::is_valid(&schema, data), "{data}");
}

#[test]
fn figures_are_images_and_not_data() {
    let result = call(|ended| {
        ended.results = vec![
            json!({"type": "display", "data": {"image/png": "iVBO\nRw0=\n", "text/plain": "<Figure>"}}),
            json!({"type": "result", "data": {"text/plain": "42"}}),
        ];
    });
    valid(&result);
    assert_eq!(result["content"][0]["text"], "<Figure>\n42");
    let image = &result["content"][1];
    assert_eq!(image["type"], "image");
    assert_eq!(
        (&image["data"], &image["mimeType"]),
        (&json!("iVBORw0="), &json!("image/png"))
    );
    let data = &result["structuredContent"];
    assert!(!data.to_string().contains("iVBO"));
    assert_eq!(data["results"][1]["data"]["text/plain"], "42");
    assert_eq!(data["truncated"], false);
}

#[test]
fn what_an_answer_shows_is_bounded() {
    let long = "é".repeat(MAX_SHOWN_BYTES);
    let result = call(|ended| {
        ended.stdout = json!(long);
        ended.stderr = json!({"base64": BASE64_STANDARD.encode(vec![0xff; MAX_SHOWN_BYTES])});
        let picture = json!({"data": {"image/png": "A".repeat(100)}});
        let wide = json!({"data": {"image/png": "A".repeat(MAX_IMAGE_BYTES + 1)}});
        ended.results = vec![picture; MAX_IMAGES + 5];
        ended.results.push(wide);
        ended.results.push(json!({"data": {"text/html": long}}));
    });
    valid(&result);
    let data = &result["structuredContent"];
    assert_eq!(data["truncated"], true);
    for stream in ["stdout", "stderr"] {
        let shown = data[stream].as_str().unwrap_or_default();
        assert!(
            !shown.is_empty() && shown.len() <= MAX_SHOWN_BYTES,
            "{stream}"
        );
    }
    let content = result["content"].as_array().map_or(0, Vec::len);
    assert_eq!(content, 1 + MAX_IMAGES);
    assert!(data["results"].to_string().len() <= 2 * MAX_SHOWN_BYTES);
}

#[test]
fn how_a_call_ended_is_told() {
    let result = call(|ended| {
        ended.status = Some("failed".to_owned());
        ended.cause = Some("wall_clock".to_owned());
        ended.exit_code = None;
        ended.signal = Some(9);
        ended.stdout = json!("a\n");
        ended.stderr = json!("b");
    });
    valid(&result);
    assert_eq!(result["isError"], true);
    let text = &result["content"][0]["text"];
    assert_eq!(
        text,
        "a\n[stderr]\nb\n[failed: wall_clock, signal 9; decision dec_1]"
    );
    let silent = call(|_| {});
    valid(&silent);
    assert_eq!(silent["content"][0]["text"], "[no output]");
    assert_eq!(silent["isError"], false);
}

/// Output that is not kept is not said never to have been.
#[test]
fn output_that_is_lost_is_told() {
    let result = call(|ended| ended.stdout_bytes = 5);
    valid(&result);
    assert_eq!(result["structuredContent"]["truncated"], true);
    assert_ne!(result["content"][0]["text"], "[no output]");
}

#[test]
fn a_refusal_says_what_can_be_done() {
    let refusal = Refusal {
        code: "missing_scope".to_owned(),
        detail: "no".to_owned(),
        hint: Some("ask".to_owned()),
        decision: Some("dec_2".to_owned()),
    };
    let result = serde_json::to_value(refused(&refusal)).unwrap_or_default();
    valid(&result);
    assert_eq!(result["isError"], true);
    assert_eq!(result["structuredContent"]["status"], "refused");
    let text = "missing_scope: no\nWhat can be done: ask\nDecision: dec_2";
    assert_eq!(result["content"][0]["text"], text);
    for pending in [
        Done::Held {
            decision: "dec_3".to_owned(),
        },
        Done::Runs {
            decision: "dec_3".to_owned(),
        },
    ] {
        let result = serde_json::to_value(done(&pending)).unwrap_or_default();
        valid(&result);
        assert_eq!(result["isError"], false);
        assert!(result["content"][0]["text"].to_string().contains("dec_3"));
    }
}
