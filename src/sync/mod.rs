//! Where changes come from, and how they get in force: a source is read, compiled, and swapped in whole or not at all.

pub mod file;
mod fixed;
pub mod last_good;
mod node;
mod portions;
pub mod publisher;
pub mod store;
pub mod usage;
