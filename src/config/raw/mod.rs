//! What was typed: a tree of values with their places, read field by field through tables of known names.

mod fields;
mod item;
mod report;
pub(super) mod table;
mod tree;
mod typed;

pub(super) use fields::Fields;
pub(super) use item::Item;
pub(super) use report::{Parts, Report};
#[cfg(test)]
pub(super) use tree::Kind;
pub(super) use tree::{Mark, Node, Slip};
