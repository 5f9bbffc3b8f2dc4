//! `POST /v1/explain`: which rule decides a request, and what would go upstream. The same gate answers; no use is noted.

use super::verify::{NOWHERE, address, host, look_up, method, path, secret};
use super::view::KeySummary;
use crate::admin::auth::Caller;
use crate::admin::body::{Body, Wrong, invalid};
use crate::admin::call::Call;
use crate::admin::error::AdminError;
use crate::admin::schema::Refusals;
use crate::admin::server::AdminParts;
use crate::domain::fields::Fields;
use crate::domain::id::{Id, Kind};
use crate::domain::role::Permission;
use crate::domain::route::Location;
use crate::gate::Denied;
use crate::gate::trace::{self, Given, Outgoing, Question, Rule, Trace, Verdict};
use crate::snapshot::router::{RoutePlace, Router};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Method};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most header fields of a request.
const MOST_HEADERS: usize = 256;

/// A request, and the key it is made with.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
pub(in crate::admin) struct Wonder {
    /// A key as its holder has it: as if it stood in the first place where the route looks. Else the request's own.
    key: Option<String>,
    /// The id of a key whose secret is not at hand.
    key_id: Option<String>,
    request: WonderedRequest,
}

/// A request.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a shape in the document")]
struct WonderedRequest {
    /// `GET` unless given.
    method: Option<String>,
    host: Option<String>,
    /// As it is sent, with or without `?` and query.
    path: String,
    query: Option<String>,
    /// Values by name; a list for a field that is there more than once.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<BTreeMap<String, Value>>,
    /// Address it comes from.
    ip: Option<String>,
}

/// How a request is decided.
#[derive(Serialize, ToSchema)]
pub(in crate::admin) struct Explanation {
    allowed: bool,
    /// `valid`, or the code that the request is answered with.
    code: &'static str,
    /// The status that the request is answered with; 200 stands for whatever the service answers.
    status: u16,
    /// The rule that decided; null: all are satisfied.
    rule: Option<&'static str>,
    /// Why, in words: more than the caller of the request is told.
    reason: String,
    /// The rules in the order in which they are asked.
    steps: Vec<Step>,
    /// Null: no route takes it, or one of a workspace that is out of reach.
    route: Option<RouteView>,
    /// Names of the routes that the path leads to as it stands, and as a lax service may read it; null as `route` is.
    readings: [Option<String>; 2],
    /// Null as `route` is.
    location: Option<LocationView>,
    key: Option<KeySummary>,
    /// What would go upstream; null: nothing would.
    upstream: Option<UpstreamView>,
}

/// A rule, and what it said.
#[derive(Serialize, ToSchema)]
struct Step {
    rule: &'static str,
    /// `passed`, `refused`, `not_asked`.
    verdict: &'static str,
}

/// The route that takes the request.
#[derive(Serialize, ToSchema)]
struct RouteView {
    name: String,
    /// Its workspace as the config names it; null: none.
    workspace: Option<String>,
    /// Whether that workspace is there.
    workspace_known: bool,
    auth_required: bool,
    /// Scopes that it demands for this method; null: no key opens it.
    demands: Option<Vec<String>>,
}

/// Where the key stands, or is said to stand.
#[derive(Serialize, ToSchema)]
struct LocationView {
    /// `header`, `bearer`, `query`, `websocket_protocol`.
    kind: &'static str,
    /// Of the field or parameter.
    name: String,
}

/// What goes upstream.
#[derive(Serialize, ToSchema)]
struct UpstreamView {
    name: String,
    path: String,
    query: Option<String>,
    /// Who calls: names and values.
    headers: BTreeMap<String, String>,
    /// Header fields, and parameters with `?` in front, that are cut out because a key may stand there.
    stripped: Vec<String>,
    /// Header fields that are dropped because they claim to say who calls.
    dropped: Vec<String>,
}

/// What a body asks.
struct Wanted {
    key: Option<String>,
    key_id: Option<Id>,
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    fields: Fields,
    from: IpAddr,
}

/// Tells how a request would be decided.
#[utoipa::path(
    post, path = "/v1/explain", tag = "keys", request_body = Wonder,
    responses((status = 200, body = Explanation), Refusals)
)]
pub(in crate::admin) async fn explain_request(
    State(parts): State<Arc<AdminParts>>,
    call: Call,
) -> Result<Json<Explanation>, AdminError> {
    call.no_parameters()?;
    call.caller.reach(Permission::Read)?;
    let snapshot = parts.shared.snapshot();
    if !snapshot.ready {
        return Err(AdminError::NotReady);
    }
    let wanted = read(call.json()?)?;
    let secret = wanted.key.as_ref().map(|key| key.trim_ascii().to_owned());
    let given = match (&secret, wanted.key_id) {
        (_, Some(id)) => by_id(&parts, &call, id).await?,
        // A key that is out of reach is not there, and neither is one of a form that no key has.
        (Some(key), None) => match look_up(&parts, &snapshot, key) {
            Err(Denied::Malformed) => Given::Secret(key.as_bytes()),
            Ok(found) if super::may_hear_of(&parts, &call.caller, &found).await? => {
                Given::Secret(key.as_bytes())
            }
            Ok(_) | Err(_) => Given::Gone,
        },
        (None, None) => Given::InRequest,
    };
    let question = Question {
        method: &wanted.method,
        host: &wanted.host,
        path: &wanted.path,
        query: wanted.query.as_deref(),
        fields: &wanted.fields,
        key: given,
        when_where: (parts.clock.now(), wanted.from),
        nanos: parts.clock.monotonic_nanos(),
    };
    let mut trace = trace::explain(&snapshot, &parts.shared.keys, &question);
    if let Some(key) = &trace.key
        && !super::may_hear_of(&parts, &call.caller, key).await?
    {
        trace.key = None;
        trace.outgoing = None;
        trace.verdict = Verdict::Denied(Denied::Unknown);
    }
    hide_routes(&mut trace, &call.caller, &snapshot.router);
    Ok(Json(view(&trace, &question)))
}

/// Leaves out what is told of routes that the caller does not reach. How the request ends stays: making it tells as much.
fn hide_routes(trace: &mut Trace<'_>, caller: &Caller, all: &Router) {
    for reading in &mut trace.readings {
        let mut routes = all.routes().iter();
        let named = reading.and_then(|name| routes.find(|one| one.route.name == name));
        if named.is_some_and(|route| !super::sees(caller, route)) {
            *reading = None;
        }
    }
    if trace.route.is_some_and(|route| !super::sees(caller, route)) {
        trace.route = None;
        trace.location = None;
        trace.outgoing = None;
    }
}

/// The key with an id, as requests are served by it.
async fn by_id(parts: &AdminParts, call: &Call, id: Id) -> Result<Given<'static>, AdminError> {
    if let Some(key) = parts.shared.keys.declared_by_id(id) {
        let place = super::lineage(parts, key.workspace()).await?;
        call.caller.check(Permission::Read, &place)?;
        return Ok(Given::Key(key));
    }
    if parts.store.is_none() {
        return Err(AdminError::NotFound);
    }
    let store = parts.store()?;
    let key = store.key(id).await?;
    let place = store.workspace(key.workspace).await?;
    call.caller.check(Permission::Read, &place.lineage)?;
    let served = key.current().and_then(|secret| {
        let found = parts.shared.keys.find_of(&secret.hash, secret.algorithm);
        found.map(|key| Arc::clone(&key)).filter(|key| key.id == id)
    });
    Ok(served.map_or(Given::Gone, Given::Key))
}

fn view(trace: &Trace<'_>, question: &Question<'_>) -> Explanation {
    let (status, code) = trace.verdict.told();
    let decided = trace.verdict.rule();
    Explanation {
        allowed: trace.verdict.passes(),
        code,
        status,
        rule: decided.map(Rule::name),
        reason: trace.verdict.words(),
        steps: steps(trace.verdict, trace.key.is_none()),
        route: trace.route.map(|route| RouteView {
            name: route.route.name.clone(),
            workspace: route.route.workspace.clone(),
            workspace_known: route.place != RoutePlace::Unknown,
            auth_required: route.route.auth.required,
            demands: route
                .route
                .auth
                .scopes
                .for_method(question.method)
                .map(|scopes| scopes.iter().map(ToString::to_string).collect()),
        }),
        readings: trace.readings.map(|name| name.map(str::to_owned)),
        location: trace.location.map(|place| LocationView {
            kind: place.kind().name(),
            name: match place {
                Location::Header(name) => name.to_string(),
                Location::Bearer => "authorization".into(),
                Location::Query(name) => name.clone(),
                Location::WebSocketProtocol(_) => "sec-websocket-protocol".into(),
            },
        }),
        key: trace
            .key
            .as_ref()
            .map(|key| KeySummary::of(key, question.when_where.0)),
        upstream: trace
            .route
            .zip(trace.outgoing.as_ref())
            .map(|(route, out)| {
                let name = route.upstream.config.name.clone();
                upstream(name, out)
            }),
    }
}

fn steps(verdict: Verdict, keyless: bool) -> Vec<Step> {
    let last = verdict.rule();
    // Whoever comes as far as the limits without a key is asked for nothing that keys have.
    let anonymous = keyless && last.is_none_or(|last| last == Rule::Limits);
    let said = |rule: Rule| match last {
        _ if anonymous && rule > Rule::Presented && rule < Rule::Limits => "not_asked",
        Some(last) if rule > last => "not_asked",
        Some(last) if rule == last && !verdict.passes() => "refused",
        Some(_) | None => "passed",
    };
    let step = |rule: Rule| Step {
        rule: rule.name(),
        verdict: said(rule),
    };
    Rule::ALL.into_iter().map(step).collect()
}

fn upstream(name: String, out: &Outgoing) -> UpstreamView {
    UpstreamView {
        name,
        path: out.path.clone(),
        query: out.query.clone(),
        headers: out.identity.iter().cloned().collect(),
        stripped: out.cut.clone(),
        dropped: out.claims.clone(),
    }
}

fn read(mut body: Body) -> Result<Wanted, AdminError> {
    let key = body.optional("key", secret);
    let key_id = body.optional("key_id", |value| super::create::id(value, Kind::Key, "key"));
    if key.is_some() && key_id.is_some() {
        body.fault("key_id", ("invalid", "either `key` or `key_id`".into()));
    }
    let request = body.object("request", |inner| {
        let target = inner.required("path", path).unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
            None => (target, None),
        };
        let apart = inner.optional("query", secret_free_text);
        if query.is_some() && apart.is_some() {
            inner.fault("query", ("invalid", "the path has a query already".into()));
        }
        Some(Wanted {
            key,
            key_id,
            method: inner.optional("method", method).unwrap_or(Method::GET),
            host: inner.optional("host", host).unwrap_or_default(),
            path,
            query: query.or(apart),
            fields: fields(inner),
            from: inner.optional("ip", address).unwrap_or(NOWHERE),
        })
    });
    let wanted = request.flatten();
    if wanted.is_none() {
        body.fault("request", ("required", "this field is required".into()));
    }
    body.finish()?;
    wanted.ok_or(AdminError::Internal)
}

/// A query: it may hold a key, so it is never shown in a fault.
fn secret_free_text(value: &Value) -> Result<String, Wrong> {
    match value.as_str() {
        Some(text) if text.len() <= 16 * 1024 => Ok(text.trim_start_matches('?').to_owned()),
        Some(_) | None => invalid("expected text of at most 16384 bytes"),
    }
}

/// Header fields. Values may hold a key, so they are never shown in a fault.
fn fields(body: &mut Body) -> Fields {
    let entries = body.entries("headers", header).flatten();
    let entries = entries.into_iter().flatten().map(|(_, field)| field);
    let mut fields = Fields::default();
    for (name, values) in entries {
        if fields.len() + values.len() > MOST_HEADERS {
            let words = format!("at most {MOST_HEADERS} fields");
            body.fault("headers", ("out_of_range", words));
            break;
        }
        for value in values {
            fields.push(&name, value.as_bytes());
        }
    }
    fields
}

fn header(name: &str, value: &Value) -> Result<(HeaderName, Vec<HeaderValue>), Wrong> {
    let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
        return invalid("the name is not one of a header field");
    };
    let values = match value {
        Value::Array(values) => values.as_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(value)
        }
    };
    let read = |value: &Value| HeaderValue::from_str(value.as_str()?).ok();
    let values: Option<Vec<HeaderValue>> = values.iter().map(read).collect();
    match values {
        Some(values) => Ok((name, values)),
        None => invalid("expected the text of a header field, or a list of them"),
    }
}
