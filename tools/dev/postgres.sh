# shellcheck shell=bash
# PostgreSQL with pgvector for the tests: unpacked under build/tools, never installed, never a service
# of this machine. Sourced by ./dev.

# Debian 12 has no package of it: its source is Debian 13's, to the byte.
PGVECTOR_SOURCE=pool/main/p/pgvector/pgvector_0.8.0.orig.tar.gz
PGVECTOR_SHA256=867a2c328d4928a5a9d6f052cd3bc78c7d60228a9b914ad32aa3db88e9de27b0

postgres_version() {
    case "$(release_name)" in
    bookworm) echo 15 ;;
    *) apt-cache search --names-only '^postgresql-[0-9]+$' | sed -n 's/^postgresql-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1 ;;
    esac
}

# Libraries the packages stand on and this machine lacks, as apt would choose them; not what only
# compiles queries.
missing_libraries() {
    apt-get install -s --no-install-recommends "$@" 2>/dev/null |
        sed -n 's/^Inst \(lib[^ ]*\) .*/\1/p' | grep -vE '^lib(llvm|z3|perl|python|c6$|json-perl)' || true
}

fetch_pgvector_source() {
    local into=$1 uri rest
    read -r uri rest <<<"$(apt_entry_for "$(release_name)")" || true
    [ -n "$uri" ] || die "no apt entry found: cannot tell where to fetch pgvector from"
    python3 - "$uri/$PGVECTOR_SOURCE" "$into/pgvector.tar.gz" <<'PYTHON'
import sys
import urllib.request

with urllib.request.urlopen(sys.argv[1], timeout=60) as answer, open(sys.argv[2], "wb") as file:
    file.write(answer.read())
PYTHON
    echo "$PGVECTOR_SHA256  $into/pgvector.tar.gz" | sha256sum -c --quiet - ||
        die "$uri/$PGVECTOR_SOURCE is not the file it should be"
    tar -xzf "$into/pgvector.tar.gz" -C "$into" --strip-components=1
}

build_pgvector() {
    local version=$1 root=$TOOLS/debian from
    unpack_packages "postgresql-server-dev-$version" libpq-dev
    from=$(mktemp -d "$TOOLS/pgvector.XXXXXX")
    fetch_pgvector_source "$from"
    say "building pgvector for PostgreSQL $version"
    gcc -O2 -ftree-vectorize -fassociative-math -fno-signed-zeros -fno-trapping-math -fPIC -shared \
        -w -I"$root/usr/include/postgresql/$version/server" \
        -I"$root/usr/include/postgresql" -I"$from/src" "$from"/src/*.c \
        -o "$root/usr/lib/postgresql/$version/lib/vector.so"
    cp "$from/vector.control" "$root/usr/share/postgresql/$version/extension/"
    cp "$from/sql/vector.sql" "$root/usr/share/postgresql/$version/extension/vector--0.8.0.sql"
    rm -rf "$from"
}

need_postgres() {
    local version root=$TOOLS/debian libraries=()
    [ -e "$root/postgres.done" ] && return 0
    version=$(postgres_version)
    [ -n "$version" ] || { apt_update && version=$(postgres_version); }
    [ -n "$version" ] || die "no package postgresql-NN found"
    mapfile -t libraries < <(missing_libraries "postgresql-$version" "postgresql-client-$version")
    unpack_packages "postgresql-$version" "postgresql-client-$version" libpq5 "${libraries[@]}"
    if [ "$(release_name)" = bookworm ]; then
        build_pgvector "$version"
    else
        unpack_packages "postgresql-$version-pgvector"
    fi
    touch "$root/postgres.done"
}
