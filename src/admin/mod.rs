//! The management port: health, metrics, status, and what admins may ask. Never on a data port.

mod api;
mod auth;
mod error;
mod listener;
mod routes;
pub mod server;
