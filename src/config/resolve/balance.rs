//! How the endpoints of an upstream share its requests.

use crate::config::raw::{Fields, Item, table};
use crate::config::value;
use crate::domain::balance::{Balance, HashOn};

const NAMES: [&str; 3] = ["round_robin", "least_requests", "power_of_two"];

pub(super) fn balance(fields: &Fields<'_>) -> Balance {
    let found = fields.get("balance").and_then(|item| {
        if item.is_map() {
            return hash(&item).map(Balance::Hash);
        }
        item.read(|text| match text {
            "round_robin" => Ok(Balance::RoundRobin),
            "least_requests" => Ok(Balance::LeastRequests),
            "power_of_two" => Ok(Balance::PowerOfTwo),
            "hash" => {
                Err("say what is hashed: `{hash: key}` or `{hash: {header: X-Tenant}}`".into())
            }
            text => Err(value::unknown("value", text, &NAMES)),
        })
    });
    found.unwrap_or_default()
}

/// `{hash: key}` or `{hash: {header: X-Tenant}}`.
fn hash(item: &Item<'_>) -> Option<HashOn> {
    let on = item.fields(&table::BALANCE).required("hash")?;
    if on.is_map() {
        let header = on.fields(&table::HASH).required("header")?;
        return header.read(value::header_name).map(HashOn::Header);
    }
    on.read(|text| match text {
        "key" => Ok(HashOn::Key),
        _ => Err("expected `key` or `{header: X-Tenant}`".into()),
    })
}
