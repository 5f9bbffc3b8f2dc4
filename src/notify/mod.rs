//! What goes out by itself: events to webhooks, notices by e-mail. All of it reads what was committed, and nothing else.

mod deliver;
mod email;
mod outbox;
mod retry;
mod sweep;

pub use deliver::{Deliverer, WebhookSettings};
pub use email::{EmailFault, EmailSettings, Emailer, Recipient, Recipients, Security};
pub use sweep::{SweepSettings, Sweeper};
