# shellcheck shell=bash
# Go for the tests of clients/go and of go-redis, and for compiling what tests start: the machine's own,
# or Debian 13's, unpacked and not installed. Sourced by ./dev.

# Prints the path of a Go >= 1.24.
find_go() {
    local version
    if command -v go >/dev/null; then
        version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
        if [ "${version:-0}" -ge 24 ]; then
            echo "$(GOTOOLCHAIN=local go env GOROOT)/bin/go"
            return 0
        fi
    fi
    if add_trixie_source; then
        apt_update
    fi
    unpack_packages golang-1.24-go golang-1.24-src
    echo "$TOOLS/debian/usr/lib/go-1.24/bin/go"
}

# build/tools/go/go, and beside it the modules of the tests, as their go.sum has them: a test fetches
# nothing. What is compiled is kept there, too.
need_go() {
    local from=tests/integration/go into=$TOOLS/go stamp go try
    stamp=$(cat "$from/go.mod" "$from/go.sum" | sha256sum)
    if [ -x "$into/go" ] && [ "$(cat "$into/.stamp" 2>/dev/null)" = "$stamp" ]; then
        return 0
    fi
    need_packages "${PACKAGES_TEST[@]}"
    mkdir -p "$into"
    go=$(find_go)
    ln -sfn "$go" "$into/go"
    say "Go modules of $from into build/tools/go"
    for try in 1 2 3; do
        if (cd "$from" && env -u GOROOT GOTOOLCHAIN=local GOENV=off GOFLAGS="-mod=readonly -modcacherw" \
            GOPATH="$into/path" GOCACHE="$into/cache" "$into/go" mod download) >"$TOOLS/go.log" 2>&1; then
            echo "$stamp" >"$into/.stamp"
            return 0
        fi
        [ "$try" = 3 ] || sleep 2
    done
    cat "$TOOLS/go.log" >&2
    die "the Go modules of $from could not be fetched"
}
