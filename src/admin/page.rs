//! Query strings and pages. A cursor is the sort key and the id of the last object of a page, so that equal keys lose
//! nothing; it is only good for the same sort.

use super::body::{Wrong, invalid, said};
use super::error::{AdminError, FieldFault};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

pub(super) const DEFAULT_LIMIT: usize = 50;
pub(super) const LARGEST_LIMIT: usize = 200;

/// A page of a list; `next` is the cursor of the page behind it.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total: Option<u64>,
}

/// Parameters that are being read: each is taken once, [`Parameters::finish`] refuses the rest.
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    faults: Vec<FieldFault>,
}

impl Parameters {
    pub(super) fn new(pairs: &[(String, String)]) -> Self {
        let mut parameters = Self {
            pairs: Vec::new(),
            faults: Vec::new(),
        };
        for (name, value) in pairs {
            if parameters.pairs.iter().any(|(before, _)| before == name) {
                parameters.fault(name, ("duplicate", "given twice".into()));
            } else {
                parameters.pairs.push((name.clone(), value.clone()));
            }
        }
        parameters
    }

    pub(super) fn fault(&mut self, name: &str, (code, message): Wrong) {
        self.faults.push(FieldFault {
            pointer: format!("?{}", said(name)),
            code,
            message,
        });
    }

    /// The text of a parameter: as in bodies, without control characters, which no store keeps alike.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let place = self.pairs.iter().position(|(known, _)| known == name)?;
        let text = self.pairs.remove(place).1;
        if text.chars().any(char::is_control) {
            self.fault(name, ("invalid", "must not have control characters".into()));
            return None;
        }
        Some(text)
    }

    /// A parameter that is read in a way of its own.
    pub(super) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let text = self.text(name)?;
        read(&text).map_err(|wrong| self.fault(name, wrong)).ok()
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        self.read(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => invalid("expected true or false"),
        })
    }

    /// `limit`.
    pub(super) fn limit(&mut self) -> usize {
        let read = |text: &str| {
            let limit = text
                .parse()
                .ok()
                .filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
            limit.ok_or_else(|| {
                (
                    "out_of_range",
                    format!("limit must be 1 to {LARGEST_LIMIT}"),
                )
            })
        };
        self.read("limit", read).unwrap_or(DEFAULT_LIMIT)
    }

    /// `cursor` of a list that is sorted like this: value of the sort key, and id.
    pub(super) fn cursor(&mut self, sort: &str) -> Option<(String, String)> {
        self.read("cursor", |text| {
            open(text, sort).map_or_else(
                || invalid("cursor must be the `next` of a page with the same sort"),
                Ok,
            )
        })
    }

    /// All faults at once, if there is any.
    pub(super) fn finish(self) -> Result<(), AdminError> {
        let faults = self.into_faults();
        if faults.is_empty() {
            Ok(())
        } else {
            Err(AdminError::Invalid(faults))
        }
    }

    /// The faults alone, for parameters that stand in a body.
    pub(super) fn into_faults(mut self) -> Vec<FieldFault> {
        let names: Vec<String> = self.pairs.drain(..).map(|(name, _)| name).collect();
        for name in names {
            self.fault(
                &name,
                ("unknown_field", "there is no such parameter".into()),
            );
        }
        self.faults
    }
}

/// The cursor behind an object.
pub(super) fn cursor(sort: &str, value: &str, id: &str) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::json!([sort, value, id]).to_string())
}

fn open(text: &str, sort: &str) -> Option<(String, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let [of, value, id]: [String; 3] = serde_json::from_slice(&bytes).ok()?;
    let ours = of == sort && !value.chars().any(char::is_control);
    ours.then_some((value, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_sort_only() {
        let text = cursor("-name", "Ä \"x\"", "key_1");
        assert_eq!(
            open(&text, "-name"),
            Some(("Ä \"x\"".into(), "key_1".into()))
        );
        for (text, sort) in [
            (&*text, "name"),
            ("", "-name"),
            ("####", "-name"),
            (&text[1..], "-name"),
            (&cursor("name", "a\0b", "key_1"), "name"),
        ] {
            assert_eq!(open(text, sort), None);
        }
    }

    #[test]
    fn no_parameter_has_control_characters() {
        let pairs = [
            ("nul", "a\0b"),
            ("next", "a\u{85}"),
            ("tab", "a\tb"),
            ("good", "Ä b"),
        ];
        let pairs = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let mut parameters = Parameters::new(&pairs);
        let read = pairs
            .each_ref()
            .map(|(name, _)| parameters.text(name).is_some());
        assert_eq!(read, [false, false, false, true]);
        let faults = parameters.into_faults();
        assert!(faults.iter().all(|fault| fault.code == "invalid"));
        assert_eq!(faults.len(), 3);
    }
}
