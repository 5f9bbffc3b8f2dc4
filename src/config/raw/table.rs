//! The names of all fields. `config/reference.yaml` shows each of the known ones; a test compares.

/// The fields of one kind of mapping.
pub(crate) struct Table {
    /// What may stand there.
    pub(crate) known: &'static [&'static str],
    /// What is documented but not built yet: refused, never ignored.
    pub(crate) later: &'static [&'static str],
}

pub(crate) const ROOT: Table = Table {
    known: &[
        "threads",
        "drain_timeout",
        "key_format",
        "log",
        "forwarding",
        "admission",
        "listeners",
        "management",
        "store",
        "data_dir",
        "vault",
        "inactivity",
        "audit",
        "usage",
        "webhooks",
        "notifications",
        "upstreams",
        "routes",
        "consumers",
        "keys",
    ],
    later: &[
        "providers",
        "workspaces",
        "credentials",
        "fleet",
        "tracing",
        "cluster",
    ],
};

pub(crate) const KEY_FORMAT: Table = Table {
    known: &["brand", "environments"],
    later: &[],
};

pub(crate) const LOG: Table = Table {
    known: &["level", "access", "access_path", "access_file"],
    later: &[],
};

pub(crate) const FORWARDING: Table = Table {
    known: &["via", "forwarded", "realm"],
    later: &[],
};

pub(crate) const ADMISSION: Table = Table {
    known: &["failed_attempts", "max_lag"],
    later: &[],
};

pub(crate) const MIN_RATE: Table = Table {
    known: &["bytes", "grace"],
    later: &[],
};

pub(crate) const LISTENER: Table = Table {
    known: &[
        "address",
        "name",
        "reuse_port_handover",
        "trusted_proxies",
        "client_address",
        "proxy_protocol",
        "max_connections",
        "max_connections_per_address",
        "max_header_bytes",
        "max_headers",
        "max_uri_bytes",
        "first_byte_timeout",
        "header_timeout",
        "idle_timeout",
        "body_timeout",
        "min_body_rate",
        "http2",
        "max_streams",
        "tls",
    ],
    later: &["kind"],
};

pub(crate) const LISTENER_TLS: Table = Table {
    known: &[
        "cert",
        "key",
        "names",
        "certificates",
        "min_version",
        "client_auth",
        "handshake_timeout",
        "max_handshakes",
    ],
    later: &[],
};

pub(crate) const CERTIFICATE: Table = Table {
    known: &["cert", "key", "names"],
    later: &[],
};

pub(crate) const CLIENT_AUTH: Table = Table {
    known: &["ca", "required"],
    later: &[],
};

pub(crate) const MANAGEMENT: Table = Table {
    known: &["address", "token", "sessions", "allowed_hosts"],
    later: &[],
};

pub(crate) const SESSIONS: Table = Table {
    known: &["idle", "absolute"],
    later: &[],
};

pub(crate) const VAULT: Table = Table {
    known: &["master_key", "previous_key"],
    later: &[],
};

pub(crate) const INACTIVITY: Table = Table {
    known: &["mode", "after"],
    later: &[],
};

pub(crate) const AUDIT: Table = Table {
    known: &["retention", "head_interval"],
    later: &[],
};

pub(crate) const USAGE: Table = Table {
    known: &["retention"],
    later: &[],
};

pub(crate) const WEBHOOKS: Table = Table {
    known: &["allow_private", "timeout"],
    later: &[],
};

pub(crate) const NOTIFICATIONS: Table = Table {
    known: &["email"],
    later: &[],
};

pub(crate) const EMAIL: Table = Table {
    known: &["smtp", "username", "password", "from", "to"],
    later: &[],
};

pub(crate) const UPSTREAM: Table = Table {
    known: &[
        "endpoints",
        "balance",
        "host_header",
        "connect_timeout",
        "first_byte_timeout",
        "idle_timeout",
        "pool",
    ],
    later: &[
        "health_check",
        "tls",
        "retries",
        "circuit",
        "outlier_detection",
        "dns",
    ],
};

pub(crate) const POOL: Table = Table {
    known: &["max_idle", "idle_timeout", "max_lifetime"],
    later: &[],
};

pub(crate) const ROUTE: Table = Table {
    known: &[
        "name",
        "match",
        "upstream",
        "strip_prefix",
        "max_body",
        "timeout",
        "forward_metadata",
        "workspace",
        "auth",
        "limits",
        "websocket",
        "websocket_idle_timeout",
    ],
    later: &["provider", "credential", "retries", "report_only"],
};

pub(crate) const MATCH: Table = Table {
    known: &["host", "path", "exact_path", "methods"],
    later: &[],
};

pub(crate) const AUTH: Table = Table {
    known: &["required", "locations", "scopes", "preflight"],
    later: &[],
};

pub(crate) const LOCATION: Table = Table {
    known: &["header", "query", "websocket_protocol"],
    later: &[],
};

pub(crate) const CONSUMER: Table = Table {
    known: &["name", "limits"],
    later: &["external_id", "metadata", "workspace"],
};

pub(crate) const KEY: Table = Table {
    known: &[
        "name",
        "id",
        "hash",
        "secret",
        "consumer",
        "environment",
        "description",
        "tags",
        "scopes",
        "routes",
        "methods",
        "ip_allow",
        "locations",
        "limits",
        "not_before",
        "expires_at",
        "state",
        "metadata",
    ],
    later: &["rate_limits", "quota", "inactivity", "workspace"],
};

pub(crate) const LIMITS: Table = Table {
    known: &["rate", "burst"],
    later: &[],
};
