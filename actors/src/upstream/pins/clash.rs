//! Names of one server that a reader, or a model, takes for each other.

use std::collections::{HashMap, HashSet};

use unicode_security::confusable_detection::skeleton;

use crate::upstream::view::Item;

/// Finds the items whose name looks like another one's: differs from it only in upper and lower case, or in characters
/// that are drawn alike ([UTS 39](https://www.unicode.org/reports/tr39/#Confusable_Detection)). Returns their places and the
/// name that each clashes with.
///
/// Who has a name keeps it: first what was approved, then what was offered before, then what comes first in the list.
pub(super) fn clashes(
    items: &[Item],
    approved: impl Fn(&str) -> bool,
    before: &[Item],
) -> Vec<(usize, String)> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    let losers = seat(items, &order);
    if losers.is_empty() {
        return losers;
    }
    let before: HashSet<&str> = before.iter().map(|item| item.key.as_str()).collect();
    order.sort_by_key(|place| match items.get(*place) {
        Some(item) if approved(&item.key) => 0,
        Some(item) if before.contains(item.key.as_str()) => 1,
        _ => 2,
    });
    let mut losers = seat(items, &order);
    losers.sort_unstable();
    losers
}

/// Returns true if two names look alike.
pub fn look_alike(one: &str, other: &str) -> bool {
    looks(one)
        .iter()
        .zip(&looks(other))
        .any(|(one, other)| one == other)
}

/// Gives each look to the first who has it.
fn seat(items: &[Item], order: &[usize]) -> Vec<(usize, String)> {
    let mut folded: HashMap<String, &str> = HashMap::with_capacity(items.len());
    let mut drawn: HashMap<String, &str> = HashMap::with_capacity(items.len());
    let mut losers = Vec::new();
    for place in order {
        let Some(item) = items.get(*place) else {
            continue;
        };
        let [fold, draw] = looks(&item.key);
        match folded.get(&fold).or_else(|| drawn.get(&draw)) {
            Some(holder) => losers.push((*place, (*holder).to_owned())),
            None => {
                folded.insert(fold, &item.key);
                drawn.insert(draw, &item.key);
            }
        }
    }
    losers
}

/// How a name looks in lower case, and as it is. One form is not enough: `I` is drawn like `l` and is the capital of `i`.
fn looks(name: &str) -> [String; 2] {
    [
        skeleton(&name.to_lowercase()).collect(),
        skeleton(name).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(names: &[&str]) -> Vec<Item> {
        let item = |name: &&str| Item {
            key: (*name).to_owned(),
            raw: "{}".into(),
        };
        names.iter().map(item).collect()
    }

    fn losers(names: &[&str], approved: &[&str], before: &[&str]) -> Vec<(usize, String)> {
        clashes(
            &items(names),
            |name| approved.contains(&name),
            &items(before),
        )
    }

    #[test]
    fn what_looks_alike_is_found() {
        for (one, other) in [
            ("read", "Read"),
            ("admin", "adm\u{456}n"),
            ("list_1", "list_l"),
            ("run0", "runO"),
            ("Id", "id"),
            ("IO", "lO"),
            ("modern", "rnodern"),
            ("caf\u{e9}", "cafe\u{301}"),
        ] {
            assert!(look_alike(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("read", "write"),
            ("tool_1", "tool_2"),
            ("a_b", "a-b"),
            ("a", "aa"),
        ] {
            assert!(!look_alike(one, other), "{one} {other}");
        }
    }

    #[test]
    fn who_was_there_stays() {
        assert!(losers(&["a", "b", "tool_1", "tool_10"], &[], &[]).is_empty());
        assert_eq!(
            losers(&["read", "Read"], &[], &[]),
            [(1, "read".to_owned())]
        );
        assert_eq!(
            losers(&["Read", "read"], &[], &["read"]),
            [(0, "read".to_owned())]
        );
        assert_eq!(
            losers(&["Read", "read", "x"], &["read"], &["Read"]),
            [(0, "read".to_owned())]
        );
        assert_eq!(losers(&["read", "READ", "Read"], &[], &["READ"]).len(), 2);
    }
}
