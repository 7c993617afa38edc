# shellcheck shell=bash
# ./dev fresh SUITE: "works on a machine with nothing installed", tried instead of believed. A
# minimal Debian root is made from the machine's own apt source, the last commit is cloned into it,
# and "./dev run", "./dev test" and the commands of the README run there. Sourced by ./dev.
#
# Mounts live in a mount namespace of their own and processes in a process namespace, so that both
# are gone when the command ends, however it ends.

# What the machine needs to reach its package indexes goes along: certificates, proxies, pip's and
# npm's settings.
fresh_take_along() {
    local root=$1 file
    mkdir -p "$root/etc/ssl/certs" "$root/usr/local/share/ca-certificates"
    if [ -r /etc/ssl/certs/ca-certificates.crt ]; then
        cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
        # Kept when the package ca-certificates writes the bundle anew.
        cp /etc/ssl/certs/ca-certificates.crt "$root/usr/local/share/ca-certificates/machine.crt"
    fi
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/npmrc /root/.npmrc /root/.config/pip/pip.conf; do
        if [ -r "$file" ]; then
            mkdir -p "$root$(dirname "$file")"
            cp -L "$file" "$root$file"
        fi
    done
    for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
        if [ -f "$file" ] && grep -qi '^Acquire' "$file"; then
            mkdir -p "$root$(dirname "$file")"
            cp "$file" "$root$file"
        fi
    done
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
}

fresh_environment() {
    env | grep -E '^(https?_proxy|HTTPS?_PROXY|no_proxy|NO_PROXY|PIP_CERT|PIP_INDEX_URL|PIP_DEFAULT_TIMEOUT|SSL_CERT_FILE|SSL_CERT_DIR|CURL_CA_BUNDLE|REQUESTS_CA_BUNDLE|NODE_EXTRA_CA_CERTS|npm_config_[a-z_]*)=' || true
}

fresh_root() {
    local suite=$1 root=$2 entry uri key
    entry=$(apt_entry_for "$suite")
    [ -n "$entry" ] || entry=$(apt_entry_for "$(release_name)")
    read -r uri key <<<"$entry" || true
    [ -n "$uri" ] || die "no apt entry found to take $suite from"
    [ -n "$key" ] || key=/usr/share/keyrings/debian-archive-keyring.gpg
    if [ -e "$root" ]; then
        say "removing the root of the run before"
        rm -rf --one-file-system "$root"
    fi
    mkdir -p "$root"
    say "debootstrap $suite"
    local began=$SECONDS
    if ! as_root debootstrap --variant=minbase --keyring="$key" "$suite" "$root" "$uri" \
        >"$BUILD/fresh/$suite.debootstrap.log" 2>&1; then
        tail -n 20 "$BUILD/fresh/$suite.debootstrap.log" >&2
        die "debootstrap failed"
    fi
    say "a bare $suite in $((SECONDS - began)) s"
}

# What happens inside the root: run as a script there. $1.. : the steps; run, test and readme by
# default.
fresh_script() {
    cat <<'INSIDE'
set -u
cd /home/deja/deja
step() { printf '\n== fresh: %s (%s s)\n' "$1" "$SECONDS"; }

try_run() {
    step "./dev run, $1 time"
    ./dev run --listen "127.0.0.1:$FRESH_PORT" >"/tmp/run-$1.log" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null && ! grep -q '^== ready' "/tmp/run-$1.log"; do sleep 0.2; done
    step "ready or ended"
    kill -INT "$pid" 2>/dev/null
    rc=0
    wait "$pid" || rc=$?
    cat "/tmp/run-$1.log"
    step "./dev run ended with exit code $rc"
    [ "$rc" = 0 ] && grep -q '^== ready' "/tmp/run-$1.log" && grep -q 'semantic hit' "/tmp/run-$1.log"
}

rc=0
for what in $FRESH_STEPS; do
    case "$what" in
    run) { try_run first && try_run second; } || rc=1 ;;
    readme)
        step "the README, followed to the letter (its ./dev test is a step of its own)"
        python3 tools/readme_walk.py --skip "./dev test" || rc=1
        ;;
    *)
        step "./dev $what"
        ./dev "$what" || rc=1
        ;;
    esac
    [ "$rc" = 0 ] || break
done
step "done, exit code $rc"
exit $rc
INSIDE
}

word_fresh() {
    local suite=${1:-}
    [ -n "$suite" ] || die "which suite? ./dev fresh bookworm, or ./dev fresh trixie"
    shift
    [ "$(id -u)" -eq 0 ] || exec sudo "$ROOT/dev" fresh "$suite" "$@"
    need_packages debootstrap git ca-certificates
    local root=${DEJA_FRESH_DIR:-$BUILD/fresh}/$suite began=$SECONDS
    mkdir -p "$BUILD/fresh"
    fresh_root "$suite" "$root"
    fresh_take_along "$root"
    mkdir -p "$root/home/deja"
    git clone -q --no-hardlinks "$ROOT" "$root/home/deja/deja"
    if [ -n "$(shared_folder)" ]; then
        cp -r "$(shared_folder)" "$root/home/deja/shared"
    fi
    fresh_script >"$root/home/deja/steps"
    local keep=()
    mapfile -t keep < <(fresh_environment)
    say "the last commit, cloned into it; now: ${*:-run test readme}"
    local rc=0
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child --propagation private bash -ec '
        root=$1
        shift
        mount -t proc proc "$root/proc"
        mount --bind /dev "$root/dev"
        mkdir -p "$root/dev/pts"
        mount --bind /dev/pts "$root/dev/pts"
        mkdir -p "$root/dev/shm"
        mount -t tmpfs shm "$root/dev/shm"
        mount -t tmpfs tmp "$root/tmp"
        exec chroot "$root" env -i "$@" bash /home/deja/steps
    ' fresh "$root" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        LANG=C.UTF-8 TERM=dumb "${keep[@]}" FRESH_STEPS="${*:-run test readme}" \
        FRESH_PORT="${FRESH_PORT:-7070}" || rc=$?
    say "fresh $suite: exit code $rc after $((SECONDS - began)) s (the root stays in $root)"
    exit "$rc"
}
