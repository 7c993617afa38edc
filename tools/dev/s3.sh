# shellcheck shell=bash
# A real S3 server for the tests: versitygw (Apache-2.0), compiled from the Go module proxy into
# build/tools/versitygw, once. Sourced by ./dev.

# 1.2.0: checks signatures, knows conditional writes, and is the last line that Go 1.24 compiles,
# which Debian 13 has; newer ones would bring another 60 MB of toolchain.
VERSITYGW=v1.2.0

need_s3_server() {
    local into=$TOOLS/versitygw try
    if [ -e "$into/.stamp" ] && [ "$(cat "$into/.stamp")" = "$VERSITYGW" ]; then
        return 0
    fi
    need_go
    say "compiling versitygw $VERSITYGW into build/tools (once, one to two minutes)"
    rm -rf "$into"
    mkdir -p "$into"
    for try in 1 2 3; do
        if env -u GOROOT GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="-modcacherw -trimpath -buildvcs=false" \
            GOPATH="$into/work" GOCACHE="$into/work/cache" GOBIN="$into" GOENV=off \
            "$TOOLS/go/go" install -ldflags "-s -w" "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" \
            >"$TOOLS/versitygw.log" 2>&1; then
            rm -rf "$into/work"
            echo "$VERSITYGW" >"$into/.stamp"
            return 0
        fi
        [ "$try" = 3 ] || sleep 2
    done
    cat "$TOOLS/versitygw.log" >&2
    die "versitygw could not be compiled"
}
