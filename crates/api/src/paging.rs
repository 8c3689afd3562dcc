//! Lists in pieces: as many as were asked for, and a cursor to what follows.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{limits::MAX_PAGE, problem::Problem};

/// Which piece of a list.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct Paging {
    /// At most so many; all of them, if nobody says it.
    #[schemars(range(min = 1, max = 1_000))]
    limit: Option<u32>,
    /// What `next` of the piece before said.
    cursor: Option<String>,
}

/// How a list is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// By name.
    Ascending,
    /// The newest first: ids grow with time.
    Descending,
}

impl Paging {
    /// The piece of `items` that is asked for, under `name`, and `next`, which is null at the end. Each item comes with its place in
    /// the order, which it keeps: what is added or removed meanwhile moves no other one over the cursor.
    ///
    /// # Errors
    /// When it asks for no or too many items, or for what follows something that no list gave.
    pub(crate) fn answer(
        &self,
        name: &str,
        order: Order,
        mut items: Vec<(String, Value)>,
    ) -> Result<Value, Problem> {
        let limit = match self.limit {
            None => usize::MAX,
            Some(limit @ 1..=MAX_PAGE) => limit as usize,
            Some(_) => {
                let most = format!("`limit` is a number from 1 to {MAX_PAGE}");
                return Err(Problem::invalid(most));
            }
        };
        let compare = |a: &str, b: &str| match order {
            Order::Ascending => a.cmp(b),
            Order::Descending => b.cmp(a),
        };
        items.sort_by(|(a, _), (b, _)| compare(a, b));
        if let Some(cursor) = &self.cursor {
            let after = read(cursor)?;
            items.retain(|(place, _)| compare(place, &after).is_gt());
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next = last.map(|(place, _)| BASE64_URL_SAFE_NO_PAD.encode(place));
        let items: Vec<_> = items.into_iter().map(|(_, item)| item).collect();
        Ok(json!({ name: items, "next": next }))
    }
}

fn read(cursor: &str) -> Result<String, Problem> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok();
    let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    place.ok_or_else(|| Problem::invalid("`cursor` is `next` of an answer, as it was"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<(String, Value)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), json!(name)))
            .collect()
    }

    fn walk(order: Order, limit: u32, mut list: Vec<&str>, drop_and_add: bool) -> Vec<String> {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let paging = Paging {
                limit: Some(limit),
                cursor,
            };
            let piece = paging.answer("all", order, named(&list)).unwrap();
            let items = piece["all"].as_array().unwrap();
            assert!(items.len() <= limit as usize);
            seen.extend(items.iter().map(|item| item.as_str().unwrap().to_owned()));
            let Some(next) = piece["next"].as_str() else {
                return seen;
            };
            cursor = Some(next.to_owned());
            if drop_and_add {
                let last = seen.last().unwrap();
                list.retain(|name| name != last);
                if !list.contains(&"aa") {
                    list.push("aa");
                }
            }
        }
    }

    #[test]
    fn every_item_is_given_once_whatever_comes_and_goes() {
        let list = vec!["c", "a", "e", "b", "d"];
        for limit in 1..7 {
            let up = walk(Order::Ascending, limit, list.clone(), false);
            assert_eq!(up, ["a", "b", "c", "d", "e"]);
            let mut down = walk(Order::Descending, limit, list.clone(), false);
            down.reverse();
            assert_eq!(down, up);
            let mut changing = walk(Order::Ascending, limit, list.clone(), true);
            changing.retain(|name| name != "aa");
            assert_eq!(changing, up);
        }
        assert_eq!(walk(Order::Ascending, 3, vec![], false), [""; 0]);
    }

    #[test]
    fn what_no_list_gave_is_refused() {
        for (limit, cursor) in [
            (Some(0), None),
            (Some(MAX_PAGE + 1), None),
            (None, Some("%")),
            (None, Some("_w")),
        ] {
            let paging = Paging {
                limit,
                cursor: cursor.map(str::to_owned),
            };
            assert!(
                paging
                    .answer("all", Order::Ascending, named(&["a"]))
                    .is_err()
            );
        }
        let all = Paging::default().answer("all", Order::Ascending, named(&["b", "a"]));
        assert_eq!(all.unwrap(), json!({ "all": ["a", "b"], "next": null }));
    }
}
