//! Which route takes a request. The most specific match wins: exact host before wildcard before any host, exact path
//! before the longest prefix, a route that names methods before one that takes all.

use super::endpoints::UpstreamState;
use super::key::{SymbolId, Symbols, route_symbol};
use super::limits::{Bucket, Buckets, LimitOwner};
use super::workspaces::Workspaces;
use crate::domain::id::Id;
use crate::domain::method;
use crate::domain::path::{PathFault, deeper_reading, lax_reading};
use crate::domain::route::{HostMatch, PathMatch, Route};
use crate::domain::upstream::Protocol;
use crate::domain::workspace::Lineage;
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use hashbrown::HashMap;
use http::Method;
use std::sync::Arc;

/// Where a route belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoutePlace {
    /// Nowhere in particular: keys of every workspace may use it.
    Anywhere,
    /// In a workspace: keys of it and of those above may use it.
    In(Lineage),
    /// In one that is not there: no key may use it.
    Unknown,
}

impl RoutePlace {
    /// Whether a key of this workspace may use the route, as far as this goes.
    pub fn takes(&self, owner: Id) -> bool {
        match self {
            Self::Anywhere => true,
            Self::In(place) => place.is_reached_from(owner),
            Self::Unknown => false,
        }
    }

    fn of(route: &Route, workspaces: &Workspaces) -> Self {
        let Some(named) = &route.workspace else {
            return Self::Anywhere;
        };
        workspaces
            .find(named)
            .map_or(Self::Unknown, |place| Self::In(place.clone()))
    }
}

/// A route with everything a request needs of it resolved.
#[derive(Debug)]
pub struct CompiledRoute {
    /// As configured.
    pub route: Route,
    /// Its name as a number, as keys know it.
    pub symbol: SymbolId,
    /// The workspace it belongs to.
    pub place: RoutePlace,
    /// Where it leads.
    pub upstream: Arc<UpstreamState>,
    /// Its metrics.
    pub metrics: Arc<RouteMetrics>,
    /// What is left of the limit that all who use it share.
    pub bucket: Option<Arc<Bucket>>,
    /// Scopes demanded, by slot of the method; `None`: no key opens it.
    demands: [Option<Box<[SymbolId]>>; method::SLOTS],
}

impl CompiledRoute {
    /// Whether a connection may become a WebSocket, which only HTTP/1.1 carries to a service.
    pub fn takes_websocket(&self) -> bool {
        self.route.websocket && self.upstream.config.protocol != Protocol::Http2
    }

    /// Scopes a key needs for a method; `None`: nothing opens it.
    pub fn demand(&self, method: &Method) -> Option<&[SymbolId]> {
        self.demands[method::index(method)].as_deref()
    }
}

/// Why no route takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RouteFault {
    /// None matches.
    #[error("no route matches")]
    None,
    /// The path can be read in two ways that lead to different routes.
    #[error("the path leads to different routes depending on who reads it")]
    TwoReadings,
    /// The path is refused as it stands.
    #[error(transparent)]
    Path(#[from] PathFault),
}

/// All routes, arranged for look-up.
#[derive(Debug, Default)]
pub struct Router {
    routes: Vec<CompiledRoute>,
    exact_hosts: HashMap<String, Paths>,
    suffixes: HashMap<String, Paths>,
    any_host: Paths,
}

/// The routes of one host: places in [`Router::routes`], those that name methods first.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<String, Vec<usize>>,
    prefixes: HashMap<String, Vec<usize>>,
    /// Longest prefix, so that a long path is not looked up more often than needed.
    longest: usize,
}

impl Router {
    /// Compiles routes; [`Route::upstream`] counts in `upstreams`, whose place the config has checked.
    pub fn compile(
        routes: &[Route],
        upstreams: &[Arc<UpstreamState>],
        workspaces: &Workspaces,
        (symbols, buckets): (&Symbols, &mut Buckets),
        metrics: &Metrics,
    ) -> Self {
        let mut compiled = Self::default();
        for route in routes {
            let Some(upstream) = upstreams.get(route.upstream) else {
                continue;
            };
            let place = compiled.routes.len();
            let paths = match &route.matches.host {
                HostMatch::Any => &mut compiled.any_host,
                HostMatch::Suffix(name) => compiled.suffixes.entry(name.clone()).or_default(),
                HostMatch::Exact(name) => compiled.exact_hosts.entry(name.clone()).or_default(),
            };
            paths.add(&route.matches.path, place);
            compiled.routes.push(CompiledRoute {
                symbol: symbols.id(&route_symbol(&route.name)),
                place: RoutePlace::of(route, workspaces),
                upstream: Arc::clone(upstream),
                metrics: Arc::new(metrics.route(&route.name)),
                bucket: route
                    .limits
                    .map(|limit| buckets.bucket(LimitOwner::Route(route.name.clone()), limit)),
                demands: demands(route, symbols),
                route: route.clone(),
            });
        }
        compiled.order();
        compiled
    }

    /// Routes that name methods stand before those that take all.
    fn order(&mut self) {
        let routes = &self.routes;
        let takes_all = |place: &usize| routes[*place].route.matches.methods.is_any();
        let hosts = self
            .exact_hosts
            .values_mut()
            .chain(self.suffixes.values_mut())
            .chain([&mut self.any_host]);
        for paths in hosts {
            for places in paths.exact.values_mut().chain(paths.prefixes.values_mut()) {
                places.sort_by_key(takes_all);
            }
        }
    }

    /// All routes, in the order of the config.
    pub fn routes(&self) -> &[CompiledRoute] {
        &self.routes
    }

    /// The place of the route that takes a request, by both readings of its path.
    ///
    /// `host` is lower case and without port, see [`crate::domain::host::host_name`]; `path` is as it was sent.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<usize, RouteFault> {
        let [strict, lax] = self.readings(host, path, method)?;
        if strict != lax {
            return Err(RouteFault::TwoReadings);
        }
        strict.ok_or(RouteFault::None)
    }

    /// The places that the two readings of a path lead to: as it stands, and as a lax service may read it. If those agree,
    /// and something is encoded more than once, the second is that of a service that decodes to the end.
    pub fn readings(
        &self,
        host: &str,
        path: &str,
        method: &Method,
    ) -> Result<[Option<usize>; 2], PathFault> {
        let lax = lax_reading(path)?;
        let strict = self.read(host, path, method);
        if lax == path {
            return Ok([strict, strict]);
        }
        let once = self.read(host, &lax, method);
        let other = match deeper_reading(&lax) {
            Some(deeper) if once == strict => self.read(host, &deeper, method),
            Some(_) | None => once,
        };
        Ok([strict, other])
    }

    fn read(&self, host: &str, path: &str, method: &Method) -> Option<usize> {
        let exact = || {
            self.exact_hosts
                .get(host)
                .and_then(|paths| self.pick(paths, path, method))
        };
        let suffix = || self.suffix(host, path, method);
        let found = if self.exact_hosts.is_empty() {
            None
        } else {
            exact()
        };
        found
            .or_else(|| {
                if self.suffixes.is_empty() {
                    None
                } else {
                    suffix()
                }
            })
            .or_else(|| self.pick(&self.any_host, path, method))
    }

    /// The longest wildcard first: `*.b.example.com` before `*.example.com`.
    fn suffix(&self, host: &str, path: &str, method: &Method) -> Option<usize> {
        let parents = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        parents
            .filter_map(|parent| self.suffixes.get(parent))
            .find_map(|paths| self.pick(paths, path, method))
    }

    fn pick(&self, paths: &Paths, path: &str, method: &Method) -> Option<usize> {
        let taking = |places: &Vec<usize>| {
            places
                .iter()
                .copied()
                .find(|place| self.routes[*place].route.matches.methods.contains(method))
        };
        paths
            .exact
            .get(path)
            .and_then(taking)
            .or_else(|| paths.prefixes_of(path).find_map(taking))
    }
}

impl Paths {
    fn add(&mut self, path: &PathMatch, place: usize) {
        match path {
            PathMatch::Exact(path) => self.exact.entry(path.clone()).or_default().push(place),
            PathMatch::Prefix(prefix) => {
                self.longest = self.longest.max(prefix.len());
                self.prefixes.entry(prefix.clone()).or_default().push(place);
            }
        }
    }

    /// The routes of each prefix of a path that ends at a segment border, longest first.
    fn prefixes_of<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a Vec<usize>> {
        // No prefix is longer than the longest, so slashes behind that need no look.
        let mut end = Some(path.len());
        let ends = std::iter::from_fn(move || {
            let this = end?;
            let head = &path.as_bytes()[..this.min(self.longest + 1)];
            end = memchr::memrchr(b'/', head).filter(|slash| *slash < this);
            Some(this)
        });
        ends.filter(|end| *end <= self.longest)
            .filter_map(|end| self.prefixes.get(&path[..end]))
    }
}

fn demands(route: &Route, symbols: &Symbols) -> [Option<Box<[SymbolId]>>; method::SLOTS] {
    let other = Method::from_bytes(b"OTHER").unwrap_or(Method::CONNECT);
    std::array::from_fn(|slot| {
        let method = method::STANDARD.get(slot).unwrap_or(&other);
        let scopes = route.auth.scopes.for_method(method)?;
        Some(
            scopes
                .iter()
                .map(|scope| symbols.id(scope.as_str()))
                .collect(),
        )
    })
}
