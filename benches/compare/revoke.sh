#!/usr/bin/env bash
# Ends a key of a gateway that benches/compare/peer.sh runs, as a user would: two calls of the admin API.
#
#   benches/compare/revoke.sh ADMIN_PORT DIR PLAIN_KEY
set -euo pipefail
if (($# != 3)); then
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
readonly API=http://127.0.0.1:$1/v1 TOKEN=$(<"$2/token") PLAIN=$3

post() {
    curl -sS --fail-with-body -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d "$2" "$API/$1"
}

found=$(post verify "{\"key\": \"$PLAIN\"}")
[[ $found =~ key_[0-9a-z]{26} ]]
post "keys/${BASH_REMATCH[0]}/revoke" '{"reason": "compromised"}' >/dev/null
