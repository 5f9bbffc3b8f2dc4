//! The fields of one mapping, taken by name. A field that is absent or null has its default; a bad one is reported
//! and then counts as absent, so that reading goes on.

use super::item::Item;
use super::table::Table;
use super::tree::Entry;
use crate::config::value;
use std::ops::RangeInclusive;
use std::time::Duration;

/// A mapping with a table of known fields.
pub(crate) struct Fields<'a> {
    item: Item<'a>,
    entries: &'a [Entry],
    table: &'static Table,
    /// It is not there or no mapping at all: nothing in it is missed.
    hollow: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(item: &Item<'a>, table: &'static Table) -> Self {
        let entries = item.entries();
        let fields = Self {
            item: item.clone(),
            entries: entries.unwrap_or_default(),
            table,
            hollow: entries.is_none(),
        };
        fields.refuse_others();
        fields
    }

    fn refuse_others(&self) {
        for entry in self.entries {
            let name = &*entry.name;
            if self.table.known.contains(&name) {
                continue;
            }
            let what = if self.table.later.contains(&name) {
                "not supported yet".into()
            } else {
                value::unknown("field", name, self.table.known)
            };
            let path = self.item.path_of(name);
            self.item.fault_at(entry.place, path, what);
        }
    }

    /// The mapping itself.
    pub(crate) fn item(&self) -> &Item<'a> {
        &self.item
    }

    /// Whether no field can be missed, because the mapping itself is absent or wrong.
    pub(crate) fn is_hollow(&self) -> bool {
        self.hollow
    }

    /// A field that has a value.
    pub(crate) fn get(&self, name: &str) -> Option<Item<'a>> {
        debug_assert!(self.table.known.contains(&name), "{name} is in the table");
        let entry = self.entries.iter().find(|entry| &*entry.name == name)?;
        let item = self.item.value_of(entry);
        (!item.is_null()).then_some(item)
    }

    /// A field that must have a value.
    pub(crate) fn required(&self, name: &str) -> Option<Item<'a>> {
        let found = self.get(name);
        if found.is_none() && !self.hollow {
            let path = self.item.path_of(name);
            self.item.fault_at(self.item.place(), path, "required");
        }
        found
    }

    /// A mapping inside this one; one without fields when it is absent.
    pub(crate) fn section(&self, name: &str, table: &'static Table) -> Self {
        match self.get(name) {
            Some(item) => item.fields(table),
            None => Self {
                item: self.item.clone(),
                entries: &[],
                table,
                hollow: true,
            },
        }
    }

    pub(crate) fn read<T>(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.get(name)?.read(check)
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> bool {
        self.get(name)
            .and_then(|item| item.flag())
            .unwrap_or(default)
    }

    pub(crate) fn number(&self, name: &str, range: RangeInclusive<u64>, default: usize) -> usize {
        self.get(name)
            .and_then(|item| item.number(&range))
            .and_then(|number| usize::try_from(number).ok())
            .unwrap_or(default)
    }

    /// A duration longer than nothing.
    pub(crate) fn duration(&self, name: &str, default: Duration) -> Duration {
        self.get(name)
            .and_then(|item| item.read_scalar(value::timeout))
            .unwrap_or(default)
    }

    /// A duration within a range; `None` when there is none.
    pub(crate) fn duration_within(
        &self,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.get(name)?.read_scalar(value::duration_within(range))
    }

    /// A size within a range of bytes.
    pub(crate) fn size(&self, name: &str, range: RangeInclusive<u64>, default: usize) -> usize {
        let check = |text: &str| {
            let size = value::size(text)?;
            if range.contains(&size) {
                return Ok(size);
            }
            let (least, most) = (range.start(), range.end());
            Err(format!("must be from {least}B to {most}B"))
        };
        self.get(name)
            .and_then(|item| item.read_scalar(check))
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default)
    }

    /// A list, without the items that are bad.
    pub(crate) fn list<T>(
        &self,
        name: &str,
        read: impl FnMut(&Item<'a>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.get(name)?.items();
        Some(items.iter().filter_map(read).collect())
    }
}
