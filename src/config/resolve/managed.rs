//! Settings of what is managed while the gateway runs.

use crate::config::raw::{Fields, Item};
use crate::config::{AuditConfig, StoreLocation, UsageConfig, VaultConfig, WebhookConfig, value};
use crate::domain::key::record::{Inactivity, InactivityMode};
use crate::domain::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

const STORE: &str = "sqlite:data/keygate.db";
const DATA_DIR: &str = "data";
const DAY: Duration = Duration::from_hours(24);
const LONGEST: Duration = Duration::from_hours(3650 * 24);

/// Where managed keys are kept; `None` if nowhere, or at a fault.
pub(super) fn store(root: &Fields<'_>) -> Option<StoreLocation> {
    let folder = root.item().report().folder();
    let Some(item) = root.get("store") else {
        return root.item().checked(value::store(STORE, folder));
    };
    match item.text()? {
        "none" => None,
        text if text.starts_with("file:") || text.starts_with("env:") => {
            let url = item.read_secret()?;
            item.checked(value::referenced_store(url.expose(), folder))
        }
        text => item.checked(value::store(text, folder)),
    }
}

/// Whether the file says so; not when the store is at fault.
pub(super) fn is_without_store(root: &Fields<'_>) -> bool {
    root.get("store").and_then(|item| item.scalar()) == Some("none")
}

pub(super) fn data_dir(root: &Fields<'_>) -> PathBuf {
    let folder = root.item().report().folder();
    root.read("data_dir", |text| value::folder(text, folder))
        .or_else(|| root.item().checked(value::folder(DATA_DIR, folder)))
        .unwrap_or_default()
}

pub(super) fn vault(fields: &Fields<'_>) -> Option<VaultConfig> {
    let given = fields.get("previous_key");
    let previous_key = given.as_ref().and_then(key);
    let Some(item) = fields.get("master_key") else {
        if let Some(item) = given {
            item.fault("needs `master_key` beside it");
        }
        return None;
    };
    let master_key = key(&item)?;
    if let (Some(item), Some(previous)) = (given, &previous_key)
        && previous.matches(master_key.expose())
    {
        item.fault("the same key as vault.master_key");
    }
    Some(VaultConfig {
        master_key,
        previous_key,
    })
}

fn key(item: &Item<'_>) -> Option<Secret<[u8; 32]>> {
    let text = item.read_secret()?;
    item.checked(value::master_key(text.expose()))
}

pub(super) fn inactivity(fields: &Fields<'_>) -> Inactivity {
    let known = InactivityMode::ALL.map(InactivityMode::name);
    let mode = fields.read("mode", |text| {
        InactivityMode::parse(text).ok_or_else(|| value::unknown("mode", text, &known))
    });
    let default = Inactivity::DEFAULT;
    let after = fields.duration_within("after", DAY..=LONGEST);
    Inactivity {
        mode: mode.unwrap_or(default.mode),
        after: after
            .and_then(|after| i64::try_from(after.as_millis()).ok())
            .unwrap_or(default.after),
    }
}

pub(super) fn audit(fields: &Fields<'_>) -> AuditConfig {
    let retention = fields.get("retention").and_then(|item| {
        item.read_scalar(value::or_off(value::duration_within(90 * DAY..=LONGEST)))
    });
    let head_interval = Duration::from_secs(1)..=30 * DAY;
    AuditConfig {
        retention: retention.flatten(),
        head_interval: fields
            .duration_within("head_interval", head_interval)
            .unwrap_or(Duration::from_hours(1)),
    }
}

pub(super) fn usage(fields: &Fields<'_>) -> UsageConfig {
    UsageConfig {
        retention: fields
            .duration_within("retention", DAY..=LONGEST)
            .unwrap_or(400 * DAY),
    }
}

pub(super) fn webhooks(fields: &Fields<'_>) -> WebhookConfig {
    let timeout = Duration::from_millis(100)..=Duration::from_mins(5);
    WebhookConfig {
        allow_private: fields.flag("allow_private", false),
        timeout: fields
            .duration_within("timeout", timeout)
            .unwrap_or(Duration::from_secs(15)),
    }
}
