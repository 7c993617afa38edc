# shellcheck shell=bash
# hiredis for Debian 12, and the servers that tests of the shared tier start: Valkey 8 and the
# release's redis-server, unpacked under build/tools, never installed and no services. Sourced by ./dev.

HIREDIS_MIN=1.2

has_hiredis() {
    local version
    version=$(dpkg-query -W -f='${Version}' libhiredis-dev 2>/dev/null || true)
    [ -n "$version" ] && dpkg --compare-versions "$version" ge "$HIREDIS_MIN"
}

# Debian 12 has hiredis 0.14, and Debian 13's package would replace libc. Its source builds here, as
# packages, in seconds.
need_hiredis() {
    [ "$(release_name)" = bookworm ] || return 0
    has_hiredis && return 0
    local into=$TOOLS/hiredis uri key entry options
    if ! compgen -G "$into/libhiredis-dev_*.deb" >/dev/null; then
        need_packages build-essential dpkg-dev debhelper libssl-dev
        say "building hiredis from Debian 13's source"
        entry=$(apt_entry_for bookworm)
        read -r uri key <<<"$entry" || true
        [ -n "$uri" ] || die "no apt entry for bookworm found: cannot tell where this machine gets packages"
        [ -n "$key" ] || key=/usr/share/keyrings/debian-archive-keyring.gpg
        rm -rf "$into.part"
        mkdir -p "$into.part/lists/partial" "$into.part/archives/partial"
        printf 'Types: deb-src\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: %s\n' "$uri" "$key" \
            >"$into.part/src.sources"
        options=(-qq -o "Dir::Etc::SourceList=$into.part/src.sources" -o Dir::Etc::SourceParts=/dev/null
            -o "Dir::State::Lists=$into.part/lists" -o "Dir::Cache::Archives=$into.part/archives"
            -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User=)
        (
            cd "$into.part"
            apt-get "${options[@]}" update
            apt-get "${options[@]}" --download-only source hiredis
            dpkg-source -x hiredis_*.dsc source
            cd source
            DEB_BUILD_OPTIONS="nocheck nodoc" dpkg-buildpackage -b -uc -us -d
        ) >"$BUILD/hiredis.log" 2>&1 || {
            tail -n 30 "$BUILD/hiredis.log" >&2
            die "hiredis could not be built ($BUILD/hiredis.log)"
        }
        rm -rf "$into"
        mv "$into.part" "$into"
    fi
    as_root dpkg -i "$into"/libhiredis1.1.0_*.deb "$into"/libhiredis-dev_*.deb >>"$BUILD/hiredis.log" 2>&1 ||
        die "the packages in $into could not be installed ($BUILD/hiredis.log)"
}

# unpack_server KIND SUITE PACKAGE...: into build/tools/KIND/root; SUITE empty: the machine's own.
unpack_server() {
    local kind=$1 suite=$2 name
    shift 2
    local into=$TOOLS/$kind
    mkdir -p "$into/deb" "$into/root"
    say "fetching ${kind}-server into build/tools (not installed)"
    for name in "$@"; do
        (
            cd "$into/deb"
            apt-get download -qq "$name${suite:+/$suite}" 2>/dev/null ||
                { apt_update && apt-get download -qq "$name${suite:+/$suite}"; }
            dpkg -x "$(ls -t "${name}"_*.deb | head -n 1)" "$into/root"
        )
    done
}

# The script that starts the unpacked server: with its own libc where it brought one.
write_launcher() {
    local kind=$1 into=$TOOLS/$1
    cat >"$into/$kind-server" <<SCRIPT
#!/bin/sh
root=\$(dirname "\$(readlink -f "\$0")")/root
libraries=\$(echo "\$root"/usr/lib/*-linux-gnu*)
for loader in "\$root"/usr/lib/*-linux-gnu*/ld-linux-*.so.*; do
    [ -e "\$loader" ] && exec "\$loader" --library-path "\$libraries" "\$root/usr/bin/$kind-server" "\$@"
done
LD_LIBRARY_PATH=\$libraries exec "\$root/usr/bin/$kind-server" "\$@"
SCRIPT
    chmod +x "$into/$kind-server"
    "$into/$kind-server" --version >/dev/null || die "$into/$kind-server does not run"
}

need_redis_servers() {
    local own=(libjemalloc2 liblzf1)
    if [ ! -x "$TOOLS/valkey/valkey-server" ]; then
        if [ "$(release_name)" = bookworm ]; then
            unpack_server valkey trixie valkey-server valkey-tools "${own[@]}" libc6 libssl3t64 libsystemd0 \
                libatomic1 libcap2 libgcc-s1 libstdc++6 zlib1g libzstd1 liblzma5 libgcrypt20 liblz4-1 libgpg-error0
        else
            unpack_server valkey "" valkey-server valkey-tools "${own[@]}"
        fi
        write_launcher valkey
    fi
    if [ ! -x "$TOOLS/redis/redis-server" ]; then
        unpack_server redis "" redis-server redis-tools "${own[@]}"
        write_launcher redis
    fi
}
