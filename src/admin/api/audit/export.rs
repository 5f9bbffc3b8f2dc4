//! `GET /v1/audit/export`: the log taken out, as JSON lines or CSV, the oldest event first.

use super::{EventView, fact, understand};
use crate::admin::api::place::within;
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::admin::standing;
use crate::domain::role::Permission;
use crate::store::StoreError;
use crate::store::audit::{AuditEvent, AuditQuery};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::Value;
use std::sync::Arc;

/// Events that are sent in one piece.
const AT_ONCE: usize = 200;
const COLUMNS: [&str; 18] = [
    "sequence",
    "id",
    "at",
    "actor",
    "actor_name",
    "address",
    "via",
    "action",
    "class",
    "outcome",
    "workspace",
    "target",
    "target_name",
    "reason",
    "changes",
    "request_id",
    "hash",
    "erased",
];

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Lines,
    Csv,
}

/// Takes the log out.
#[utoipa::path(
    get, path = "/v1/audit/export", tag = "audit",
    params(
        ("format" = Option<String>, Query, description = "jsonl (default) or csv"),
        ("actor" = Option<String>, Query), ("action" = Option<String>, Query), ("target" = Option<String>, Query),
        ("class" = Option<String>, Query), ("outcome" = Option<String>, Query),
        ("workspace" = Option<String>, Query), ("from" = Option<String>, Query), ("to" = Option<String>, Query)
    ),
    responses(
        (status = 200, description = "Events, the oldest first", content(
            (EventView = "application/x-ndjson"), (String = "text/csv")
        )),
        Refusals
    )
)]
pub(in crate::admin) async fn export_audit(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    let mut query = AuditQuery::all(call.caller.reach(Permission::AuditExport)?);
    query.descending = false;
    let mut parameters = call.parameters();
    let format = parameters.read("format", |name| match name {
        "jsonl" => Ok(Format::Lines),
        "csv" => Ok(Format::Csv),
        _ => Err(super::one_of("format", &["jsonl", "csv"])),
    });
    let format = format.unwrap_or(Format::Lines);
    let workspace = understand(&mut parameters, &mut query);
    parameters.finish()?;
    let store = parts.store()?;
    query.workspace = within(store, &call.caller, Permission::AuditExport, workspace).await?;
    let mut write = standing::begin(store, &call.caller).await?;
    write.record(fact("audit.exported", &call)).await?;
    write.commit().await?;
    let events = store.export_audit(query).ready_chunks(AT_ONCE);
    let pieces = events.map(move |some| {
        piece(some, format).inspect_err(|fault| {
            tracing::warn!(error = %fault, "an export of the audit log ended early");
        })
    });
    let head = match format {
        Format::Lines => Bytes::new(),
        Format::Csv => Bytes::from(format!("{}\n", COLUMNS.join(","))),
    };
    let all = stream::iter([Ok(head)]).chain(pieces);
    let (kind, disposition) = match format {
        Format::Lines => (
            "application/x-ndjson",
            "attachment; filename=\"audit.jsonl\"",
        ),
        Format::Csv => (
            "text/csv; charset=utf-8",
            "attachment; filename=\"audit.csv\"",
        ),
    };
    let headers = [(CONTENT_TYPE, kind), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(all)).into_response())
}

fn piece(events: Vec<Result<AuditEvent, StoreError>>, format: Format) -> Result<Bytes, StoreError> {
    let mut text = Vec::new();
    for event in events {
        let event = EventView::from(event?);
        match format {
            Format::Lines => {
                serde_json::to_writer(&mut text, &event)?;
                text.push(b'\n');
            }
            Format::Csv => row(&mut text, &event)?,
        }
    }
    Ok(text.into())
}

fn row(text: &mut Vec<u8>, event: &EventView) -> Result<(), StoreError> {
    let fields = serde_json::to_value(event)?;
    let mut writer = csv::Writer::from_writer(text);
    let cells = COLUMNS.map(|column| cell(&fields[column]));
    let written = writer
        .write_record(cells)
        .map_err(|fault| fault.to_string());
    let written = written.and_then(|()| writer.flush().map_err(|fault| fault.to_string()));
    written.map_err(StoreError::Foreign)
}

/// A cell as it stands in the file. Programs that show tables take what begins so for a formula, and names come from
/// outside.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_cell_is_a_formula() {
        for (value, want) in [
            (json!("=1+1"), "'=1+1"),
            (json!("+49 30"), "'+49 30"),
            (json!("-1"), "'-1"),
            (json!("@sum"), "'@sum"),
            (json!("\tx"), "'\tx"),
            (json!("\rx"), "'\rx"),
            (json!("a=b"), "a=b"),
            (json!(null), ""),
            (json!({"name": "=1"}), "{\"name\":\"=1\"}"),
            (json!(7), "7"),
        ] {
            assert_eq!(cell(&value), want);
        }
    }
}
