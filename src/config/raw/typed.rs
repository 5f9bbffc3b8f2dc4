//! The second reading: marks are the seeds that each value is read with, which gives them their types.
//! Where the two readings disagree about what stands in the file, that is a fault.

use super::tree::{Entry, Kind, Mark, Node, Scalar, Shape};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

const DISAGREE: &str = "can be read in two ways; put it in quotes";

impl Mark {
    fn scalar<E: de::Error>(self, scalar: Scalar) -> Result<Node, E> {
        match self.shape {
            Shape::Scalar(text) => Ok(Node {
                place: self.place,
                kind: Kind::Scalar(scalar, text),
            }),
            Shape::List(_) | Shape::Map(_) => Err(E::custom(DISAGREE)),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Mark {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Mark {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.scalar(Scalar::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.scalar(Scalar::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.scalar(Scalar::Number(Some(value)))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Node, E> {
        self.scalar(Scalar::Number(None))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Node, E> {
        self.scalar(Scalar::Number(None))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Node, E> {
        self.scalar(Scalar::Number(None))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Node, E> {
        self.scalar(Scalar::Number(None))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        match &self.shape {
            Shape::Scalar(text) if **text == *value => self.scalar(Scalar::Text),
            Shape::Scalar(_) | Shape::List(_) | Shape::Map(_) => Err(E::custom(DISAGREE)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Node, A::Error> {
        let Shape::List(marks) = self.shape else {
            return Err(de::Error::custom(DISAGREE));
        };
        let mut list = Vec::with_capacity(marks.len());
        for mark in marks {
            list.push(values.next_element_seed(mark)?.ok_or_else(disagree)?);
        }
        match values.next_element::<IgnoredAny>()? {
            Some(_) => Err(disagree()),
            None => Ok(Node {
                place: self.place,
                kind: Kind::List(list),
            }),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Node, A::Error> {
        let Shape::Map(marks) = self.shape else {
            return Err(de::Error::custom(DISAGREE));
        };
        let mut map = Vec::with_capacity(marks.len());
        for (name, mark) in marks {
            let seed = Self {
                place: name.place,
                shape: Shape::Scalar(name.text),
            };
            let name = values.next_key_seed(seed)?.ok_or_else(disagree)?;
            let Kind::Scalar(_, text) = name.kind else {
                return Err(disagree());
            };
            map.push(Entry {
                name: text,
                place: name.place,
                value: values.next_value_seed(mark)?,
            });
        }
        match values.next_key::<IgnoredAny>()? {
            Some(_) => Err(disagree()),
            None => Ok(Node {
                place: self.place,
                kind: Kind::Map(map),
            }),
        }
    }
}

fn disagree<E: de::Error>() -> E {
    E::custom(DISAGREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_that_differ_are_a_fault() {
        let cases = [
            ("[a]", r#"["a"]"#, true),
            ("[a]", r#"["b"]"#, false),
            ("[a]", r#"["a", "b"]"#, false),
            ("[a, b]", r#"["a"]"#, false),
            ("[a]", r#"{"a": 1}"#, false),
            ("{a: 1}", r#"{"a": 1}"#, true),
            ("{a: 1}", r#"{"b": 1}"#, false),
            ("{a: 1}", r#"{"a": 1, "b": 2}"#, false),
            ("{a: 1, b: 2}", r#"{"a": 1}"#, false),
            ("{a: 1}", r#"["a"]"#, false),
            ("{a: 1}", "1", false),
            ("[a]", r#""a""#, false),
        ];
        for (first, second, agree) in cases {
            let mark = Mark::read(first).unwrap();
            let node = mark.deserialize(&mut serde_json::Deserializer::from_str(second));
            assert_eq!(node.is_ok(), agree, "{first} {second}");
        }
    }
}
