//! A value on its way to being valid: where it stands, what it is called, and where its faults go.

use super::fields::Fields;
use super::report::Report;
use super::table::Table;
use super::tree::{Entry, Kind, Node, Place, Scalar};
use crate::config::value::{echo, secret};
use crate::domain::secret::Secret;
use std::collections::{HashMap, hash_map};
use std::ops::RangeInclusive;

/// A value with its dotted path. Every method that returns `None` has reported why.
#[derive(Clone)]
pub(crate) struct Item<'a> {
    node: &'a Node,
    path: String,
    report: &'a Report,
}

impl<'a> Item<'a> {
    pub(crate) fn root(node: &'a Node, report: &'a Report) -> Self {
        Self {
            node,
            path: String::new(),
            report,
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn report(&self) -> &'a Report {
        self.report
    }

    pub(crate) fn fault(&self, what: impl Into<String>) {
        self.fault_at(self.node.place, self.path.clone(), what);
    }

    pub(crate) fn warn(&self, what: impl Into<String>) {
        self.report
            .warn(self.node.place, self.path.clone(), what.into());
    }

    /// A fault of a part that has no item of its own: a name, or a field that is missing.
    pub(crate) fn fault_at(&self, place: Place, path: String, what: impl Into<String>) {
        self.report.fault(place, path, what.into());
    }

    pub(crate) fn place(&self) -> Place {
        self.node.place
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.node.kind, Kind::Scalar(Scalar::Null, _))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node.kind, Kind::List(_))
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// The text of any scalar but null, as it stands in the file; says nothing when it is something else.
    pub(crate) fn scalar(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Null, _) | Kind::List(_) | Kind::Map(_) => None,
            Kind::Scalar(_, text) => Some(text),
        }
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar(Scalar::Text, text) => return Some(text),
            Kind::Scalar(Scalar::Bool(_) | Scalar::Number(_), _) => {
                self.fault("expected text; put it in quotes");
            }
            Kind::Scalar(Scalar::Null, _) | Kind::List(_) | Kind::Map(_) => {
                self.fault("expected text");
            }
        }
        None
    }

    /// Text that passes a check; the check's complaint is the fault.
    pub(crate) fn read<T>(&self, check: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        self.checked(check(self.text()?))
    }

    /// As [`Item::read`], for checks that have something better to say about a number than "quote it".
    pub(crate) fn read_scalar<T>(
        &self,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.scalar() {
            Some(text) => self.checked(check(text)),
            None => self.checked(check("")),
        }
    }

    /// The value that a check found; its complaint is the fault.
    pub(crate) fn checked<T>(&self, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|what| self.fault(what)).ok()
    }

    pub(crate) fn flag(&self) -> Option<bool> {
        if let Kind::Scalar(Scalar::Bool(value), _) = self.node.kind {
            return Some(value);
        }
        self.fault("expected `true` or `false`");
        None
    }

    pub(crate) fn number(&self, range: &RangeInclusive<u64>) -> Option<u64> {
        if let Kind::Scalar(Scalar::Number(Some(value)), _) = self.node.kind
            && range.contains(&value)
        {
            return Some(value);
        }
        let (least, most) = (range.start(), range.end());
        self.fault(format!("expected a whole number from {least} to {most}"));
        None
    }

    /// The secret that this value refers to.
    pub(crate) fn read_secret(&self) -> Option<Secret<String>> {
        self.read_scalar(|text| {
            let (secret, file) = secret(text, self.report.folder());
            if let Some(file) = file {
                self.report.read(file);
            }
            secret
        })
    }

    /// The items of a list; none when it is something else.
    pub(crate) fn items(&self) -> Vec<Self> {
        let Kind::List(list) = &self.node.kind else {
            self.fault("expected a list");
            return Vec::new();
        };
        let item = |(index, node)| Self {
            node,
            path: format!("{}[{index}]", self.path),
            report: self.report,
        };
        list.iter().enumerate().map(item).collect()
    }

    /// The text of each item's `name`, if there is one; reports nothing.
    pub(crate) fn item_names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let items: &[Node] = match &self.node.kind {
            Kind::List(list) => list,
            Kind::Scalar(..) | Kind::Map(_) => &[],
        };
        items.iter().filter_map(|item| {
            let Kind::Map(map) = &item.kind else {
                return None;
            };
            let entry = map.iter().find(|entry| &*entry.name == "name")?;
            match &entry.value.kind {
                Kind::Scalar(Scalar::Text, text) => Some(&**text),
                Kind::Scalar(..) | Kind::List(_) | Kind::Map(_) => None,
            }
        })
    }

    /// The entries of a mapping, none if it is something else; reports nothing.
    pub(crate) fn quiet_entries(&self) -> &'a [Entry] {
        match &self.node.kind {
            Kind::Map(map) => map,
            Kind::Scalar(..) | Kind::List(_) => &[],
        }
    }

    /// The entries of a mapping whose names are free; `None` when it is something else. Reports names that repeat.
    pub(crate) fn entries(&self) -> Option<&'a [Entry]> {
        if self.path.is_empty() && self.is_null() {
            // A file of comments only: better to say what is missing in it.
            return Some(&[]);
        }
        let Kind::Map(map) = &self.node.kind else {
            self.fault("expected a mapping");
            return None;
        };
        for (entry, line) in repeated(map) {
            let what = format!("stands twice, first in line {line}");
            self.fault_at(entry.place, self.path_of(&entry.name), what);
        }
        Some(map)
    }

    /// The value of an entry of this mapping.
    pub(crate) fn value_of(&self, entry: &'a Entry) -> Self {
        Self {
            node: &entry.value,
            path: self.path_of(&entry.name),
            report: self.report,
        }
    }

    /// The fields of a mapping whose names are known; unknown ones are reported.
    pub(crate) fn fields(&self, table: &'static Table) -> Fields<'a> {
        Fields::new(self, table)
    }

    /// The path of a part of this mapping.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            return echo(name).into_owned();
        }
        format!("{}.{}", self.path, echo(name))
    }
}

/// Entries whose name stood before, with the line where it did.
fn repeated(map: &[Entry]) -> Vec<(&Entry, usize)> {
    let mut lines = HashMap::new();
    map.iter()
        .filter_map(|entry| match lines.entry(&*entry.name) {
            hash_map::Entry::Occupied(first) => Some((entry, *first.get())),
            hash_map::Entry::Vacant(free) => {
                free.insert(entry.place.0);
                None
            }
        })
        .collect()
}
