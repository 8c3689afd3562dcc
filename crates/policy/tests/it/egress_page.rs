//! The page about egress rules is true.

use std::{fs, path::Path};

use casemate_policy::{EgressCode, EgressPolicy, RequestFacts, RequestVerdict};

use crate::egress::{GET, parse};

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/egress-rules.md"))
        .unwrap()
}

/// The example loads, and does what the page says of it.
#[test]
fn the_example_of_the_page_works() {
    let page = page();
    let example = page
        .split("```toml\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let policy = EgressPolicy::compile(&parse(&["orders.update", "fetch"], example));
    let order = RequestFacts {
        host: "orders.example.com",
        path: "/v1/orders/7",
        method: "PATCH",
        tool: "orders.update",
        ..GET
    };
    let docs = RequestFacts {
        host: "a.docs.example.com",
        ..GET
    };
    for (facts, verdict) in [
        (order, RequestVerdict::Allow),
        (
            RequestFacts {
                tool: "fetch",
                ..order
            },
            RequestVerdict::Deny,
        ),
        (
            RequestFacts {
                path: "/v1/orders/7/notes/refund/1",
                ..order
            },
            RequestVerdict::Deny,
        ),
        (docs, RequestVerdict::Allow),
        (
            RequestFacts {
                method: "POST",
                ..docs
            },
            RequestVerdict::Deny,
        ),
        (
            RequestFacts {
                host: "github.com",
                path: "/example/site.git/info/refs",
                ..GET
            },
            RequestVerdict::Allow,
        ),
        (
            RequestFacts {
                host: "github.com",
                path: "/evil/site.git/info/refs",
                ..GET
            },
            RequestVerdict::Deny,
        ),
    ] {
        assert_eq!(policy.judge(&facts).verdict, verdict, "{facts:?}");
    }
}

#[test]
fn every_code_is_on_the_page_in_its_order() {
    let page = page();
    let table = page.split("## Codes").nth(1).unwrap();
    let mut from = 0;
    for code in EgressCode::ALL {
        let word = format!("`{code}`");
        let at = table.get(from..).unwrap().find(&word);
        from += at.unwrap_or_else(|| panic!("{code} is missing, or before the one before it"));
    }
}
