//! What our words mean: plain values without I/O. Everything above may use them; they use nothing of ours.

pub mod actor;
pub mod balance;
pub mod consumer;
pub mod fields;
pub mod host;
pub mod id;
pub mod inactivity;
pub mod key;
pub mod limit;
pub mod method;
pub mod name;
pub mod network;
pub mod path;
pub mod resilience;
pub mod role;
pub mod route;
pub mod scope;
pub mod secret;
pub mod time;
pub mod upstream;
pub mod workspace;
