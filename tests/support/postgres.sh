# Owns one PostgreSQL server and its folder, for postgres.rs. Arguments: port, whether commits are durable (on, off), name
# of the owner. Orders come in by line and each has one line for a reply; a reply with `!` in front is a fault. When there
# are no more orders, because whoever gave them has ended, the server is stopped and the folder removed.
port=$1 durable=$2 owner=$3
server=
folder=

# Asked to go, or left alone: no server stays, and no folder.
leave() {
    trap '' HUP INT TERM
    end INT
    [ -z "$folder" ] || rm -rf "$folder"
}

end() {
    [ -n "$server" ] || return 0
    kill -s "$1" "$server"
    wait "$server"
    server=
}

fail() {
    echo "!$1"
    exit 1
}

run() {
    # Should this shell be killed, the server ends too.
    setpriv --pdeathsig INT postgres -D "$folder/data" -p "$port" -k "$folder" -c listen_addresses=127.0.0.1 \
        -c max_connections=300 -c shared_buffers=32MB -c fsync="$durable" -c synchronous_commit="$durable" \
        -c full_page_writes="$durable" >>"$folder/log" 2>&1 &
    server=$!
    tries=0
    # By its socket, which nobody else can have.
    until pg_isready -q -h "$folder" -p "$port"; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ] || ! kill -0 "$server"; then
            end INT
            echo "!it does not start: $(tail -n 3 "$folder/log" | tr '\n' ' ')"
            return 1
        fi
        sleep 0.05
    done
    echo ready
}

trap leave EXIT
# Nobody reads a reply any more: the orders are at their end too, which is seen soon enough.
trap '' PIPE
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Debian keeps the server's programs out of PATH, a folder for each version.
newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
command -v initdb >/dev/null || PATH=$newest:$PATH
for program in initdb postgres psql pg_isready setpriv; do
    command -v "$program" >/dev/null || fail "$program is not installed"
done
command -v psql

folder=$(mktemp -d "${TMPDIR:-/tmp}/keygate-postgres.XXXXXX" || mktemp -d /tmp/keygate-postgres.XXXXXX) ||
    fail "no temporary folder"
initdb -D "$folder/data" -U "$owner" -A trust -E UTF8 --locale=C --no-sync >"$folder/log" 2>&1 ||
    fail "initdb: $(tail -n 3 "$folder/log" | tr '\n' ' ')"
printf 'host all all 127.0.0.1/32 trust\n' >"$folder/data/pg_hba.conf"
echo "$folder"

run || exit 1
while read -r order; do
    case $order in
    start) run ;;
    stop) end INT && echo stopped ;;
    crash) end QUIT && echo crashed ;;
    *) echo "!no such order: $order" ;;
    esac
done
