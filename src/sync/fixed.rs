//! What of a configuration counts from the start on only: a reload cannot change it, and says so.

use crate::config::{Config, Listener, StoreLocation};
use crate::domain::secret::Secret;
use std::fmt::Debug;
use zeroize::Zeroizing;

/// Settings as they were at the start. Of their values only a hash is kept: there are secrets among them.
pub(super) struct Fixed {
    listeners: Vec<Listener>,
    marks: Vec<(&'static str, blake3::Hash)>,
}

impl Fixed {
    /// Those of a configuration.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            listeners: config.listeners.clone(),
            marks: marks(config),
        }
    }

    /// The settings that are others in a new configuration, and need a restart.
    pub(super) fn differing(&self, new: &Config) -> Vec<&'static str> {
        let both = self.marks.iter().zip(marks(new));
        both.filter(|((_, old), (_, new))| old != new)
            .map(|((name, _), _)| *name)
            .collect()
    }

    /// The listeners that are open, each as a new configuration has it where it still does. Cleartext stays cleartext, and
    /// TLS stays TLS: that is a matter of the socket.
    pub(super) fn listeners<'a>(
        &'a self,
        new: &'a [Listener],
    ) -> impl Iterator<Item = &'a Listener> {
        let current = |open: &Listener| {
            new.iter().find(|listener| {
                // Port 0 is another one for each.
                let same_port = open.address.port() != 0 || listener.name == open.name;
                listener.address == open.address
                    && same_port
                    && listener.tls.is_some() == open.tls.is_some()
            })
        };
        self.listeners
            .iter()
            .map(move |open| current(open).unwrap_or(open))
    }

    /// The certificates of the listeners that are open: listener, where it was read from, its end in milliseconds.
    pub(super) fn certificates<'a>(
        &'a self,
        new: &'a [Listener],
    ) -> impl Iterator<Item = (&'a str, &'a str, i64)> {
        self.listeners(new).flat_map(|listener| {
            let all = listener.tls.iter().flat_map(|tls| &tls.certificates);
            all.map(|one| (&*listener.name, &*one.source, one.not_after.as_millis()))
        })
    }
}

/// Each setting with a hash of its value.
fn marks(config: &Config) -> Vec<(&'static str, blake3::Hash)> {
    let sockets = config.listeners.iter();
    let sockets: Vec<_> = sockets
        .map(|one| (&one.name, one.address, one.tls.is_some()))
        .collect();
    let (management, log) = (&config.management, &config.log);
    let token = management.token.as_ref().map(Secret::expose);
    let store = config.store.as_ref().map(|store| match store {
        StoreLocation::Sqlite(file) => (Some(file), None),
        StoreLocation::Postgres(url) => (None, Some(url.expose())),
    });
    let vault = config.vault.as_ref().map(|vault| {
        let previous = vault.previous_key.as_ref().map(Secret::expose);
        (vault.master_key.expose(), previous)
    });
    let mail = config.email.as_ref().map(|mail| {
        let login = mail.login.as_ref();
        let login = login.map(|login| (&login.username, login.password.expose()));
        (&mail.smtp, login, &mail.from, &mail.to)
    });
    vec![
        mark("threads", &config.threads),
        mark("listeners", &sockets),
        mark(
            "management",
            &(
                management.address,
                token,
                management.sessions,
                &management.allowed_hosts,
            ),
        ),
        mark("log", &(&log.level, log.access, &log.access_file)),
        mark("drain_timeout", &config.drain_timeout),
        mark("key_format.brand", &config.key_format.brand()),
        mark("store", &store),
        mark("data_dir", &config.data_dir),
        mark("vault", &vault),
        mark("inactivity", &config.inactivity),
        mark("audit", &config.audit),
        mark("usage", &config.usage),
        mark("webhooks", &config.webhooks),
        mark("dns", &config.dns),
        mark("notifications", &mail),
    ]
}

fn mark(name: &'static str, value: &impl Debug) -> (&'static str, blake3::Hash) {
    let text = Zeroizing::new(format!("{value:?}"));
    (name, blake3::hash(text.as_bytes()))
}
