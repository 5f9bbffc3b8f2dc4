//! `POST /v1/audit/verify`: the proof that nobody has touched the log, from its last cut to its head.

use super::{HeadView, fact};
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::role::Permission;
use crate::domain::workspace::root;
use crate::store::audit::{Broken, Verdict};
use crate::store::notices::{NewNotice, Severity};
use crate::store::{Store, StoreError};
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A log of millions takes longer than a connection may be silent: until it is done, white space is sent this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What a verification found.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditVerification)]
pub(in crate::admin) struct VerificationView {
    /// Whether the log is as it was written.
    ok: bool,
    /// Number of events; null when the chain is broken.
    events: Option<u64>,
    /// Number of events some of whose personal data is erased; null when the chain is broken.
    erased: Option<u64>,
    /// Where the chain ends; to compare with what was written down elsewhere.
    head: HeadView,
    /// The first place where the chain does not hold.
    first_broken: Option<BrokenView>,
}

/// An event that is not as it was written.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditBroken)]
pub(in crate::admin) struct BrokenView {
    sequence: u64,
    why: String,
}

/// Verifies the whole log.
#[utoipa::path(
    post, path = "/v1/audit/verify", tag = "audit", responses((status = 200, body = VerificationView), Refusals)
)]
pub(in crate::admin) async fn verify_audit(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Response, AdminError> {
    call.no_parameters()?;
    call.json()?.finish()?;
    call.caller.reach(Permission::AuditRead)?;
    let store = parts.store()?.clone();
    let mut work: Work = Box::pin(async move {
        let verified = {
            let _alone = parts.audit.verifying.acquire().await;
            verify(&store).await?
        };
        note(&store, &call, &verified).await?;
        Ok(verified)
    });
    match tokio::time::timeout(SIGN_OF_LIFE, &mut work).await {
        Ok(done) => Ok(Json(done?).into_response()),
        Err(_) => Ok(slowly(work)),
    }
}

type Work = BoxFuture<'static, Result<VerificationView, StoreError>>;

/// An answer whose end comes when it comes.
fn slowly(work: Work) -> Response {
    let pieces = stream::unfold(Some(work), async |work| {
        let mut work = work?;
        let (piece, rest) = match tokio::time::timeout(SIGN_OF_LIFE, &mut work).await {
            Err(_) => (Ok(Bytes::from_static(b" ")), Some(work)),
            Ok(Ok(done)) => {
                let text = serde_json::to_vec(&done).map(Bytes::from);
                (text.map_err(StoreError::from), None)
            }
            Ok(Err(fault)) => {
                tracing::warn!(error = %fault, "a verification of the audit log ended early");
                (Err(fault), None)
            }
        };
        Some((piece, rest))
    });
    let mut answer = Body::from_stream(pieces).into_response();
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

async fn verify(store: &Store) -> Result<VerificationView, StoreError> {
    Ok(match store.verify_audit(|_, _| {}).await? {
        Verdict::Intact(intact) => VerificationView {
            ok: true,
            events: Some(intact.events),
            erased: Some(intact.erased),
            head: intact.head.into(),
            first_broken: None,
        },
        Verdict::Broken(Broken { sequence, fault }) => VerificationView {
            ok: false,
            events: None,
            erased: None,
            head: store.audit_head().await?.into(),
            first_broken: Some(BrokenView {
                sequence,
                why: fault.to_string(),
            }),
        },
    })
}

/// Notes that somebody asked, and what came of it; that the log was touched is something people should know.
async fn note(store: &Store, call: &Call, found: &VerificationView) -> Result<(), StoreError> {
    let mut write = store.begin(&call.caller.actor).await?;
    let mut fact = fact("audit.verified", call);
    if let Some(broken) = &found.first_broken {
        fact.outcome = "error";
        fact.reason = Some("broken".into());
        fact.change("first_broken", json!(null), broken.sequence);
        write
            .notice(&NewNotice {
                fact: format!("audit.broken:{}", broken.sequence),
                kind: "audit.broken",
                severity: Severity::Critical,
                workspace: root(),
                target: "audit".into(),
                title: format!(
                    "The audit log does not hold from event {} on: {}",
                    broken.sequence, broken.why
                ),
                data: json!({"sequence": broken.sequence}),
                due_at: None,
            })
            .await?;
    }
    write.record(fact).await?;
    write.commit().await.map(|_| ())
}
