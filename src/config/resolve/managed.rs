//! Settings of what is managed while the gateway runs.

use crate::config::raw::Fields;
use crate::config::{StoreLocation, value};
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
