//! Settings of what is managed while the gateway runs.

use crate::config::raw::{Fields, Item};
use crate::config::{StoreLocation, VaultConfig, value};
use crate::domain::secret::Secret;
use std::path::PathBuf;

const STORE: &str = "sqlite:data/keygate.db";
const DATA_DIR: &str = "data";

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
