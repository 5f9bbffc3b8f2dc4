//! Bodies and query strings of admin calls, field by field: whatever is wrong is found at once, and what is not known is
//! refused.

pub(super) use super::duration::{duration, show_duration};
use super::error::{AdminError, FieldFault};
use super::json::{self, Unread};
use crate::domain::name;
use crate::domain::time::Timestamp;
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Why nobody writes a field that says what happened.
pub(super) const BY_GATEWAY: &str = "is set by the gateway";

/// What is wrong with a value: a code, and words.
pub(super) type Wrong = (&'static str, String);

/// `invalid`, and why.
pub(super) fn invalid<T>(message: impl Into<String>) -> Result<T, Wrong> {
    Err(("invalid", message.into()))
}

/// A name as an answer may repeat it. What is longer than all names of ours may be a secret in the wrong place, and
/// answers end up in logs.
pub(super) fn said(name: &str) -> &str {
    const LONGEST: usize = 24;
    if name.chars().count() > LONGEST {
        "…"
    } else {
        name
    }
}

/// A name as a step of a pointer (RFC 6901).
pub(super) fn step(name: &str) -> String {
    said(name).replace('~', "~0").replace('/', "~1")
}

/// A JSON object that is being read. Every field that is asked for is taken; [`Body::finish`] refuses the rest.
pub(super) struct Body {
    fields: Map<String, Value>,
    /// Where the object stands, for pointers: empty or `/inactivity`.
    at: String,
    faults: Vec<FieldFault>,
}

impl Body {
    /// Of the bytes of a request; none at all is an empty object.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, AdminError> {
        let (body, twice) = Self::parse_all(bytes)?;
        if twice.is_empty() {
            Ok(body)
        } else {
            Err(AdminError::Invalid(twice))
        }
    }

    /// As [`Body::parse`], with the names that stand there twice beside it.
    pub(super) fn parse_all(bytes: &[u8]) -> Result<(Self, Vec<FieldFault>), AdminError> {
        if bytes.is_empty() {
            return Ok((Self::of(Map::new()), Vec::new()));
        }
        match json::parse_all(bytes) {
            Ok((Value::Object(fields), twice)) => Ok((Self::of(fields), twice)),
            Ok(_) => Err(AdminError::BadRequest(
                "the request body must be a JSON object",
            )),
            Err(Unread::Twice(faults)) => Err(AdminError::Invalid(faults)),
            Err(Unread::Syntax) => {
                Err(AdminError::BadRequest("the request body is not valid JSON"))
            }
        }
    }

    pub(super) fn of(fields: Map<String, Value>) -> Self {
        Self {
            fields,
            at: String::new(),
            faults: Vec::new(),
        }
    }

    /// Notes a fault of a field.
    pub(super) fn fault(&mut self, field: &str, (code, message): Wrong) {
        let pointer = format!("{}/{}", self.at, step(field));
        self.faults.push(FieldFault {
            pointer,
            code,
            message,
        });
    }

    /// Notes a fault of something in a field: a place in a list, or a name.
    pub(super) fn fault_below(&mut self, field: &str, inside: &str, (code, message): Wrong) {
        let pointer = format!("{}/{}/{}", self.at, step(field), step(inside));
        self.faults.push(FieldFault {
            pointer,
            code,
            message,
        });
    }

    /// Refuses fields that stay as they were made, or that something else changes; the words say what.
    pub(super) fn fixed(&mut self, fields: &[(&str, &str)]) {
        const OURS: [(&str, &str); 6] = [
            ("id", "it stands in the path and stays"),
            ("created_at", BY_GATEWAY),
            ("created_by", BY_GATEWAY),
            ("updated_at", BY_GATEWAY),
            ("updated_by", BY_GATEWAY),
            ("revision", BY_GATEWAY),
        ];
        for (field, words) in OURS.iter().chain(fields) {
            if self.take(field).is_some() {
                self.fault(field, ("immutable", (*words).into()));
            }
        }
    }

    /// Notes faults of parameters that stand in a field of ours.
    pub(super) fn faults_in(&mut self, field: &str, faults: Vec<FieldFault>) {
        for mut fault in faults {
            let name = fault.pointer.trim_start_matches('?');
            fault.pointer = format!("{}/{field}/{name}", self.at);
            self.faults.push(fault);
        }
    }

    /// Takes these fields for null where they are absent.
    pub(super) fn absent_is_null(&mut self, fields: &[&str]) {
        for field in fields {
            self.fields.entry(*field).or_insert(Value::Null);
        }
    }

    /// Puts what an object of text becomes in the place of the patch that the field holds (RFC 7396): null takes an entry
    /// away, what is absent stays.
    pub(super) fn merge(&mut self, field: &str, before: &BTreeMap<String, String>) {
        let all = before.iter();
        self.merge_into(
            field,
            all.map(|(name, value)| (name.clone(), value.as_str().into()))
                .collect(),
        );
    }

    /// As [`Body::merge`], for an object of anything.
    pub(super) fn merge_into(&mut self, field: &str, mut merged: Map<String, Value>) {
        let Some(Value::Object(patch)) = self.fields.get_mut(field) else {
            return;
        };
        for (name, value) in std::mem::take(patch) {
            if value.is_null() {
                merged.remove(&name);
            } else {
                merged.insert(name, value);
            }
        }
        *patch = merged;
    }

    /// Whether anything is wrong so far.
    pub(super) fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// Whether the field is there, null included.
    pub(super) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// A field as it was sent.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.fields.remove(field)
    }

    /// A field that may be absent: outer `None`. Null: inner `None`.
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(super) fn nullable<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<Option<T>> {
        let value = self.fields.remove(field)?;
        if value.is_null() {
            return Some(None);
        }
        match read(&value) {
            Ok(value) => Some(Some(value)),
            Err(wrong) => {
                self.fault(field, wrong);
                None
            }
        }
    }

    /// A field that may be absent or null.
    pub(super) fn optional<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.nullable(field, read).flatten()
    }

    /// A field that must be there.
    pub(super) fn required<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        let there = self.fields.get(field).is_some_and(|value| !value.is_null());
        if !there {
            self.fields.remove(field);
            self.fault(field, ("required", "this field is required".into()));
            return None;
        }
        self.optional(field, read)
    }

    /// An object inside; outer and inner `None` as in [`Body::nullable`]. Its faults are ours.
    #[expect(clippy::option_option, reason = "absent, null, or a value")]
    pub(super) fn object<T>(
        &mut self,
        field: &str,
        read: impl FnOnce(&mut Body) -> Option<T>,
    ) -> Option<Option<T>> {
        let value = self.fields.remove(field)?;
        let fields = match value {
            Value::Null => return Some(None),
            Value::Object(fields) => fields,
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.fault(field, ("invalid", "expected an object".into()));
                return None;
            }
        };
        let mut inner = Self::of(fields);
        inner.at = format!("{}/{field}", self.at);
        let read = read(&mut inner);
        inner.refuse_others();
        self.faults.append(&mut inner.faults);
        read.map(Some)
    }

    fn refuse_others(&mut self) {
        let others: Vec<String> = std::mem::take(&mut self.fields)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for name in others {
            self.fault(&name, ("unknown_field", "there is no such field".into()));
        }
    }

    /// All faults at once, if there is any.
    pub(super) fn finish(mut self) -> Result<(), AdminError> {
        self.refuse_others();
        if self.faults.is_empty() {
            return Ok(());
        }
        self.faults.sort_by(in_order);
        Err(AdminError::Invalid(self.faults))
    }

    /// The faults alone, for an item of a list.
    pub(super) fn into_faults(mut self) -> Vec<FieldFault> {
        self.refuse_others();
        self.faults
    }
}

/// By pointer; the tenth item of a list comes after the second.
fn in_order(a: &FieldFault, b: &FieldFault) -> Ordering {
    let steps = |fault: &FieldFault| -> Vec<(Option<usize>, String)> {
        let steps = fault.pointer.split('/');
        steps
            .map(|step| (step.parse().ok(), step.to_owned()))
            .collect()
    };
    steps(a).cmp(&steps(b))
}

/// Text of a bounded number of characters, none of them a control character.
pub(super) fn text(least: usize, most: usize) -> impl Fn(&Value) -> Result<String, Wrong> {
    move |value| {
        let Some(text) = value.as_str() else {
            return invalid("expected text");
        };
        let length = text.chars().count();
        if !(least..=most).contains(&length) {
            return Err((
                "out_of_range",
                format!("must have {least} to {most} characters"),
            ));
        }
        if text.chars().any(char::is_control) {
            return invalid("must not have control characters");
        }
        Ok(text.to_owned())
    }
}

/// Text that people go by: of a bounded number of characters, all of which are seen, without a space around it.
pub(super) fn label(most: usize) -> impl Fn(&Value) -> Result<String, Wrong> {
    move |value| {
        let label = text(1, most)(value)?;
        if label.trim() != label {
            return invalid("must not begin or end with a space");
        }
        if name::deceives(&label) {
            return invalid("must not have characters that are not seen or turn the line around");
        }
        Ok(label)
    }
}

/// A name for people.
pub(super) fn name(value: &Value) -> Result<String, Wrong> {
    label(128)(value)
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, Wrong> {
    value
        .as_bool()
        .map_or_else(|| invalid("expected true or false"), Ok)
}

/// A whole number from 0, also one that is written as `3.0`.
pub(super) fn whole(value: &Value) -> Result<u64, Wrong> {
    let written = || {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    };
    value
        .as_u64()
        .or_else(written)
        .map_or_else(|| invalid("expected a whole number"), Ok)
}

/// A time (RFC 3339) or a date.
pub(super) fn time(value: &Value) -> Result<Timestamp, Wrong> {
    let read = value.as_str().and_then(Timestamp::parse);
    read.map_or_else(
        || invalid("expected a time such as 2027-01-01T08:00:00Z, or a date"),
        Ok,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_is_told_at_once() {
        let body = json!({"name": " x", "tags": ["a", "a"], "more": 1, "inactivity": {"after": 3, "x": null}});
        let mut body = Body::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(body.required("name", name), None);
        assert_eq!(body.list("tags", 8, text(1, 9)), None);
        assert_eq!(body.required("scopes", text(1, 9)), None);
        assert!(
            body.object("inactivity", |inner| inner.required("after", duration))
                .is_none()
        );
        let Err(AdminError::Invalid(faults)) = body.finish() else {
            panic!("there are faults");
        };
        let told: Vec<(&str, &str)> = faults
            .iter()
            .map(|fault| (&*fault.pointer, fault.code))
            .collect();
        let want = [
            ("/inactivity/after", "invalid"),
            ("/inactivity/x", "unknown_field"),
            ("/more", "unknown_field"),
            ("/name", "invalid"),
            ("/scopes", "required"),
            ("/tags/1", "duplicate"),
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn faults_are_told_in_the_order_of_their_places() {
        let mut body = Body::of(Map::new());
        for place in ["10", "9", "2"] {
            body.fault_below("ids", place, ("invalid", String::new()));
        }
        body.fault("ids", ("invalid", String::new()));
        let Err(AdminError::Invalid(faults)) = body.finish() else {
            panic!("there are faults");
        };
        let told: Vec<&str> = faults.iter().map(|fault| &*fault.pointer).collect();
        assert_eq!(told, ["/ids", "/ids/2", "/ids/9", "/ids/10"]);
    }

    #[test]
    fn a_name_is_what_is_seen() {
        for letter in "\u{ad}\u{34f}\u{115f}\u{1160}\u{17b4}\u{17b5}\u{180b}\u{180f}\u{2800}\u{3164}\u{fe00}\u{fe0f}\u{ffa0}\u{fff9}\u{fffb}\u{e0000}\u{e0041}\u{e0fff}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{202a}\u{202e}\u{2060}\u{2064}\u{2066}\u{2069}\u{feff}".chars() {
            let fault = name(&format!("a{letter}b").into()).unwrap_err();
            assert_eq!(fault.0, "invalid", "{letter:?}");
        }
        for good in [
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}",
            "\u{915}\u{94d}\u{200d}\u{937}",
            "Köln – Süd",
            "שלום",
        ] {
            assert_eq!(name(&good.into()).as_deref(), Ok(good));
        }
        // What joins or parts letters stands between two of them.
        for joiner in ['\u{200c}', '\u{200d}'] {
            for bad in [
                joiner.to_string(),
                format!("{joiner}a"),
                format!("a{joiner}"),
                format!("a{joiner}{joiner}b"),
                format!("a {joiner}b"),
                format!("a{joiner} b"),
                format!("a-{joiner}b"),
            ] {
                let fault = name(&bad.as_str().into()).unwrap_err();
                assert_eq!(fault.0, "invalid", "{bad:?}");
            }
        }
    }

    #[test]
    fn entries_are_merged_one_by_one() {
        let before = BTreeMap::from([("a", "1"), ("b", "2")].map(|(k, v)| (k.into(), v.into())));
        for (patch, want) in [
            (json!({}), json!({"a": "1", "b": "2"})),
            (json!({"a": null, "c": "3"}), json!({"b": "2", "c": "3"})),
            (json!({"b": "4", "x": null}), json!({"a": "1", "b": "4"})),
            (json!(null), json!(null)),
            (json!(7), json!(7)),
        ] {
            let body = json!({"metadata": patch}).to_string();
            let mut body = Body::parse(body.as_bytes()).unwrap();
            body.merge("metadata", &before);
            assert_eq!(body.fields["metadata"], want);
        }
    }
}
