//! Lists of what is few: read whole, filtered and cut into pages here, the newest first.

use super::body::Wrong;
use super::error::AdminError;
use super::page::{Page, Parameters, cursor};
use crate::domain::id::{Id, Kind};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;

/// All lists of this kind have this order and no other; a time is the front of every id.
const SORT: &str = "-id";

/// An id in the path of a call.
pub(super) type IdPath = Result<Path<String>, PathRejection>;

/// The id in a path; anything that is no id is not there.
pub(super) fn path_id(path: IdPath, kind: Kind) -> Result<Id, AdminError> {
    let Path(id) = path.map_err(|_| AdminError::NotFound)?;
    Id::parse(kind, &id).ok_or(AdminError::NotFound)
}

/// An id in a query string.
pub(super) fn query_id(text: &str, kind: Kind) -> Result<Id, Wrong> {
    Id::parse(kind, text).ok_or_else(|| {
        let message = format!("expected an id that begins with {}", kind.prefix());
        ("invalid", message)
    })
}

/// Which page is asked for.
pub(super) struct Wanted {
    limit: usize,
    after: Option<String>,
    total: bool,
    words: Vec<String>,
}

impl Wanted {
    /// Takes `limit`, `cursor`, `total` and `q`.
    pub(super) fn read(parameters: &mut Parameters) -> Self {
        let q = parameters.text("q").unwrap_or_default();
        Self {
            limit: parameters.limit(),
            after: parameters.cursor(SORT).map(|(_, id)| id),
            total: parameters.flag("total").unwrap_or(false),
            words: words(&q).collect(),
        }
    }

    /// Whether each word of `q` begins a word of these texts.
    pub(super) fn names(&self, texts: &[&str]) -> bool {
        let known: Vec<String> = texts.iter().flat_map(|text| words(text)).collect();
        let is_there = |asked: &String| known.iter().any(|known| known.starts_with(asked));
        self.words.iter().all(is_there)
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

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric());
    words.filter(|word| !word.is_empty()).map(str::to_lowercase)
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
            assert_eq!(wanted(&[("q", q)]).names(&["Ada-Smith"]), found, "{q}");
        }
    }
}
