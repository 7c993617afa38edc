# shellcheck shell=bash
# What Deja needs from the system's package manager. Sourced by ./dev.
#
# Rules: ask dpkg first, so that a machine that has everything pays nothing; plain package names
# only; never start a service. What Debian 12 lacks (llhttp, yyjson) comes from Debian 13, by a source
# entry made from the machine's own one and pinned so low that it only fills gaps (docs/adr/0002);
# hiredis, whose package of Debian 13 wants its libc, is built from its source (docs/adr/0007).

PACKAGES_BUILD=(gcc libc6-dev meson ninja-build pkg-config libuv1-dev libllhttp-dev
    libcurl4-openssl-dev libssl-dev libyyjson-dev libfyaml-dev liblmdb-dev libzstd-dev zlib1g-dev
    libutf8proc-dev libpcre2-dev libxxhash-dev libhiredis-dev libpq-dev libsqlite3-dev libcmocka-dev)
PACKAGES_RUN=(ca-certificates python3 python3-pip)
PACKAGES_TEST=(g++ python3 python3-venv ca-certificates git openssl curl)

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this step needs root: $* (no sudo on this machine)"
    fi
}

missing_packages() {
    local name
    for name in "$@"; do
        # dpkg also knows "not-installed" ones, when another package speaks of them.
        case " $(dpkg-query -W -f='${db:Status-Status} ' "$name" 2>/dev/null || true)" in
        *" installed "*) ;;
        *) echo "$name" ;;
        esac
    done
}

# Prints "URI keyring" of the machine's own apt entry that serves the suite $1; the keyring may be
# empty. Reads both formats: one-line .list and deb822 .sources.
apt_entry_for() {
    local suite=$1 files=()
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] && files+=("$file")
    done
    [ ${#files[@]} -gt 0 ] || return 0
    awk -v suite="$suite" '
        function flush() {
            if (uri != "" && (" " suites " ") ~ (" " suite " ") && enabled != "no" && types ~ /deb/ && !done) {
                done = 1
                print uri, key
            }
            uri = suites = key = types = enabled = ""
        }
        FNR == 1 { flush() }
        FILENAME ~ /\.sources$/ {
            if ($0 ~ /^#/) next
            if ($0 ~ /^[ \t]*$/) { flush(); next }
            if (match($0, /^[A-Za-z-]+:/)) {
                name = tolower(substr($0, 1, RLENGTH - 1))
                value = substr($0, RLENGTH + 1)
                gsub(/^[ \t]+|[ \t]+$/, "", value)
                if (name == "uris") { split(value, parts, " "); uri = parts[1] }
                if (name == "suites") suites = value
                if (name == "types") types = value
                if (name == "enabled") enabled = tolower(value)
                if (name == "signed-by" && value ~ /^\//) key = value
            }
            next
        }
        $1 == "deb" {
            line = $0
            option = ""
            if (match(line, /\[[^]]*\]/)) {
                option = substr(line, RSTART + 1, RLENGTH - 2)
                line = substr(line, 1, RSTART - 1) substr(line, RSTART + RLENGTH)
            }
            n = split(line, parts, " ")
            if (n >= 3) {
                types = "deb"; uri = parts[2]; suites = parts[3]
                if (match(option, /signed-by=[^ ]+/)) key = substr(option, RSTART + 10, RLENGTH - 10)
                flush()
            }
        }
        END { flush() }
    ' "${files[@]}"
}

release_name() {
    ( . /etc/os-release && echo "${VERSION_CODENAME:-}" )
}

# Debian 12 only: the source entry for Debian 13 and its pin. Returns 0 when a file was written.
add_trixie_source() {
    local source_file=/etc/apt/sources.list.d/deja-trixie.sources
    local pin_file=/etc/apt/preferences.d/deja-trixie
    [ "$(release_name)" = bookworm ] || return 1
    [ -e "$source_file" ] && [ -e "$pin_file" ] && return 1
    local uri key entry
    entry=$(apt_entry_for bookworm)
    read -r uri key <<<"$entry" || true
    [ -n "$uri" ] || die "no apt entry for bookworm found: cannot tell where this machine gets packages"
    if [ -z "$key" ] && [ -r /usr/share/keyrings/debian-archive-keyring.gpg ]; then
        key=/usr/share/keyrings/debian-archive-keyring.gpg
    fi
    say "adding Debian 13 as a package source, pinned at 50: it only fills what Debian 12 lacks"
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 50\n' | as_root tee "$pin_file" >/dev/null
    {
        printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\n' "$uri"
        [ -z "$key" ] || printf 'Signed-By: %s\n' "$key"
    } | as_root tee "$source_file" >/dev/null
}

# Refuses a plan that would move libc to another upstream version.
check_libc_stays() {
    local plan now then
    plan=$(as_root apt-get install -s --no-install-recommends "$@" 2>/dev/null) || return 1
    now=$(dpkg-query -W -f='${Version}\n' libc6 | head -n 1)
    then=$(sed -n 's/^Inst libc6 .*(\([^ ]*\) .*/\1/p' <<<"$plan" | head -n 1)
    if [ -n "$then" ] && [ "${then%%-*}" != "${now%%-*}" ]; then
        die "installing $* would replace libc $now by $then: not done"
    fi
}

apt_update() {
    say "apt-get update"
    as_root apt-get update -qq
}

apt_install() {
    check_libc_stays "$@" &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            -o Dpkg::Use-Pty=0 "$@"
}

# Installs what of $@ is missing; says nothing and returns at once when nothing is.
need_packages() {
    local missing=()
    case " $* " in
    *" libhiredis-dev "*) need_hiredis ;;
    esac
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing packages (no apt-get here): ${missing[*]}"
    local updated=no
    if add_trixie_source; then
        apt_update
        updated=yes
    fi
    say "installing: ${missing[*]}"
    if apt_install "${missing[@]}" >"$BUILD/apt.log" 2>&1; then
        return 0
    fi
    if [ "$updated" = no ]; then
        apt_update
        apt_install "${missing[@]}" >"$BUILD/apt.log" 2>&1 && return 0
    fi
    cat "$BUILD/apt.log" >&2
    die "apt-get could not install: ${missing[*]}"
}

# Fetches Debian packages and unpacks them under build/tools/debian without installing them: servers
# and load generators for bench/ never become services of this machine.
unpack_packages() {
    local into=$TOOLS/debian name
    mkdir -p "$into/deb"
    for name in "$@"; do
        [ -e "$into/$name.done" ] && continue
        say "fetching $name into build/tools (not installed)"
        (
            cd "$into/deb"
            apt-get download -qq "$name" 2>/dev/null || { apt_update && apt-get download -qq "$name"; }
            dpkg -x "$(ls -t "${name}"_*.deb | head -n 1)" "$into"
        )
        touch "$into/$name.done"
    done
}
