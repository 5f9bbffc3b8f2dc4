//! Lists of what is few: read whole, filtered and cut into pages here, the newest first; and the tree of workspaces, whole.

use super::place::has_words;
use crate::admin::error::AdminError;
use crate::admin::page::{Page, Parameters, cursor};
use crate::domain::id::Id;
use crate::domain::workspace::Lineage;
use crate::store::Store;
use std::collections::HashMap;

/// All lists of this kind have this order and no other; a time is the front of every id.
const SORT: &str = "-id";

/// The tree. A workspace never moves, so what was read before a change holds within it.
pub(super) struct Places(HashMap<Id, Lineage>);

impl Places {
    pub(super) async fn load(store: &Store) -> Result<Self, AdminError> {
        let all = store.workspaces().await?.into_iter();
        Ok(Self(all.map(|one| (one.id, one.lineage)).collect()))
    }

    /// Where a workspace stands; what is not known is out of everybody's reach.
    pub(super) fn find(&self, workspace: Id) -> Result<&Lineage, AdminError> {
        self.0.get(&workspace).ok_or(AdminError::NotFound)
    }
}

/// Which page is asked for.
pub(super) struct Wanted {
    limit: usize,
    after: Option<String>,
    total: bool,
    q: String,
}

impl Wanted {
    /// Takes `limit`, `cursor`, `total` and `q`.
    pub(super) fn read(parameters: &mut Parameters) -> Self {
        Self {
            limit: parameters.limit(),
            after: parameters.cursor(SORT).map(|(_, id)| id),
            total: parameters.flag("total").unwrap_or(false),
            q: parameters.text("q").unwrap_or_default(),
        }
    }

    /// Whether each word of `q` begins a word of these texts.
    pub(super) fn names(&self, texts: &[&str]) -> bool {
        has_words(&texts.join(" "), &self.q)
    }

    /// The page, of everything that was found and its id.
    pub(super) fn page<T>(&self, mut rows: Vec<(String, T)>) -> Page<T> {
        rows.sort_by(|a, b| b.0.cmp(&a.0));
        let total = self.total.then_some(rows.len() as u64);
        if let Some(after) = &self.after {
            rows.retain(|(id, _)| id < after);
        }
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let last = rows.last().filter(|_| more);
        Page {
            next: last.map(|(id, _)| cursor(SORT, "", id)),
            data: rows.into_iter().map(|(_, row)| row).collect(),
            total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(pairs: &[(&str, &str)]) -> Wanted {
        let pairs: Vec<(String, String)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut parameters = Parameters::new(&pairs);
        let wanted = Wanted::read(&mut parameters);
        parameters.finish().unwrap();
        wanted
    }

    #[test]
    fn pages_lose_nothing_and_show_nothing_twice() {
        let rows = || (0..7).map(|number| (format!("{number}"), number)).collect();
        let first = wanted(&[("limit", "3"), ("total", "true")]).page::<u8>(rows());
        assert_eq!((first.data, first.total), (vec![6, 5, 4], Some(7)));
        let next = first.next.unwrap();
        let second = wanted(&[("limit", "3"), ("cursor", &next)]).page(rows());
        assert_eq!((second.data, second.total), (vec![3, 2, 1], None));
        let next = second.next.unwrap();
        let last = wanted(&[("limit", "3"), ("cursor", &next)]).page(rows());
        assert_eq!((last.data, last.next), (vec![0], None));
    }

    #[test]
    fn words_are_found_by_their_beginnings() {
        for (q, found) in [
            ("", true),
            ("sm ADA", true),
            ("da", false),
            ("ada x", false),
        ] {
            assert_eq!(
                wanted(&[("q", q)]).names(&["Ada", "A. Smith"]),
                found,
                "{q}"
            );
        }
    }
}
