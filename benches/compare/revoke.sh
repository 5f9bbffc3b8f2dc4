#!/usr/bin/env bash
# Ends a key of a gateway that benches/compare/peer.sh runs, as a user would: two calls of the admin API.
#
#   benches/compare/revoke.sh ADMIN_PORT DIR PLAIN_KEY
set -euo pipefail
# Lengths are those of bytes.
export LC_ALL=C
if (($# != 3)); then
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
readonly PORT=$1 TOKEN=$(<"$2/token") PLAIN=$3

# By the shell itself: to start curl takes longer than what is measured.
post() {
    exec 3<>"/dev/tcp/127.0.0.1/$PORT"
    printf 'POST /v1/%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
        "$1" "$TOKEN" ${#2} "$2" >&3
    IFS= read -r -t 10 -d '' answer <&3 || true
    exec 3>&-
    if [[ $answer != "HTTP/1.1 2"* ]]; then
        echo "$answer" >&2
        exit 1
    fi
}

post verify "{\"key\": \"$PLAIN\"}"
[[ $answer =~ key_[0-9a-z]{26} ]]
post "keys/${BASH_REMATCH[0]}/revoke" '{"reason": "compromised"}'
