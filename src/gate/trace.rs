//! The decision told: which rule decided, and what would go upstream. Asks the same functions as a request does, in the
//! same order, and leaves nothing behind: no use, no refusal, no metric.

use super::limit::{self, Standing};
use super::{Denied, authorize, extract, identity, verify};
use crate::domain::fields::Fields;
use crate::domain::key::KeyFormat;
use crate::domain::path::strip_prefix;
use crate::domain::route::Location;
use crate::domain::time::Timestamp;
use crate::snapshot::handle::Snapshot;
use crate::snapshot::key::Key;
use crate::snapshot::keys::KeyTable;
use crate::snapshot::router::{CompiledRoute, RouteFault};
use extract::Presented;
use http::Method;
use std::net::IpAddr;
use std::sync::Arc;

/// A request that somebody wonders about.
pub struct Question<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its host: lower case, without port.
    pub host: &'a str,
    /// Its path, as it is sent.
    pub path: &'a str,
    /// Its query, without `?`.
    pub query: Option<&'a str>,
    /// Its header fields.
    pub fields: &'a Fields,
    /// Its key.
    pub key: Given<'a>,
    /// When, and from where.
    pub when_where: (Timestamp, IpAddr),
    /// When, by the monotonic clock.
    pub nanos: u64,
}

/// How the key of a [`Question`] is given.
pub enum Given<'a> {
    /// It stands in the request, or nowhere.
    InRequest,
    /// Its secret: as if it stood in the first place where the route looks.
    Secret(&'a [u8]),
    /// The key itself, whose secret nobody has to know.
    Key(Arc<Key>),
    /// A key that requests are not served by: a deleted one.
    Gone,
}

/// The rules, in the order in which they are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A route takes the request, however its path is read.
    Route,
    /// There is one key, or none is needed.
    Presented,
    /// The key's form and checksum.
    Form,
    /// There is such a key.
    Hash,
    /// It is neither disabled nor revoked.
    State,
    /// Its times.
    Time,
    /// Where it stands.
    Location,
    /// Where the request comes from.
    Address,
    /// Its workspace.
    Workspace,
    /// Its list of routes.
    Routes,
    /// Its list of methods.
    Methods,
    /// Its scopes.
    Scopes,
    /// The limits of the key, its consumer and the route.
    Limits,
}

impl Rule {
    /// All of them, in order.
    pub const ALL: [Self; 13] = [
        Self::Route,
        Self::Presented,
        Self::Form,
        Self::Hash,
        Self::State,
        Self::Time,
        Self::Location,
        Self::Address,
        Self::Workspace,
        Self::Routes,
        Self::Methods,
        Self::Scopes,
        Self::Limits,
    ];

    /// Name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Presented => "presented",
            Self::Form => "form",
            Self::Hash => "hash",
            Self::State => "state",
            Self::Time => "time",
            Self::Location => "location",
            Self::Address => "address",
            Self::Workspace => "workspace",
            Self::Routes => "routes",
            Self::Methods => "methods",
            Self::Scopes => "scopes",
            Self::Limits => "limits",
        }
    }

    fn behind(denied: Denied) -> Self {
        match denied {
            Denied::Ambiguous | Denied::Missing => Self::Presented,
            Denied::Malformed => Self::Form,
            Denied::Unknown => Self::Hash,
            Denied::Disabled | Denied::Revoked => Self::State,
            Denied::NotYetValid | Denied::Expired => Self::Time,
            Denied::Location => Self::Location,
            Denied::Address => Self::Address,
            Denied::Workspace => Self::Workspace,
            Denied::Route => Self::Routes,
            Denied::Method => Self::Methods,
            Denied::Scope => Self::Scopes,
            Denied::RateLimited(_) => Self::Limits,
        }
    }
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It passes, with the key.
    Permitted,
    /// It passes without one: an open route or a preflight.
    Anonymous,
    /// The gate says no.
    Denied(Denied),
    /// No route takes it.
    NoRoute(RouteFault),
}

impl Verdict {
    /// Whether it would go upstream.
    pub fn passes(self) -> bool {
        matches!(self, Self::Permitted | Self::Anonymous)
    }

    /// The rule that decided; `None`: all were satisfied.
    pub fn rule(self) -> Option<Rule> {
        match self {
            Self::Permitted | Self::Anonymous => None,
            Self::Denied(denied) => Some(Rule::behind(denied)),
            Self::NoRoute(_) => Some(Rule::Route),
        }
    }

    /// Status and code that the request would be answered with; 200 and `valid` stand for an answer of the service.
    pub fn told(self) -> (u16, &'static str) {
        match self {
            Self::Permitted | Self::Anonymous => (200, "valid"),
            Self::Denied(denied) => {
                let (status, code, _) = denied.told();
                (status.as_u16(), code)
            }
            Self::NoRoute(RouteFault::None) => (404, "no_route"),
            Self::NoRoute(RouteFault::TwoReadings | RouteFault::Path(_)) => (400, "bad_request"),
        }
    }

    /// Why, in words.
    pub fn words(self) -> String {
        match self {
            Self::Permitted => "the request may pass".into(),
            Self::Anonymous => "the request may pass without a key".into(),
            Self::Denied(denied) => denied.to_string(),
            Self::NoRoute(fault) => fault.to_string(),
        }
    }
}

/// What would go upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The path, without what the route strips.
    pub path: String,
    /// The query, without keys.
    pub query: Option<String>,
    /// Who calls: names and values.
    pub identity: Vec<(String, String)>,
    /// Header fields, and parameters with `?` in front, that are cut out because a key may stand there.
    pub cut: Vec<String>,
    /// Header fields that are dropped because they claim to say who calls.
    pub claims: Vec<String>,
}

/// The answer to a [`Question`].
pub struct Trace<'a> {
    /// The route that takes it.
    pub route: Option<&'a CompiledRoute>,
    /// Names of the routes that the two readings of the path lead to: as it stands, and as a lax service may read it.
    pub readings: [Option<&'a str>; 2],
    /// Where the key stands, or is said to stand.
    pub location: Option<&'a Location>,
    /// The key.
    pub key: Option<Arc<Key>>,
    /// How it ends.
    pub verdict: Verdict,
    /// What would go upstream, if it passes.
    pub outgoing: Option<Outgoing>,
}

/// Tells how a request would be decided.
pub fn explain<'a>(snapshot: &'a Snapshot, keys: &KeyTable, question: &Question<'_>) -> Trace<'a> {
    let (router, host, path) = (&snapshot.router, question.host, question.path);
    let name = |place: usize| Some(&*router.routes().get(place)?.route.name);
    let readings = router.readings(host, path, question.method);
    let mut trace = Trace {
        route: None,
        readings: readings.map_or([None; 2], |both| both.map(|one| one.and_then(name))),
        location: None,
        key: None,
        verdict: Verdict::Anonymous,
        outgoing: None,
    };
    let found = router
        .find(host, path, question.method)
        .and_then(|place| router.routes().get(place).ok_or(RouteFault::None));
    let route = match found {
        Ok(route) => route,
        Err(fault) => {
            trace.verdict = Verdict::NoRoute(fault);
            return trace;
        }
    };
    trace.route = Some(route);
    trace.verdict = decide(&mut trace, keys, &snapshot.key_format, route, question)
        .unwrap_or_else(Verdict::Denied);
    trace.outgoing = trace
        .verdict
        .passes()
        .then(|| outgoing(route, question, trace.key.as_deref()));
    trace
}

fn decide<'a>(
    trace: &mut Trace<'a>,
    keys: &KeyTable,
    format: &KeyFormat,
    route: &'a CompiledRoute,
    question: &Question<'_>,
) -> Result<Verdict, Denied> {
    let (policy, fields, query) = (&route.route.auth, question.fields, question.query);
    let first = policy.locations.first();
    let found = extract::find(policy, fields, query)?;
    trace.location = extract::place(policy, fields, query).or(match question.key {
        Given::InRequest => None,
        Given::Secret(_) | Given::Key(_) | Given::Gone => first,
    });
    let key = match (&question.key, found) {
        (Given::Key(key), None) => Arc::clone(key),
        (Given::Gone, None) => return Err(Denied::Unknown),
        (Given::Key(_) | Given::Gone, Some(_)) => return Err(Denied::Ambiguous),
        (Given::Secret(secret), Some(found)) if found.expose() != *secret => {
            return Err(Denied::Ambiguous);
        }
        (Given::InRequest | Given::Secret(_), Some(found)) => find(keys, format, &found)?,
        (Given::Secret(secret), None) => {
            let location = first.ok_or(Denied::Missing)?.kind();
            find(keys, format, &Presented::said(secret, location))?
        }
        (Given::InRequest, None) => {
            authorize::passes_anonymous(route, question.method, fields)?;
            limit::peek(&limit::of(None, Some(route)), question.nanos)?;
            return Ok(Verdict::Anonymous);
        }
    };
    trace.key = Some(Arc::clone(&key));
    let location = trace.location.map(Location::kind);
    verify::fits(&key, location, question.when_where)?;
    authorize::decide(&key, route, question.method)?;
    limit::peek(&limit::of(Some(&key), Some(route)), question.nanos)?;
    Ok(Verdict::Permitted)
}

fn find(
    keys: &KeyTable,
    format: &KeyFormat,
    presented: &Presented<'_>,
) -> Result<Arc<Key>, Denied> {
    verify::find(keys, format, presented.expose()).map(|key| Arc::clone(&key))
}

fn outgoing(route: &CompiledRoute, question: &Question<'_>, key: Option<&Key>) -> Outgoing {
    let (policy, fields, query) = (&route.route.auth, question.fields, question.query);
    let path = match &route.route.strip_prefix {
        Some(prefix) => strip_prefix(question.path, prefix).unwrap_or(question.path),
        None => question.path,
    };
    let mut identity = Vec::new();
    if let Some(key) = key {
        identity::tell(key, route.route.forward_metadata, |name, value| {
            let value = String::from_utf8_lossy(value).into_owned();
            identity.push((name.to_owned(), value));
        });
    }
    let rest = match query.and_then(|query| extract::strip_query(policy, query)) {
        Some(rest) => Some(rest).filter(|rest| !rest.is_empty()),
        None => query.map(str::to_owned),
    };
    let mut claims: Vec<String> = Vec::new();
    for (name, _) in fields.iter().filter(|(name, _)| identity::is_claim(name)) {
        let name = String::from_utf8_lossy(name).into_owned();
        if !claims.contains(&name) {
            claims.push(name);
        }
    }
    Outgoing {
        path: path.to_owned(),
        query: rest,
        identity,
        cut: extract::cut(policy, fields, query),
        claims,
    }
}

/// The key with this secret, whatever state it is in.
pub fn look_up(keys: &KeyTable, format: &KeyFormat, secret: &[u8]) -> Result<Arc<Key>, Denied> {
    verify::find(keys, format, secret).map(|key| Arc::clone(&key))
}

/// Whether a key is good, for a route and method where they are given; where it stood is not asked.
pub fn verify(
    key: &Key,
    target: Option<(&CompiledRoute, &Method)>,
    when_where: (Timestamp, IpAddr),
) -> Result<(), Denied> {
    verify::fits(key, None, when_where)?;
    target.map_or(Ok(()), |(route, method)| {
        authorize::decide(key, route, method)
    })
}

/// How the limits stand that a key has, on a route where one is given; `count` takes the request out of them.
pub fn limits(
    key: &Key,
    route: Option<&CompiledRoute>,
    (nanos, count): (u64, bool),
) -> Result<Option<Standing>, Denied> {
    let limits = limit::of(Some(key), route);
    if count {
        limit::take(&limits, nanos)
    } else {
        limit::peek(&limits, nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_in_the_order_of_their_names() {
        assert!(Rule::ALL.is_sorted());
    }
}
