//! The gateway in this process, from a config file in a folder of its own.

use super::client::{Answer, Client};
use keygate::app::{App, Output};
use keygate::clock::{Clock, SystemClock};
use keygate::config;
use keygate::domain::key::PlainKey;
use serde_json::Value;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A key that [`GatewayBuilder::new`] declares: native form, scopes `app:read` and `app:write`, consumer `acme`.
pub(crate) const KEY: &str = "kg_live_00000000000000000000000000000000000000000073P5Wzx";

/// `blake3:…` of a key.
pub(crate) fn hash_of(key: &str) -> String {
    PlainKey::new(key.to_owned()).hash().at_rest()
}

/// What a gateway is started from.
pub(crate) struct GatewayBuilder {
    /// What the one listener binds.
    address: &'static str,
    /// Lines under the one listener.
    pub(crate) listener: String,
    /// Everything below listeners and management.
    pub(crate) rest: String,
    /// Lines above all else, such as `drain_timeout: 1s`.
    pub(crate) top: String,
    /// More settings of the management port.
    pub(crate) management: String,
    /// What `store` says, where neither `top` nor `rest` says it.
    store: &'static str,
    pub(crate) threads: usize,
    pub(crate) clock: Arc<dyn Clock>,
}

impl GatewayBuilder {
    /// One upstream `app`, one open-ended route `app` on `/` that demands `app:read` (GET) or `app:write`, [`KEY`].
    pub(crate) fn new(upstream: SocketAddr) -> Self {
        Self::with_rest(&format!(
            r#"
upstreams:
  app: {{ endpoints: ["http://{upstream}"] }}
routes:
  - name: app
    match: {{ path: / }}
    upstream: app
    auth:
      locations: [{{header: X-API-Key}}, bearer, {{query: api_key}}]
      scopes: {{GET: app:read, "*": app:write}}
consumers: [{{ name: acme }}]
keys:
  - {{ name: ci, consumer: acme, hash: "{}", scopes: [app:read, app:write] }}
"#,
            hash_of(KEY)
        ))
    }

    /// A config of the caller's own; see [`GatewayBuilder::rest`].
    pub(crate) fn with_rest(rest: &str) -> Self {
        Self {
            address: "127.0.0.1:0",
            listener: String::new(),
            rest: rest.to_owned(),
            top: String::new(),
            management: String::new(),
            store: "none",
            threads: 2,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// More settings of the listener, such as `max_connections: 1`; comma-separated.
    pub(crate) fn listener(mut self, settings: &str) -> Self {
        self.listener = format!(", {settings}");
        self
    }

    /// Another address than 127.0.0.1, with port 0.
    pub(crate) fn address(mut self, address: &'static str) -> Self {
        self.address = address;
        self
    }

    /// More settings of the upstream `app` of [`GatewayBuilder::new`], comma-separated.
    pub(crate) fn upstream(self, settings: &str) -> Self {
        self.replace("\"] }\nroutes:", &format!("\"], {settings} }}\nroutes:"))
    }

    /// One more setting of the route `app` of [`GatewayBuilder::new`].
    pub(crate) fn route(self, setting: &str) -> Self {
        self.replace(
            "    upstream: app\n",
            &format!("    upstream: app\n    {setting}\n"),
        )
    }

    /// Settings above all else, such as `drain_timeout: 1s`.
    pub(crate) fn top(mut self, lines: &str) -> Self {
        self.top = format!("{lines}\n");
        self
    }

    /// More settings of the management port, comma-separated.
    pub(crate) fn management(mut self, settings: &str) -> Self {
        self.management = format!(", {settings}");
        self
    }

    /// With a store of its own, beside the config file; see [`Gateway::api`].
    pub(crate) fn stored(mut self) -> Self {
        self.store = "sqlite:keygate.db";
        self
    }

    /// One worker, so that requests share connections in a known order.
    pub(crate) fn one_thread(mut self) -> Self {
        self.threads = 1;
        self
    }

    /// Replaces text in the rest, which must be there.
    pub(crate) fn replace(mut self, from: &str, to: &str) -> Self {
        assert!(self.rest.contains(from), "{from} is not in the config");
        self.rest = self.rest.replace(from, to);
        self
    }

    pub(crate) fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The config file; without a store and without a throttle of wrong keys, unless `top` or `rest` says otherwise.
    pub(crate) fn yaml(&self) -> String {
        let says = |name: &str| {
            let mut lines = self.top.lines().chain(self.rest.lines());
            lines.any(|line| line.starts_with(name))
        };
        let store = if says("store:") {
            String::new()
        } else {
            format!("store: {}\n", self.store)
        };
        // Tests ask again and again until a key is there.
        let admission = if says("admission:") {
            ""
        } else {
            "admission: { failed_attempts: off }\n"
        };
        format!(
            "{}{store}{admission}listeners: [{{ address: '{}', name: main{} }}]\nmanagement: {{ address: 127.0.0.1:0{} }}\nthreads: {}\n{}",
            self.top, self.address, self.listener, self.management, self.threads, self.rest
        )
    }

    pub(crate) fn start(self) -> Gateway {
        self.start_in(tempfile::tempdir().unwrap())
    }

    /// As [`GatewayBuilder::start`], in a folder that already holds what the config refers to.
    pub(crate) fn start_in(self, folder: TempDir) -> Gateway {
        let file = folder.path().join("keygate.yaml");
        std::fs::write(&file, self.yaml()).unwrap();
        let config = config::load(&file).unwrap_or_else(|fault| panic!("{fault}"));
        let mut app = App::start(
            &config,
            Some(file.clone()),
            Arc::clone(&self.clock),
            Output::Silent,
        )
        .unwrap();
        let address = app.listeners()[0].address;
        let management = app.management();
        let admin = app.take_setup_token();
        Gateway {
            admin: admin.map_or_else(String::new, |token| token.expose().to_owned()),
            app: Some(app),
            address,
            management,
            file,
            builder: self,
            _folder: folder,
        }
    }
}

/// A running gateway; drains when dropped.
pub(crate) struct Gateway {
    app: Option<App>,
    pub(crate) address: SocketAddr,
    pub(crate) management: SocketAddr,
    /// The setup token, an owner's; empty where the store is not new, or where there is none.
    pub(crate) admin: String,
    pub(crate) file: PathBuf,
    pub(crate) builder: GatewayBuilder,
    _folder: TempDir,
}

impl Gateway {
    /// In front of this upstream, see [`GatewayBuilder::new`].
    pub(crate) fn before(upstream: SocketAddr) -> Self {
        GatewayBuilder::new(upstream).start()
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// One request on a connection of its own: method and target, further header lines.
    pub(crate) fn request(&self, line: &str, headers: &[&str]) -> Answer {
        let mut head = format!("{line} HTTP/1.1\r\nhost: api.example.com\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        self.raw(format!("{head}\r\n"))
    }

    /// `GET` with [`KEY`] in `X-API-Key`.
    pub(crate) fn get(&self, target: &str) -> Answer {
        self.request(&format!("GET {target}"), &[&format!("x-api-key: {KEY}")])
    }

    /// These bytes on a connection of their own, and the answer.
    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client();
        client.send(bytes);
        client.read()
    }

    /// These bytes on a connection of their own; the answer must be the last thing on it.
    pub(crate) fn raw_and_closed(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client();
        client.try_send(bytes);
        let answer = client.read();
        assert_eq!(client.rest(), b"", "the connection ends with {answer:?}");
        answer
    }

    /// GET on the management port.
    pub(crate) fn manage(&self, target: &str) -> Answer {
        ask(self.management, &format!("GET {target}"), &[])
    }

    /// The id of the key that the configuration file declares. Found by its whole name: a search finds hints too, and
    /// those are random.
    pub(crate) fn declared_key(&self) -> String {
        let found = self.api("GET", "/v1/keys?q=ci&limit=200", None).must(200);
        let mut keys = found["data"].as_array().unwrap().iter();
        let key = keys.find(|key| key["name"] == "ci").expect("the key ci");
        key["id"].as_str().unwrap().to_owned()
    }

    /// A call of the admin API with the setup token; `None`: without a body.
    pub(crate) fn api(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Answer {
        self.api_as(&self.admin, method, path, body)
    }

    /// As [`Gateway::api`], with another token, or with none when it is empty.
    pub(crate) fn api_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: impl Into<Option<Value>>,
    ) -> Answer {
        let bearer = format!("authorization: Bearer {token}");
        let headers: &[&str] = if token.is_empty() { &[] } else { &[&bearer] };
        tell(
            self.management,
            &format!("{method} {path}"),
            headers,
            body.into(),
        )
    }

    /// As [`Gateway::api`], with further header lines.
    pub(crate) fn api_with(
        &self,
        headers: &[&str],
        method: &str,
        path: &str,
        body: impl Into<Option<Value>>,
    ) -> Answer {
        let bearer = format!("authorization: Bearer {}", self.admin);
        let headers: Vec<&str> = headers.iter().copied().chain([&*bearer]).collect();
        tell(
            self.management,
            &format!("{method} {path}"),
            &headers,
            body.into(),
        )
    }

    /// `/status`.
    pub(crate) fn status(&self) -> Value {
        self.manage("/status").json()
    }

    /// The value of one metric line, labels in any order; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        value_of(&self.manage("/metrics").text(), name, labels)
    }

    /// Writes the config file anew with a text replaced, as an editor does.
    pub(crate) fn edit(&mut self, from: &str, to: &str) {
        assert!(
            self.builder.rest.contains(from),
            "{from} is not in the config"
        );
        self.builder.rest = self.builder.rest.replace(from, to);
        self.write(&self.builder.yaml());
    }

    /// Writes the config file by renaming, so that no half of it is ever seen.
    pub(crate) fn write(&self, yaml: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, yaml).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// Drains and waits for the end.
    pub(crate) fn stop(mut self) {
        self.app.take().unwrap().stop();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(app) = self.app.take() {
            app.stop();
        }
    }
}

/// One request on a connection of its own that is closed behind it: method and target, further header lines.
pub(crate) fn ask(address: SocketAddr, line: &str, headers: &[&str]) -> Answer {
    tell(address, line, headers, None)
}

/// As [`ask`], with JSON as its body. A host among the headers stands in the place of `localhost`.
pub(crate) fn tell(
    address: SocketAddr,
    line: &str,
    headers: &[&str],
    body: Option<Value>,
) -> Answer {
    let mut client = Client::connect(address);
    // An act on ten thousand keys takes a while on a busy machine.
    let patience = Some(Duration::from_mins(1));
    client.stream().set_read_timeout(patience).unwrap();
    let mut head = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|header| header.starts_with("host:")) {
        head.push_str("host: localhost\r\n");
    }
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    let body = body.map(|body| body.to_string());
    if let Some(body) = &body {
        let length = body.len();
        head.push_str("content-type: application/json\r\n");
        let _ = write!(head, "content-length: {length}\r\n");
    }
    client.send(format!("{head}\r\n{}", body.unwrap_or_default()));
    client.read()
}

/// The sum of a metric's lines with these labels, in any order; 0 when there is none.
pub(crate) fn value_of(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels
                .iter()
                .all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    };
    text.lines()
        .filter(fits)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
