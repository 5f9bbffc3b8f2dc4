//! Notices by e-mail.

use super::seen::Seen;
use crate::config::raw::Fields;
use crate::config::{EmailConfig, SmtpLogin, value};

/// `None` unless there is a server, and somebody to write as.
pub(super) fn email(fields: &Fields<'_>) -> Option<EmailConfig> {
    let login = login(fields);
    let to = recipients(fields);
    let names = ["smtp", "username", "password", "from"];
    if to.is_empty() && names.iter().all(|name| fields.get(name).is_none()) {
        return None;
    }
    let smtp = fields
        .required("smtp")
        .and_then(|item| item.read(value::smtp));
    let from = fields
        .required("from")
        .and_then(|item| item.read(value::mailbox));
    Some(EmailConfig {
        smtp: smtp?,
        login,
        from: from?,
        to,
    })
}

fn login(fields: &Fields<'_>) -> Option<SmtpLogin> {
    let (user, password) = (fields.get("username"), fields.get("password"));
    match (&user, &password) {
        (Some(item), None) => item.fault("needs `password` beside it"),
        (None, Some(item)) => item.fault("needs `username` beside it"),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let username = user.and_then(|item| item.read(value::name));
    let password = password.and_then(|item| item.read_secret());
    Some(SmtpLogin {
        username: username?,
        password: password?,
    })
}

fn recipients(fields: &Fields<'_>) -> Vec<String> {
    let mut seen = Seen::default();
    let read = fields.list("to", |item| {
        seen.claim(item.read(value::address)?, item, "the same as")
    });
    read.unwrap_or_default()
}
