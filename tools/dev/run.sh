# shellcheck shell=bash
# ./dev run: install, build, pull the model, start Deja, show an exact and a semantic hit, stay in
# the foreground until SIGINT or SIGTERM and pass that on. Sourced by ./dev.

MODEL=all-minilm-l6-v2

# The value of --listen among the arguments, DEJA_SERVER__LISTEN, or the default.
listen_address() {
    local found=${DEJA_SERVER__LISTEN:-127.0.0.1:7070}
    while [ $# -gt 0 ]; do
        case "$1" in
        --listen) found=${2:-$found} ;;
        --listen=*) found=${1#--listen=} ;;
        esac
        shift
    done
    echo "$found"
}

# One request without needing curl on the machine: prints the body, fails unless 2xx.
http_get() {
    python3 - "$1" <<'PY'
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    sys.stdout.write(opener.open(sys.argv[1], timeout=5).read().decode())
except Exception as error:
    sys.exit(str(error))
PY
}

wait_until_ready() {
    local url=$1 pid=$2
    while kill -0 "$pid" 2>/dev/null; do
        http_get "$url/readyz" >/dev/null 2>&1 && return 0
        read -r -t 0.1 <> <(:) || true
    done
    return 1
}

pull_model() {
    if "$DEJA" model verify "$MODEL" --data "$1" >/dev/null 2>&1; then
        return 0
    fi
    say "pulling the embedding model $MODEL (about 90 MB, once)"
    if ! "$DEJA" model pull "$MODEL" --data "$1"; then
        say "the model could not be fetched: Deja starts with its lexical embedder, which knows words"
        say "but not meanings. \"deja model pull $MODEL\" gets it later."
    fi
}

word_run() {
    local data=${DEJA_DATA:-$BUILD/data} listen url rc=0
    need_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}"
    build_kind release deja
    DEJA=$BUILD/release/deja
    mkdir -p "$data"
    pull_model "$data"
    listen=$(listen_address "$@")
    url=http://$listen
    # Or the greeting below would be the other one's.
    ! http_get "$url/livez" >/dev/null 2>&1 || die "a Deja runs at $url already: end it, or choose another --listen"

    # In its own process group, so that Ctrl-C on a terminal reaches it once: through us.
    set -m
    "$DEJA" serve --listen "$listen" --data "$data" "$@" &
    local daemon=$!
    set +m
    # shellcheck disable=SC2064
    trap "kill -INT $daemon 2>/dev/null || true" INT
    # shellcheck disable=SC2064
    trap "kill -TERM $daemon 2>/dev/null || true" TERM HUP
    if ! wait_until_ready "$url" "$daemon"; then
        wait "$daemon" || rc=$?
        die "deja serve ended before it was ready (exit code $rc)"
    fi
    python3 tools/demonstration.py "$url" || say "the demonstration did not end as it should"
    say "ready: Deja runs until Ctrl-C"
    while kill -0 "$daemon" 2>/dev/null; do
        rc=0
        wait "$daemon" || rc=$?
    done
    exit "$rc"
}
