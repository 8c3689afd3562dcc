//! Lists, as OpenAI's clients go through them: by the id of what came last.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::problem::Problem;

/// The most items of one page, and how many there are if nobody says it.
const MAX_PAGE: usize = 100;
const DEFAULT_PAGE: usize = 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Asc,
    #[default]
    Desc,
}

/// Which page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Page {
    after: Option<String>,
    limit: Option<usize>,
    order: Order,
}

impl Page {
    /// The page of these, which come with the oldest first.
    ///
    /// # Errors
    /// When it asks for no or too many items, or for what follows something that is not there.
    pub(super) fn of(&self, mut items: Vec<Value>) -> Result<Value, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(Problem::invalid(format!("`limit` is from 1 to {MAX_PAGE}")));
        }
        if self.order == Order::Desc {
            items.reverse();
        }
        if let Some(after) = &self.after {
            let place = items.iter().position(|item| item["id"] == **after);
            let place = place.ok_or_else(|| {
                Problem::invalid("`after` is the id of nothing in this list: begin it again")
            })?;
            items.drain(..=place);
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        let id = |item: Option<&Value>| item.map_or(Value::Null, |item| item["id"].clone());
        Ok(json!({
            "object": "list",
            "first_id": id(items.first()),
            "last_id": id(items.last()),
            "has_more": has_more,
            "data": items,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(count: u32) -> Vec<Value> {
        (0..count)
            .map(|number| json!({ "id": number.to_string() }))
            .collect()
    }

    fn page(query: &str, count: u32) -> Result<Value, Problem> {
        let uri = format!("/?{query}").parse().unwrap();
        let page = axum::extract::Query::<Page>::try_from_uri(&uri).unwrap();
        page.0.of(items(count))
    }

    #[test]
    fn whoever_goes_on_sees_each_item_once() {
        for (order, first) in [("asc", "0"), ("desc", "6")] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let piece = page(&format!("limit=3&order={order}{after}"), 7).unwrap();
                let data = piece["data"].as_array().unwrap();
                seen.extend(
                    data.iter()
                        .map(|item| item["id"].as_str().unwrap().to_owned()),
                );
                assert_eq!(piece["last_id"], **seen.last().unwrap());
                if piece["has_more"] == false {
                    break;
                }
                after = format!("&after={}", seen.last().unwrap());
            }
            assert_eq!((seen.len(), seen[0].as_str()), (7, first));
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 7);
        }
        assert_eq!(page("", 30).unwrap()["data"].as_array().unwrap().len(), 20);
        let none = page("", 0).unwrap();
        assert_eq!(
            (&none["first_id"], &none["has_more"]),
            (&Value::Null, &json!(false))
        );
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for query in ["limit=0", "limit=101", "after=9", "after="] {
            assert!(page(query, 3).is_err(), "{query}");
        }
    }
}
