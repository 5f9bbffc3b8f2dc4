//! The management port: health, metrics, status, and what admins may ask. Never on a data port.

mod api;
mod auth;
mod body;
mod call;
mod change;
mod document;
mod duration;
mod error;
mod identity;
mod json;
mod limits;
mod listener;
mod many;
mod page;
mod password;
mod policy;
mod refusal;
mod routes;
mod schema;
pub mod server;
pub mod sightings;
mod standing;
pub mod throttle;
