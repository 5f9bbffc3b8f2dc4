-- Version 1. Read by both stores; `dialect.rs` puts in what differs. Times are milliseconds since the epoch, ids and
-- hashes are text, lists and maps are JSON. TEXT compares byte by byte on both.

-- One row: whoever writes takes it first, so that revisions and audit sequences have no gap and no two owners.
CREATE TABLE head (
    id             BIGINT PRIMARY KEY,
    store          TEXT   NOT NULL,
    revision       BIGINT NOT NULL,
    audit_sequence BIGINT NOT NULL,
    audit_hash     TEXT   NOT NULL,
    created_at     BIGINT NOT NULL
);

-- What each revision touched, for nodes that follow.
CREATE TABLE changes (
    revision BIGINT NOT NULL,
    place    BIGINT NOT NULL,
    kind     TEXT   NOT NULL,
    object   TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (revision, place)
);

CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE nodes (
    id         TEXT PRIMARY KEY,
    name       TEXT   NOT NULL,
    version    TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    observed   BIGINT NOT NULL,
    applied    BIGINT NOT NULL
);

CREATE TABLE workspaces (
    id          TEXT PRIMARY KEY,
    parent      TEXT,
    -- Ids from the root down, each with a slash behind it: what begins with it is below it.
    path        TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    kind        TEXT   NOT NULL,
    external_id TEXT,
    metadata    TEXT   NOT NULL,
    -- Default of keys made here; null: the parent's.
    inactivity  TEXT,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    updated_at  BIGINT NOT NULL,
    updated_by  TEXT   NOT NULL,
    revision    BIGINT NOT NULL
);
CREATE UNIQUE INDEX workspaces_by_name ON workspaces (parent, name);
CREATE INDEX workspaces_by_path ON workspaces (path);

CREATE TABLE consumers (
    id          TEXT PRIMARY KEY,
    workspace   TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    external_id TEXT,
    description TEXT,
    metadata    TEXT   NOT NULL,
    limits      TEXT,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    updated_at  BIGINT NOT NULL,
    updated_by  TEXT   NOT NULL,
    revision    BIGINT NOT NULL
);
CREATE UNIQUE INDEX consumers_by_name ON consumers (workspace, name);
CREATE INDEX consumers_by_creation ON consumers (created_at, id);
CREATE INDEX consumers_by_external_id ON consumers (external_id);

-- What a consumer is found by: words of its name and its id elsewhere, in lower case.
CREATE TABLE consumer_words (
    word     TEXT NOT NULL,
    consumer TEXT NOT NULL,
    PRIMARY KEY (word, consumer)
);
CREATE INDEX consumer_words_by_consumer ON consumer_words (consumer);

CREATE TABLE keys (
    id                 TEXT PRIMARY KEY,
    workspace          TEXT   NOT NULL,
    consumer           TEXT,
    name               TEXT   NOT NULL,
    environment        TEXT   NOT NULL,
    -- active, disabled, revoked, deleted
    state              TEXT   NOT NULL,
    state_reason       TEXT,
    state_text         TEXT,
    state_by           TEXT,
    state_at           BIGINT,
    -- What `state` and the rest were before the deletion; restored with it.
    state_before       TEXT,
    before_reason      TEXT,
    before_text        TEXT,
    before_by          TEXT,
    before_at          BIGINT,
    not_before         BIGINT,
    expires_at         BIGINT,
    -- Until then more than one secret is good.
    rotating_until     BIGINT,
    -- off, notify, disable, delete; null: the workspace's default
    inactivity_mode    TEXT,
    inactivity_after   BIGINT,
    -- When the key will be disabled or deleted for inactivity, once a notice has said so.
    inactive_at        BIGINT,
    enabled_at         BIGINT,
    restored_at        BIGINT,
    kept_at            BIGINT,
    policy_enabled_at  BIGINT,
    created_at         BIGINT NOT NULL,
    created_by         TEXT   NOT NULL,
    updated_at         BIGINT NOT NULL,
    updated_by         TEXT   NOT NULL,
    revision           BIGINT NOT NULL,
    first_used_at      BIGINT,
    last_used_at       BIGINT,
    last_used_ip       TEXT,
    uses               BIGINT NOT NULL,
    refusals           BIGINT NOT NULL,
    -- When the sweep must look at it next; every change of the key says: now.
    sweep_at           BIGINT NOT NULL DEFAULT 0,
    -- JSON: description, scopes, routes, methods, ip_allow, locations, tags, metadata
    detail             TEXT   NOT NULL
);
CREATE INDEX keys_by_creation ON keys (created_at, id);
-- "Never" sorts as the beginning of time for a use, and as its end for an expiry.
CREATE INDEX keys_by_last_use ON keys ((COALESCE(last_used_at, 0)), id);
CREATE INDEX keys_by_expiry ON keys ((COALESCE(expires_at, 9223372036854775807)), id);
CREATE INDEX keys_by_name ON keys (name, id);
CREATE INDEX keys_by_update ON keys (updated_at, id);
CREATE INDEX keys_by_workspace ON keys (workspace, created_at, id);
CREATE INDEX keys_by_consumer ON keys (consumer, created_at, id);
CREATE INDEX keys_by_environment ON keys (environment, created_at, id);
CREATE INDEX keys_by_state ON keys (state, created_at, id);
CREATE INDEX keys_rotating ON keys (rotating_until) WHERE rotating_until IS NOT NULL;
-- Of those that will go, which were used since?
CREATE INDEX keys_inactive ON keys (last_used_at) WHERE inactive_at IS NOT NULL;
CREATE INDEX keys_to_sweep ON keys (sweep_at, id);
CREATE INDEX keys_not_yet ON keys (not_before) WHERE not_before IS NOT NULL;

-- One key, several secrets: the newest, and those whose grace is not over.
CREATE TABLE secrets (
    id           TEXT PRIMARY KEY,
    key_id       TEXT   NOT NULL,
    number       BIGINT NOT NULL,
    -- blake3:<hex> or sha256:<hex>
    hash         TEXT   NOT NULL,
    -- The sha256 it was imported with, once `hash` is blake3: nodes that still know it by this forget it.
    imported_hash TEXT,
    hint         TEXT,
    created_at   BIGINT NOT NULL,
    retires_at   BIGINT,
    last_used_at BIGINT,
    last_used_ip TEXT,
    uses         BIGINT NOT NULL
);
CREATE UNIQUE INDEX secrets_by_hash ON secrets (hash);
CREATE INDEX secrets_by_key ON secrets (key_id, number);
CREATE INDEX secrets_by_imported_hash ON secrets (imported_hash) WHERE imported_hash IS NOT NULL;

-- What a key is found by: kind is word (lower case, of name, tags and hint), tag or scope.
CREATE TABLE labels (
    kind   TEXT NOT NULL,
    value  TEXT NOT NULL,
    key_id TEXT NOT NULL,
    PRIMARY KEY (kind, value, key_id)
);
CREATE INDEX labels_by_key ON labels (key_id, kind, value);

CREATE TABLE members (
    id          TEXT PRIMARY KEY,
    -- Lower case. Null once erased.
    email       TEXT,
    name        TEXT,
    -- argon2id in PHC form. Null: cannot sign in.
    password    TEXT,
    -- active, disabled, erased
    state       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    updated_at  BIGINT NOT NULL,
    updated_by  TEXT   NOT NULL,
    signed_in_at BIGINT,
    revision    BIGINT NOT NULL
);
CREATE UNIQUE INDEX members_by_email ON members (email);

CREATE TABLE roles (
    member    TEXT NOT NULL,
    workspace TEXT NOT NULL,
    role      TEXT NOT NULL,
    PRIMARY KEY (member, workspace)
);
CREATE INDEX roles_by_workspace ON roles (workspace);

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    -- token or setup
    kind         TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    workspace    TEXT   NOT NULL,
    role         TEXT   NOT NULL,
    hash         TEXT   NOT NULL,
    hint         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    created_by   TEXT   NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT,
    revision     BIGINT NOT NULL
);
CREATE UNIQUE INDEX tokens_by_hash ON tokens (hash);

CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    member       TEXT   NOT NULL,
    hash         TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    ended_at     BIGINT,
    address      TEXT,
    agent        TEXT
);
CREATE UNIQUE INDEX sessions_by_hash ON sessions (hash);
CREATE INDEX sessions_by_member ON sessions (member, created_at);

-- Replies of POSTs, sealed under a key that only their caller has.
CREATE TABLE idempotency (
    caller      TEXT   NOT NULL,
    key_hash    TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    object      TEXT   NOT NULL,
    status      BIGINT NOT NULL,
    reply       TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (caller, key_hash)
);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- The chain. `body` is the canonical JSON that `hash` covers, together with `previous`; the columns beside it repeat
-- parts of it to search by.
CREATE TABLE audit (
    sequence    BIGINT PRIMARY KEY,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    class       TEXT   NOT NULL,
    outcome     TEXT   NOT NULL,
    workspace   TEXT   NOT NULL,
    target      TEXT   NOT NULL,
    body        TEXT   NOT NULL,
    previous    TEXT   NOT NULL,
    hash        TEXT   NOT NULL
);
CREATE INDEX audit_by_time ON audit (at, sequence);
CREATE INDEX audit_by_actor ON audit (actor, sequence);
CREATE INDEX audit_by_target ON audit (target, sequence);
CREATE INDEX audit_by_action ON audit (action, sequence);
CREATE INDEX audit_by_workspace ON audit (workspace, sequence);

-- Names and addresses of an event; `body` has only their salted digest, so a row here can go.
CREATE TABLE audit_personal (
    sequence BIGINT NOT NULL,
    -- Member that the data is about; empty: nobody known.
    person   TEXT   NOT NULL,
    salt     TEXT   NOT NULL,
    data     TEXT   NOT NULL,
    PRIMARY KEY (sequence, person)
);
CREATE INDEX audit_personal_by_person ON audit_personal (person);

-- What was cut off the front of the chain: its last sequence and hash.
CREATE TABLE audit_checkpoints (
    sequence BIGINT PRIMARY KEY,
    hash     TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    by_whom  TEXT   NOT NULL
);

CREATE TABLE outbox (
    id        TEXT PRIMARY KEY,
    revision  BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    type      TEXT   NOT NULL,
    workspace TEXT   NOT NULL,
    data      TEXT   NOT NULL,
    -- When deliveries were made of it.
    spread_at BIGINT
);
CREATE INDEX outbox_by_state ON outbox (spread_at, revision);

CREATE TABLE webhooks (
    id          TEXT PRIMARY KEY,
    workspace   TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    url         TEXT   NOT NULL,
    -- JSON list of event types; empty: all.
    events      TEXT   NOT NULL,
    -- active, disabled
    state       TEXT   NOT NULL,
    state_reason TEXT,
    -- Sealed signing secrets, JSON list of {sealed, until}; the newest first.
    secrets     TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    created_by  TEXT   NOT NULL,
    updated_at  BIGINT NOT NULL,
    updated_by  TEXT   NOT NULL,
    -- Since when nothing has come through.
    failing_since BIGINT,
    revision    BIGINT NOT NULL
);
CREATE UNIQUE INDEX webhooks_by_name ON webhooks (workspace, name);

CREATE TABLE deliveries (
    id           TEXT PRIMARY KEY,
    -- Webhook id, or `email`.
    channel      TEXT   NOT NULL,
    -- Event id; by e-mail: notice id.
    event        TEXT   NOT NULL,
    -- E-mail: member or address. Webhooks: empty.
    recipient    TEXT   NOT NULL,
    -- pending, delivered, failed
    state        TEXT   NOT NULL,
    attempts     BIGINT NOT NULL,
    next_at      BIGINT,
    -- Until then one worker has it.
    leased_until BIGINT,
    last_status  BIGINT,
    last_error   TEXT,
    created_at   BIGINT NOT NULL,
    delivered_at BIGINT
);
CREATE UNIQUE INDEX deliveries_once ON deliveries (event, channel, recipient);
CREATE INDEX deliveries_due ON deliveries (channel, state, next_at);
CREATE INDEX deliveries_by_channel ON deliveries (channel, created_at, id);
CREATE INDEX deliveries_by_age ON deliveries (created_at);

CREATE TABLE notices (
    id           TEXT PRIMARY KEY,
    -- What makes it one of its kind: the same fact is noted once.
    fact         TEXT   NOT NULL,
    kind         TEXT   NOT NULL,
    severity     TEXT   NOT NULL,
    workspace    TEXT   NOT NULL,
    target       TEXT   NOT NULL,
    title        TEXT   NOT NULL,
    data         TEXT   NOT NULL,
    at           BIGINT NOT NULL,
    due_at       BIGINT,
    withdrawn_at BIGINT,
    -- When e-mails were made of it.
    spread_at    BIGINT
);
CREATE UNIQUE INDEX notices_by_fact ON notices (fact);
CREATE INDEX notices_by_time ON notices (at, id);
CREATE INDEX notices_by_target ON notices (target, at);
CREATE INDEX notices_unspread ON notices (at) WHERE spread_at IS NULL;

CREATE TABLE notice_reads (
    notice TEXT   NOT NULL,
    reader TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (notice, reader)
);

-- Which notices of inactivity were recorded for which baseline of a key.
CREATE TABLE inactivity_steps (
    key_id   TEXT   NOT NULL,
    baseline BIGINT NOT NULL,
    days     BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (key_id, baseline, days)
);

CREATE TABLE usage_hours (
    key_id     TEXT   NOT NULL,
    hour       BIGINT NOT NULL,
    route      TEXT   NOT NULL,
    requests   BIGINT NOT NULL,
    refusals   BIGINT NOT NULL,
    status_2xx BIGINT NOT NULL,
    status_3xx BIGINT NOT NULL,
    status_4xx BIGINT NOT NULL,
    status_5xx BIGINT NOT NULL,
    bytes_in   BIGINT NOT NULL,
    bytes_out  BIGINT NOT NULL,
    PRIMARY KEY (key_id, hour, route)
) WITHOUT ROWID;
CREATE INDEX usage_hours_by_hour ON usage_hours (hour, key_id, route);

CREATE TABLE usage_refusals (
    key_id TEXT   NOT NULL,
    hour   BIGINT NOT NULL,
    route  TEXT   NOT NULL,
    reason TEXT   NOT NULL,
    count  BIGINT NOT NULL,
    PRIMARY KEY (key_id, hour, route, reason)
) WITHOUT ROWID;
CREATE INDEX usage_refusals_by_hour ON usage_refusals (hour);

-- Use of keys that are declared in a config file: the rest of them is not kept here.
CREATE TABLE declared_uses (
    key_id         TEXT PRIMARY KEY,
    first_used_at  BIGINT,
    last_used_at   BIGINT,
    last_used_ip   TEXT,
    uses           BIGINT NOT NULL,
    refusals       BIGINT NOT NULL
);

-- Networks a key was used from (/24 and /48), a bounded number of them.
CREATE TABLE networks (
    key_id   TEXT   NOT NULL,
    network  TEXT   NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    PRIMARY KEY (key_id, network)
) WITHOUT ROWID;
