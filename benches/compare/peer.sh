#!/usr/bin/env bash
# The release build as one of the gateways of a comparison, in the foreground, with everything on.
#
#   benches/compare/peer.sh [--prepare] PORT TLS_PORT UPSTREAM_PORT KEYS CERT KEY WORKERS DIR
#
# KEYS is a file with a plain key a line, DIR an empty folder for config, store and logs. Callers show their key in
# X-API-Key. The management port is $ADMIN_PORT, else the one after TLS_PORT. The program is $KEYGATE_BIN, else that of
# `cargo build --release`.
#
# Keys are managed ones: they are imported into a store before the first start, and a copy of that store is kept in the
# target folder for the next comparison with the same keys. benches/compare/revoke.sh ends one. With --prepare, config and
# store are written and nothing is run: then `keygate serve --config DIR/keygate.yaml` does the rest. If they are there
# already, --prepare leaves them alone.
set -euo pipefail

prepare=
if [[ ${1-} == --prepare ]]; then
    prepare=yes
    shift
fi
if (($# != 8)); then
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
# Told again, of keys that have changed: whoever ends a key calls revoke.sh.
[[ -z $prepare || ! -e $8/ready ]] || exit 0
readonly PORT=$1 TLS_PORT=$2 UPSTREAM_PORT=$3 KEYS=$(realpath "$4") CERT=$(realpath "$5") KEY=$(realpath "$6") WORKERS=$7
mkdir -p "$8"
readonly DIR=$(realpath "$8") ADMIN=${ADMIN_PORT:-$(($2 + 1))}
readonly SELF=$(realpath "${BASH_SOURCE[0]}")
readonly ROOT=${SELF%/benches/compare/*}
readonly TARGET=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
readonly PROGRAM=$(realpath "${KEYGATE_BIN:-$TARGET/release/keygate}")
# The unit of systemd and the image set this too.
export MIMALLOC_PURGE_DELAY=0
cd "$DIR"
mkdir -p data logs
chmod 0700 data

# Limits are those that no load of these machines reaches, so that each is counted and none refuses.
config() {
    local none='{ rate: 1000000/s }'
    cat <<END
threads: $WORKERS
management: { address: 127.0.0.1:$ADMIN }
# Folders of their own: whatever is written beside the config file wakes the one who watches it.
store: sqlite:data/keygate.db
log: { access_file: logs/access.log }
admission: { failed_attempts: $none }
upstreams:
  app: { endpoints: ["http://127.0.0.1:$UPSTREAM_PORT"] }
routes:
  - name: app
    match: { path: / }
    upstream: app
    timeout: 60s
    limits: $none
    auth: { locations: [{ header: X-API-Key }, { header: apikey }], scopes: app:use }
listeners:
END
    "$@"
}

serving() {
    echo "  - { name: plain, address: \"127.0.0.1:$PORT\" }"
    echo "  - { name: tls, address: \"127.0.0.1:$TLS_PORT\", tls: { cert: \"file:$CERT\", key: \"file:$KEY\" } }"
}

# Nobody may take the gateway that only fills the store for the one to be measured.
filling() { echo '  - { address: "127.0.0.1:0" }'; }

lines() {
    awk 'NF { printf "{\"name\": \"key-%d\", \"secret\": \"%s\", \"consumer\": \"consumer-%d\", \"scopes\": [\"app:use\"], \"limits\": {\"rate\": \"1000000/s\"}}\n", NR, $1, NR % 10 }' "$KEYS"
}

gateway=
end() {
    [[ -n $gateway ]] || return 0
    kill "$gateway" 2>/dev/null || true
    wait "$gateway" 2>/dev/null || true
    gateway=
}
trap end EXIT

fill() {
    local number
    config filling >filling.yaml
    launch --setup-token-file setup-token
    until [[ -s setup-token ]]; do
        kill -0 "$gateway" 2>/dev/null || failed filling.log
        sleep 0.05
    done
    export KEYGATE_CONFIG=filling.yaml KEYGATE_TOKEN
    KEYGATE_TOKEN=$(<setup-token)
    "$PROGRAM" tokens create compare --role owner --expires never --save-to token >admin.log 2>&1 || failed admin.log
    for number in 0 1 2 3 4 5 6 7 8 9; do
        "$PROGRAM" consumers create "consumer-$number" --rate 1000000/s >admin.log 2>&1 || failed admin.log
    done
    lines | "$PROGRAM" keys import - >import.log 2>&1 || failed import.log
    unset KEYGATE_CONFIG KEYGATE_TOKEN
    end
    # New keys are looked through once for what time will do to them, soon after a start. That is no part of any request.
    launch
    settle
    end
}

launch() {
    "$PROGRAM" serve --config filling.yaml "$@" >filling.log 2>&1 &
    gateway=$!
    until "$PROGRAM" health --config filling.yaml >/dev/null 2>&1; do
        kill -0 "$gateway" 2>/dev/null || failed filling.log
        sleep 0.05
    done
}

# Until nothing is done for eight seconds; ten minutes at most.
settle() {
    local before now=0 calm=0
    while ((calm < 8 && SECONDS < 600)); do
        sleep 1
        before=$now
        now=$(awk '{ print $14 + $15 }' "/proc/$gateway/stat")
        if ((now - before > 5)); then calm=0; else calm=$((calm + 1)); fi
    done
}

failed() {
    tail -n 5 "$1" >&2
    exit 1
}

# A store belongs to its keys, to the schema and to this script.
store() {
    local kept made
    kept=$TARGET/compare/$(sha256sum <"$KEYS" | cut -c 1-32)
    made=$(cat "$ROOT"/src/store/migrations/* "$SELF" | sha256sum)
    if [[ -e $kept/made && $(<"$kept/made") == "$made" ]]; then
        cp -r --reflink=auto "$kept/." .
        return
    fi
    fill
    rm -rf "$kept" "$kept.new"
    mkdir -p "$kept.new"
    cp -r data token "$kept.new"
    echo "$made" >"$kept.new/made"
    mv -T "$kept.new" "$kept"
}

[[ -e ready ]] || store
config serving >keygate.yaml
: >ready
[[ -z $prepare ]] || exit 0
exec "$PROGRAM" serve --config keygate.yaml
