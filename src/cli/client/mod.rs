//! The admin API as commands see it: calls that wait for their answer, refusals as failures with an exit code.

mod logins;
mod place;
mod problem;

use super::output::plain;
use super::{Exit, Failed};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, IF_MATCH};
use http::{HeaderName, Method, StatusCode};
use reqwest::{Response, Url, redirect};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

pub(super) use logins::Login;
pub(super) use place::{Origin, Place, is_local, reachable};
pub(super) use problem::{Problem, field as problem_field};

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two pieces of an answer; a long one may take longer in all.
const READ_PATIENCE: Duration = Duration::from_mins(2);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Most rows the API gives at a time.
const LARGEST_PAGE: usize = 200;

/// One gateway, and in whose name it is asked.
pub(super) struct Api {
    runtime: Runtime,
    http: reqwest::Client,
    base: Url,
    token: Option<HeaderValue>,
    origin: Origin,
}

impl Api {
    pub(super) fn new(base: Url, token: Option<&Secret<String>>) -> Result<Self, Failed> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("keygate/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_PATIENCE)
            .read_timeout(READ_PATIENCE)
            // A token must not follow a redirect, and this API has none.
            .redirect(redirect::Policy::none());
        if is_local(&base) {
            http = http.no_proxy();
        }
        if base.scheme() == "http" {
            // Nothing is encrypted, and a system without certificates of authorities (a container) is no fault then.
            http = http.tls_certs_only([]);
        }
        let token = token.map(|token| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| Failed::with(Exit::Auth, anyhow!("the token has odd characters")))?;
            value.set_sensitive(true);
            Ok::<_, Failed>(value)
        });
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            http: http.build()?,
            base,
            token: token.transpose()?,
            origin: Origin::Given,
        })
    }

    /// Where the token is from; told when it is refused.
    pub(super) fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    pub(super) fn get<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::GET, path)
    }

    pub(super) fn post<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::POST, path)
    }

    pub(super) fn patch<'a>(&'a self, path: &[&str]) -> Call<'a> {
        let call = self.call(Method::PATCH, path);
        call.kind("application/merge-patch+json")
    }

    pub(super) fn put<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::PUT, path)
    }

    pub(super) fn delete<'a>(&'a self, path: &[&str]) -> Call<'a> {
        self.call(Method::DELETE, path)
    }

    /// `/status`, which stands beside the API.
    pub(super) fn status(&self) -> Call<'_> {
        self.call_at(Method::GET, &["status"])
    }

    fn call<'a>(&'a self, method: Method, path: &[&str]) -> Call<'a> {
        self.call_at(method, &[&["v1"], path].concat())
    }

    fn call_at<'a>(&'a self, method: Method, path: &[&str]) -> Call<'a> {
        let mut url = self.base.clone();
        // Addresses with a host have a path: that was looked at when they were read.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Call {
            api: self,
            method,
            url,
            kind: "application/json",
            body: None,
            once: None,
            told: false,
            if_match: None,
        }
    }

    /// Rows of a list, page after page, until `most` of them or the end.
    pub(super) fn pages(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        most: usize,
    ) -> Result<Listed, Failed> {
        let mut listed = Listed::default();
        loop {
            let limit = LARGEST_PAGE.min(most - listed.rows.len()).to_string();
            let mut call = self.get(path).queries(query).query("limit", &limit);
            if let Some(cursor) = &listed.next {
                call = call.query("cursor", cursor);
            }
            let mut page = call.send()?;
            let Value::Array(rows) = page["data"].take() else {
                return Err(anyhow!("the gateway's answer is no list").into());
            };
            let is_empty = rows.is_empty();
            listed.rows.extend(rows);
            listed.next = page["next"].as_str().map(str::to_owned);
            listed.total = page["total"].as_u64().or(listed.total);
            if listed.next.is_none() || is_empty || listed.rows.len() >= most {
                return Ok(listed);
            }
        }
    }
}

/// A list, or its beginning.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) rows: Vec<Value>,
    /// Where it goes on.
    pub(super) next: Option<String>,
    pub(super) total: Option<u64>,
}

impl Listed {
    /// Rows that came all at once.
    pub(super) fn of(rows: Vec<Value>) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }
}

/// A call that has not been made yet.
pub(super) struct Call<'a> {
    api: &'a Api,
    method: Method,
    url: Url,
    kind: &'static str,
    body: Option<Bytes>,
    once: Option<String>,
    /// Whether the command has a flag for the key.
    told: bool,
    if_match: Option<u64>,
}

impl Call<'_> {
    pub(super) fn query(mut self, name: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(name, value);
        self
    }

    pub(super) fn queries(mut self, pairs: &[(&str, String)]) -> Self {
        for (name, value) in pairs {
            self = self.query(name, value);
        }
        self
    }

    /// The media type of the body; JSON unless said.
    pub(super) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.bytes(body.to_string())
    }

    pub(super) fn bytes(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// However often it is sent, it is done once.
    pub(super) fn once(mut self, key: &str) -> Self {
        self.once = Some(key.to_owned());
        self
    }

    /// As [`Call::once`], where whoever types can give the key again, with `--idempotency-key`.
    pub(super) fn once_by_flag(mut self, key: &str) -> Self {
        self.told = true;
        self.once(key)
    }

    /// Only if nobody has changed it since.
    pub(super) fn if_match(mut self, revision: Option<u64>) -> Self {
        self.if_match = revision;
        self
    }

    /// Sends it and reads the answer.
    pub(super) fn send(self) -> Result<Value, Failed> {
        let api = self.api;
        let (status, body) = api.runtime.block_on(self.answer())?;
        if status == StatusCode::NO_CONTENT || body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| self.no_gateway())
    }

    /// Sends it and passes the answer on as it comes.
    pub(super) fn stream_to(self, out: &mut dyn Write) -> Result<(), Failed> {
        self.api.runtime.block_on(async {
            let response = self.attempt().await.map_err(|fault| self.lost(fault))?;
            if !response.status().is_success() {
                return Err(self.refused(response).await);
            }
            let mut response = response;
            while let Some(piece) = response.chunk().await.map_err(|fault| self.lost(fault))? {
                out.write_all(&piece)?;
            }
            Ok(out.flush()?)
        })
    }

    /// A connection that is lost tells nothing about what was done; what is safe to do twice is sent once more.
    async fn answer(&self) -> Result<(StatusCode, Bytes), Failed> {
        let safe = self.method == Method::GET || self.once.is_some();
        let first = self.exchange().await;
        let lost = |fault: &reqwest::Error| {
            safe && !fault.is_connect() && !fault.is_timeout() && !fault.is_builder()
        };
        let answer = match first {
            Err(Broken::Lost(fault)) if lost(&fault) => self.exchange().await,
            other => other,
        };
        answer.map_err(|broken| match broken {
            Broken::Lost(fault) => self.lost(fault),
            Broken::Refused(failed) => failed,
        })
    }

    async fn exchange(&self) -> Result<(StatusCode, Bytes), Broken> {
        let response = self.attempt().await.map_err(Broken::Lost)?;
        let status = response.status();
        if !status.is_success() {
            return Err(Broken::Refused(self.refused(response).await));
        }
        Ok((status, response.bytes().await.map_err(Broken::Lost)?))
    }

    async fn attempt(&self) -> Result<Response, reqwest::Error> {
        let http = &self.api.http;
        let mut request = http
            .request(self.method.clone(), self.url.clone())
            .header(ACCEPT, "application/json, application/problem+json");
        if let Some(token) = &self.api.token {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(once) = &self.once {
            request = request.header(IDEMPOTENCY_KEY, once);
        }
        if let Some(revision) = self.if_match {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        if let Some(body) = &self.body {
            request = request.header(CONTENT_TYPE, self.kind).body(body.clone());
        }
        request.send().await
    }

    async fn refused(&self, response: Response) -> Failed {
        let status = response.status();
        if status.is_redirection() {
            return self.no_gateway();
        }
        let body = response.bytes().await.unwrap_or_default();
        let mut problem = Problem::read(status, &body);
        // Who is about to sign in needs no advice to do so.
        let signs_in = self.url.path().ends_with("/v1/sessions");
        if status == StatusCode::UNAUTHORIZED && !signs_in {
            problem.advice = self.api.origin.advice();
        }
        problem.failed()
    }

    fn lost(&self, fault: reqwest::Error) -> Failed {
        let at = self.origin();
        let mut words = match () {
            () if fault.is_connect() => format!("{at} cannot be reached"),
            () if fault.is_timeout() => format!("{at} does not answer in time"),
            () => format!("the connection to {at} was lost"),
        };
        let may_be_done = self.method != Method::GET && !fault.is_connect();
        if let Some(once) = self.once.as_ref().filter(|_| self.told && may_be_done) {
            let _ = write!(
                words,
                "; whether it was done is unknown: the same command with `--idempotency-key {once}` does it if not, and \
                 gives the same answer if so"
            );
        } else if may_be_done {
            words.push_str("; whether it was done is unknown");
        }
        // The address of a request can hold what somebody searched for.
        anyhow::Error::from(fault.without_url())
            .context(words)
            .into()
    }

    fn no_gateway(&self) -> Failed {
        let at = self.origin();
        anyhow!("what answers at {at} is not the management port of a keygate").into()
    }

    fn origin(&self) -> String {
        plain(&self.url.origin().ascii_serialization())
    }
}

enum Broken {
    Lost(reqwest::Error),
    Refused(Failed),
}

/// A fresh key for [`Call::once`]: when it was made, and 128 random bits.
pub(super) fn fresh_key(now: Timestamp) -> Result<String, Failed> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).context("the system has no randomness")?;
    let random = u128::from_ne_bytes(random);
    Ok(format!("{:012x}{random:032x}", now.as_millis()))
}

/// When a key of ours was made. What is told as a time from now counts from then, so that the same command asks for the
/// same thing again.
pub(super) fn made_at(key: &str) -> Option<Timestamp> {
    let is_ours = key.len() == 44 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = key.get(..12).filter(|_| is_ours)?;
    i64::from_str_radix(time, 16)
        .ok()
        .map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_when_it_was_made() {
        let now = Timestamp::from_millis(1_798_761_600_123);
        let [one, two] = [(); 2].map(|()| fresh_key(now).ok().unwrap());
        assert_ne!(one, two);
        assert_eq!(made_at(&one), Some(now));
        for other in [
            "",
            "my own key",
            "0123456789ab",
            &one[1..],
            &format!("{}ä", &one[2..]),
        ] {
            assert_eq!(made_at(other), None, "{other}");
        }
    }
}
