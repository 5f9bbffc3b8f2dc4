//! The tree of a YAML file, first reading: [`Mark`]s hold places and shapes. The second reading makes them [`Node`]s.
//! Everything that could blow up later (depth, aliases) is refused here.

use saphyr_parser::{Event, Marker, Parser, ScanError, Tag};
use std::borrow::Cow;

/// Line and column, both from 1.
pub(crate) type Place = (usize, usize);

/// Deeper nesting is refused: ours needs eight levels, and recursion must end somewhere.
const MAX_DEPTH: usize = 64;

/// Why a file is no tree at all.
#[derive(Debug)]
pub(crate) struct Slip {
    pub(crate) place: Place,
    pub(crate) what: String,
}

/// A value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// A value.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Type, and the text as it stands in the file.
    Scalar(Scalar, Box<str>),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// The type of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    /// Holds it if it is a whole number from 0 on.
    Number(Option<u64>),
    Text,
}

/// A name with its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Box<str>,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// A value of which only place and shape are known.
pub(crate) struct Mark {
    pub(super) place: Place,
    pub(super) shape: Shape,
}

pub(super) enum Shape {
    Scalar(Box<str>),
    List(Vec<Mark>),
    Map(Vec<(Name, Mark)>),
}

pub(super) struct Name {
    pub(super) place: Place,
    pub(super) text: Box<str>,
}

/// A list or mapping that is not at its end.
enum Open {
    List(Place, Vec<Mark>),
    Map(Place, Vec<(Name, Mark)>, Option<Name>),
}

impl Mark {
    /// The first reading.
    pub(crate) fn read(text: &str) -> Result<Self, Slip> {
        let mut builder = Builder::default();
        for step in Parser::new_from_str(text) {
            let (event, span) = step.map_err(|fault| syntax(&fault))?;
            builder.take(event, place(span.start))?;
        }
        Ok(builder.root.unwrap_or(Self {
            place: (1, 1),
            shape: Shape::Scalar("".into()),
        }))
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Mark>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Slip> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => slip(
                place,
                "a config file is one document, here a second one begins",
            ),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(_) => slip(place, "aliases are not supported; write the value out"),
            Event::Scalar(text, _, _, tag) => {
                untagged(tag.as_ref(), place)?;
                let shape = Shape::Scalar(text.as_ref().into());
                self.add(Mark { place, shape })
            }
            Event::SequenceStart(_, tag) => {
                self.begin(Open::List(place, Vec::new()), tag.as_ref(), place)
            }
            Event::MappingStart(_, tag) => {
                self.begin(Open::Map(place, Vec::new(), None), tag.as_ref(), place)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, list)) => self.add(Mark {
                    place,
                    shape: Shape::List(list),
                }),
                Some(Open::Map(place, map, _)) => self.add(Mark {
                    place,
                    shape: Shape::Map(map),
                }),
                None => Ok(()),
            },
        }
    }

    fn begin(&mut self, open: Open, tag: Option<&Cow<'_, Tag>>, place: Place) -> Result<(), Slip> {
        untagged(tag, place)?;
        if self.open.len() >= MAX_DEPTH {
            return slip(place, "nested more than 64 levels deep");
        }
        self.open.push(open);
        Ok(())
    }

    fn add(&mut self, mark: Mark) -> Result<(), Slip> {
        match self.open.last_mut() {
            None => self.root = Some(mark),
            Some(Open::List(_, list)) => list.push(mark),
            Some(Open::Map(_, map, name)) => match name.take() {
                Some(name) => map.push((name, mark)),
                None => *name = Some(mark.into_name()?),
            },
        }
        Ok(())
    }
}

impl Mark {
    fn into_name(self) -> Result<Name, Slip> {
        match self.shape {
            Shape::Scalar(text) => Ok(Name {
                place: self.place,
                text,
            }),
            Shape::List(_) | Shape::Map(_) => slip(self.place, "a field's name must be plain text"),
        }
    }
}

fn untagged(tag: Option<&Cow<'_, Tag>>, place: Place) -> Result<(), Slip> {
    match tag {
        None => Ok(()),
        Some(_) => slip(place, "tags (`!…`) are not supported"),
    }
}

fn slip<T>(place: Place, what: &str) -> Result<T, Slip> {
    Err(Slip {
        place,
        what: what.into(),
    })
}

fn syntax(fault: &ScanError) -> Slip {
    Slip {
        place: place(*fault.marker()),
        what: format!("not YAML: {}", fault.info()),
    }
}

fn place(marker: Marker) -> Place {
    (marker.line(), marker.col() + 1)
}
