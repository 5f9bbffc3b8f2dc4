//! JSON as it was sent. A name that stands twice in one object is refused (RFC 8259, section 4): some readers take the
//! first and some the last, so that what one of them has looked at is not what another one does.

use super::body::step;
use super::error::FieldFault;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// Most names that are told of.
const MOST_TOLD: usize = 64;

/// Why a text is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// It is no JSON.
    Syntax,
    /// Names stand there twice: where.
    Twice(Vec<FieldFault>),
}

/// What a text holds.
pub(super) fn parse(text: &[u8]) -> Result<Value, Unread> {
    let (value, twice) = parse_all(text)?;
    if twice.is_empty() {
        Ok(value)
    } else {
        Err(Unread::Twice(twice))
    }
}

/// What a text holds, and which names stand there twice: for a list whose items are refused one by one. `Unread::Twice`:
/// those are more than are told of.
pub(super) fn parse_all(text: &[u8]) -> Result<(Value, Vec<FieldFault>), Unread> {
    let twice = RefCell::default();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let top = Place {
        above: None,
        step: Step::Item(0),
        twice: &twice,
    };
    let value = top.deserialize(&mut reader);
    let value = value.and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|_| Unread::Syntax)?;
    let twice = twice.into_inner();
    if twice.len() < MOST_TOLD {
        Ok((value, twice))
    } else {
        Err(Unread::Twice(twice))
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Name(&'a str),
    Item(usize),
}

/// Where a value stands. It is written down only where something is wrong.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// `None`: this is the whole.
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
    twice: &'a RefCell<Vec<FieldFault>>,
}

impl Place<'_> {
    fn below<'b>(&'b self, step: Step<'b>) -> Place<'b> {
        Place {
            above: Some(self),
            step,
            twice: self.twice,
        }
    }

    fn pointer(&self) -> String {
        let Some(above) = self.above else {
            return String::new();
        };
        match self.step {
            Step::Name(name) => above.pointer() + "/" + &step(name),
            Step::Item(place) => format!("{}/{place}", above.pointer()),
        }
    }

    fn note(&self) {
        let fault = FieldFault {
            pointer: self.pointer(),
            code: "duplicate",
            message: "this name stands twice in its object".into(),
        };
        let mut twice = self.twice.borrow_mut();
        if twice.len() < MOST_TOLD && !twice.contains(&fault) {
            twice.push(fault);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let number = Number::from_f64(number);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(self.below(Step::Item(all.len())))? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let place = self.below(Step::Name(&name));
            if all.contains_key(&name) {
                place.note();
            }
            let value = fields.next_value_seed(place)?;
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_others_read() {
        for text in [
            r#"{"a": [1, -2, 3.5, 1e3, true, null, "x\u0000\"ä"], "b": {"a": {}}, "c": []}"#,
            " [] ",
            "18446744073709551615",
            "-0.0",
            r#""text""#,
        ] {
            let want: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()), Ok(want), "{text}");
        }
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "{",
            "{}}",
            "{} x",
            "[1,]",
            "1e999",
            "\u{feff}{}",
            "{a: 1}",
            &deep,
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Unread::Syntax), "{text:.9}");
        }
    }

    #[test]
    fn a_name_that_stands_twice_is_found_wherever_it_is() {
        for (text, want) in [
            (r#"{"a": 1, "a": 1}"#, &["/a"][..]),
            (r#"{"a": 1, "\u0061": 2, "a": 3}"#, &["/a"]),
            (
                r#"{"x": [{}, {"b/c": 1, "b/c": 2}], "y": {"~": 1, "~": 1}}"#,
                &["/x/1/b~1c", "/y/~0"],
            ),
            (r#"{"a": {"b": 1}, "b": {"b": 1}, "A": 1}"#, &[]),
        ] {
            let told = match parse(text.as_bytes()) {
                Ok(_) => Vec::new(),
                Err(Unread::Twice(faults)) => faults,
                Err(Unread::Syntax) => panic!("{text}"),
            };
            let told: Vec<&str> = told.iter().map(|fault| &*fault.pointer).collect();
            assert_eq!(told, want, "{text}");
        }
    }

    #[test]
    fn no_more_is_told_than_anybody_reads() {
        let fields: Vec<String> = (0..500).map(|n| format!("\"{n}\":0,\"{n}\":0")).collect();
        let text = format!("{{{}}}", fields.join(","));
        let Err(Unread::Twice(told)) = parse(text.as_bytes()) else {
            panic!("all of them stand there twice");
        };
        assert_eq!(told.len(), MOST_TOLD);
    }
}
