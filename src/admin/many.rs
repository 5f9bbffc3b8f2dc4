//! Fields with many things in them: whatever is wrong in them is found at once too, each thing by its own place.

use super::body::{Body, Wrong, name, text};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

impl Body {
    /// A list of at most so many, each read in the same way, none twice; outer and inner `None` as in
    /// [`Body::nullable`].
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(super) fn list<T: PartialEq>(
        &mut self,
        field: &str,
        most: usize,
        read: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Option<Option<Vec<T>>> {
        let items = match self.take(field)? {
            Value::Null => return Some(None),
            Value::Array(items) => items,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
                self.fault(field, ("invalid", "expected a list".into()));
                return None;
            }
        };
        if items.len() > most {
            self.fault(field, ("out_of_range", format!("at most {most} items")));
            return None;
        }
        let mut all = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            let wrong = match read(item) {
                Ok(item) if all.contains(&item) => ("duplicate", "stands there twice".into()),
                Ok(item) => {
                    all.push(item);
                    continue;
                }
                Err(wrong) => wrong,
            };
            self.fault_below(field, &place.to_string(), wrong);
        }
        (all.len() == items.len()).then_some(Some(all))
    }

    /// A list that must not be empty: it would allow nothing, where null allows all.
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(super) fn some<T: PartialEq>(
        &mut self,
        field: &str,
        most: usize,
        read: impl Fn(&Value) -> Result<T, Wrong>,
    ) -> Option<Option<Vec<T>>> {
        let list = self.list(field, most, read)?;
        if list.as_ref().is_some_and(Vec::is_empty) {
            let words = "an empty list allows nothing; null allows all";
            self.fault(field, ("invalid", words.into()));
            return None;
        }
        Some(list)
    }

    /// An object whose names are the caller's own, each entry read in the same way.
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(super) fn entries<T>(
        &mut self,
        field: &str,
        read: impl Fn(&str, &Value) -> Result<T, Wrong>,
    ) -> Option<Option<Vec<(String, T)>>> {
        let entries: Map<String, Value> = match self.take(field)? {
            Value::Null => return Some(None),
            Value::Object(entries) => entries,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.fault(field, ("invalid", "expected an object".into()));
                return None;
            }
        };
        let (mut all, number) = (Vec::with_capacity(entries.len()), entries.len());
        for (name, value) in entries {
            match read(&name, &value) {
                Ok(value) => all.push((name, value)),
                Err(wrong) => self.fault_below(field, &name, wrong),
            }
        }
        (all.len() == number).then_some(Some(all))
    }

    /// Names with text: at most 32, and 4096 bytes in all.
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(super) fn metadata(&mut self, field: &str) -> Option<Option<BTreeMap<String, String>>> {
        let read = |word: &str, value: &Value| {
            name(&Value::from(word)).map_err(|(code, why)| (code, format!("the name {why}")))?;
            text(0, 1024)(value)
        };
        let Some(entries) = self.entries(field, read)? else {
            return Some(None);
        };
        let bytes: usize = entries
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if entries.len() > 32 || bytes > 4096 {
            let words = "at most 32 entries and 4096 bytes";
            self.fault(field, ("out_of_range", words.into()));
            return None;
        }
        Some(Some(entries.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Pointers and codes of what is wrong.
    fn told(body: Body) -> Vec<String> {
        let faults = body.into_faults().into_iter();
        faults
            .map(|fault| format!("{} {}", fault.pointer, fault.code))
            .collect()
    }

    fn body(body: &Value) -> Body {
        Body::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn every_wrong_item_is_told_by_its_place() {
        let mut wrong =
            body(&json!({"tags": ["a", "", "b", "a", 7, "b"], "more": {}, "long": [1, 2, 3]}));
        assert_eq!(wrong.list("tags", 8, text(1, 9)), None);
        assert_eq!(wrong.list("more", 8, text(1, 9)), None);
        assert_eq!(wrong.list("long", 2, text(1, 9)), None);
        assert_eq!(wrong.list("absent", 2, text(1, 9)), None);
        let want = [
            "/tags/1 out_of_range",
            "/tags/3 duplicate",
            "/tags/4 invalid",
            "/tags/5 duplicate",
            "/more invalid",
            "/long out_of_range",
        ];
        assert_eq!(told(wrong), want);
        let mut good = body(&json!({"tags": ["a", "b"], "null": null, "empty": [], "none": []}));
        let list = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(good.list("tags", 2, text(1, 9)), Some(Some(list)));
        assert_eq!(good.some("null", 2, text(1, 9)), Some(None));
        assert_eq!(good.list("empty", 2, text(1, 9)), Some(Some(Vec::new())));
        assert_eq!(good.some("none", 2, text(1, 9)), None);
        assert_eq!(told(good), ["/none invalid"]);
    }

    #[test]
    fn every_wrong_entry_is_told_by_its_name() {
        let mut wrong = body(&json!({"metadata": {"a/b": 1, "c~": [], "good": "x", "": "x"}}));
        assert_eq!(wrong.metadata("metadata"), None);
        let want = [
            "/metadata/ out_of_range",
            "/metadata/a~1b invalid",
            "/metadata/c~0 invalid",
        ];
        assert_eq!(told(wrong), want);
        for whole in [
            json!([]),
            json!("x"),
            json!({"a": "x".repeat(1024), "b": "x".repeat(1024),
            "c": "x".repeat(1024), "d": "x".repeat(1024)}),
        ] {
            let mut wrong = body(&json!({"metadata": whole}));
            assert_eq!(wrong.metadata("metadata"), None);
            assert_eq!(told(wrong).len(), 1);
        }
        let mut good = body(&json!({"metadata": {"a": ""}, "none": null}));
        let one = BTreeMap::from([("a".to_owned(), String::new())]);
        assert_eq!(good.metadata("metadata"), Some(Some(one)));
        assert_eq!(good.metadata("none"), Some(None));
        assert!(told(good).is_empty());
    }
}
