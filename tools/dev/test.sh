# shellcheck shell=bash
# ./dev test and its relatives. Every stage leaves a result file under build/results; tools/
# test_report.py adds them up and prints the last line. Sourced by ./dev.

RESULTS=$BUILD/results
# What runs under ThreadSanitizer in ./dev test: the rooms where threads meet. All of them: ./dev soak.
TSAN_SUITES=(loop obs net store cache lib embed proxy)

# stage NAME RESULT_FILE COMMAND...: runs it; a command that fails without leaving a result file
# counts as one failed test.
stage() {
    local name=$1 file=$2 rc=0 began=$SECONDS
    shift 2
    say "$name"
    rm -f "$file"
    "$@" || rc=$?
    echo "$name|$file|$rc|$((SECONDS - began))" >>"$RESULTS/stages"
}

report() { python3 tools/test_report.py "$RESULTS/stages"; }

meson_test() {
    # Not detect_stack_use_after_return: gcc 12 then misaligns locals of 64 bytes (AVX-512).
    local kind=$1
    shift
    local runner=()
    # gcc 12's ThreadSanitizer needs a memory layout with little randomness.
    if [ "$kind" = tsan ] && setarch "$(uname -m)" -R true 2>/dev/null; then
        runner=(setarch "$(uname -m)" -R)
    fi
    ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1} \
        LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$ROOT/tests/lsan.supp:print_suppressions=0} \
        UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1} \
        TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1} \
        DEJA_SHARED=$(shared_folder) DEJA_TEST_MODEL=$(test_model) \
        "${runner[@]}" meson test -C "$BUILD/$kind" --no-rebuild --num-processes "$(nproc)" \
        --print-errorlogs "$@"
}

# ../shared beside the checkout, if it is there: labelled data and the encoder's reference.
shared_folder() {
    local folder
    for folder in "${DEJA_SHARED:-}" "$ROOT/../shared"; do
        [ -n "$folder" ] && [ -d "$folder" ] && { (cd "$folder" && pwd); return 0; }
    done
    echo ""
}

# The model for tests that need the real one: fetched once, by the program under test. Without
# network those tests say that they were skipped.
need_model() {
    local data=$TOOLS/model-data
    [ -e src/tools/model.c ] || return 0
    mkdir -p "$data"
    "$BUILD/release/deja" model pull "$MODEL" --data "$data" >"$TOOLS/model.log" 2>&1 ||
        say "the model could not be fetched: tests that need it are skipped ($TOOLS/model.log)"
}

test_model() {
    local folder=$TOOLS/model-data/models/$MODEL
    [ -e "$folder/model.safetensors" ] && echo "$folder" || echo ""
}

unit_stage() {
    local kind=$1 name=$2
    shift 2
    stage "$name" "$BUILD/$kind/meson-logs/testlog.json" meson_test "$kind" "$@"
}

pytest_stage() {
    local name=$1 binary=$2
    shift 2
    local junit=$RESULTS/$(tr -c 'a-z0-9\n' _ <<<"${name,,}").xml
    stage "$name" "$junit" env DEJA_BIN="$binary" DEJA_TOOLS="$TOOLS" DEJA_SHARED="$(shared_folder)" \
        ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:exitcode=99:quarantine_size_mb=16}" \
        LSAN_OPTIONS="${LSAN_OPTIONS:-suppressions=$ROOT/tests/lsan.supp:print_suppressions=0}" \
        UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}" \
        "$TOOLS/venv/bin/python" -m pytest -q --no-header -p no:cacheprovider --tb=short \
        --junitxml="$junit" -o junit_family=xunit2 -c tests/integration/pytest.ini \
        --rootdir tests/integration "$@"
}

need_test_tools() {
    need_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}" "${PACKAGES_TEST[@]}"
    need_venv venv tests/requirements.txt
    need_venv litellm tests/requirements-litellm.txt
    need_node
    need_postgres
    need_redis_servers
    need_go
    need_s3_server
    unpack_packages nginx libpcre2-8-0 # tests/integration/test_smuggling.py compares with it
}

begin_results() {
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
    : >"$RESULTS/stages"
}

lint_stage() {
    stage "lint: layers" "$RESULTS/layers.none" python3 tools/check_layers.py
    stage "lint: style" "$RESULTS/style.none" python3 tools/check_style.py
    stage "lint: failed allocations" "$RESULTS/allocations.none" python3 tools/check_allocations.py
    stage "lint: documents" "$RESULTS/docs.none" python3 tools/check_docs.py
    stage "lint: format" "$RESULTS/format.none" format_check
}

format_check() { c_files | xargs -r "$TOOLS/venv/bin/clang-format" --dry-run -Werror --ferror-limit=3; }

has_daemon() { [ -e src/daemon/main.c ]; }

word_test() {
    begin_results
    case "${1:-all}" in
    all) test_all ;;
    lint)
        need_venv venv tests/requirements.txt
        lint_stage
        ;;
    integration | integration/* | test_*) test_integration "${1#integration/}" "${@:2}" ;;
    */*)
        build_kind release
        unit_stage release "unit: $1" "$1"
        ;;
    *)
        build_kind release
        unit_stage release "unit: $1" --suite "$1"
        ;;
    esac
    report
}

test_integration() {
    local what=$1
    shift
    need_test_tools
    build_kind release
    if [ "$what" = integration ]; then
        what=tests/integration
    else
        what=tests/integration/${what%.py}.py
    fi
    pytest_stage "integration" "$BUILD/release/deja" "$what" "$@"
}

test_all() {
    need_test_tools
    lint_stage
    build_kind release
    need_model
    unit_stage release "unit"
    build_kind asan
    unit_stage asan "unit and fuzz replays under ASan+UBSan"
    build_kind tsan
    local suites=() suite
    for suite in "${TSAN_SUITES[@]}"; do
        [ -e "tests/unit/$suite/meson.build" ] && suites+=(--suite "$suite")
    done
    [ ${#suites[@]} -eq 0 ] || unit_stage tsan "concurrent rooms under TSan" "${suites[@]}"
    if has_daemon; then
        integration_stages
    fi
}

# Both at once: they wait more than they work. What the second has to say comes when it has ended.
integration_stages() {
    local log=$RESULTS/asan.log
    set -m # a group of its own, so that who stops this stops all of it
    DEJA_TEST_SHARE=1/2 pytest_stage "integration under ASan+UBSan" "$BUILD/asan/deja" -m "not heavy" \
        tests/integration >"$log" 2>&1 &
    local asan=$!
    set +m
    trap 'kill -INT -- "-$asan"' INT TERM
    DEJA_TEST_SHARE=0/2 pytest_stage "integration" "$BUILD/release/deja" tests/integration
    wait "$asan" || true
    trap - INT TERM
    cat "$log"
}

word_sanitized() {
    local kind=$1
    shift
    begin_results
    build_kind "$kind"
    if [ $# -gt 0 ]; then
        case "$1" in
        */*) unit_stage "$kind" "unit under $kind: $1" "$1" ;;
        *) unit_stage "$kind" "unit under $kind: $1" --suite "$1" ;;
        esac
    else
        unit_stage "$kind" "unit under $kind"
    fi
    report
}

# Load of all kinds for SECONDS against each build of the daemon, in turn.
soak_load() {
    local seconds=$1 kind
    for kind in release asan tsan; do
        build_kind "$kind" deja
    done
    rm -f "$RESULTS/soak.txt"
    for kind in release asan tsan; do
        DEJA_SOAK_SECONDS=$seconds DEJA_SOAK_REPORT=$RESULTS/soak.txt pytest_stage "load on the $kind build" \
            "$BUILD/$kind/deja" tests/integration/test_soak.py
    done
    [ ! -e "$RESULTS/soak.txt" ] || cat "$RESULTS/soak.txt"
}

# Ten thousand answers of each path over the network, ten million in process, and every mutant.
soak_isolation() {
    local seed=$RANDOM
    rm -f "$RESULTS/isolation.txt"
    build_kind release
    stage "isolation in process, seed $seed" "$RESULTS/isolation.none" \
        "$BUILD/release/tests/isolation/isolation" "$seed" 10000000
    stage "isolation of plain keys in process, seed $seed" "$RESULTS/isolation.none" \
        "$BUILD/release/tests/isolation/keys" "$seed" 10000000
    DEJA_ISOLATION_CHECKS=10000 DEJA_ISOLATION_SEED=$seed DEJA_ISOLATION_REPORT=$RESULTS/isolation.txt \
        pytest_stage "isolation over the network" "$BUILD/release/deja" \
        tests/integration/test_isolation.py tests/integration/test_isolation_keys.py
    DEJA_ISOLATION_CHECKS=10000 pytest_stage "mutants without a check of isolation" "$BUILD/release/deja" \
        tests/integration/test_mutants.py
    DEJA_CREDENTIAL_REQUESTS=1000000 DEJA_TIMING_REQUESTS=10000 DEJA_ISOLATION_REPORT=$RESULTS/isolation.txt \
        pytest_stage "credentials upstream, time across tenants" "$BUILD/release/deja" \
        tests/integration/test_credentials.py
    [ ! -e "$RESULTS/isolation.txt" ] || cat "$RESULTS/isolation.txt"
}

# Attacks on the decision to reuse: swapped words, and texts climbed towards another's vector.
soak_attacks() {
    local model
    for model in "" "$(test_model)"; do
        DEJA_TEST_MODEL=$model stage "attacks on reuse, $([ -n "$model" ] && echo encoder || echo lexical)" \
            "$RESULTS/attacks.none" "$BUILD/release/tests/attacks/attacks" "$RANDOM" 7000 40 512
    done
}

# With SECONDS the load alone, that long in all; without, everything that takes long.
word_soak() {
    begin_results
    if [ $# -gt 0 ]; then
        [[ $1 =~ ^[0-9]+$ ]] || die "how many seconds? ./dev soak [SECONDS]"
        need_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_RUN[@]}" "${PACKAGES_TEST[@]}"
        need_venv venv tests/requirements.txt
        soak_load $((($1 + 2) / 3))
        report
        return
    fi
    need_test_tools
    build_kind release
    need_model
    build_kind tsan
    unit_stage tsan "all rooms under TSan"
    pytest_stage "integration under TSan" "$BUILD/tsan/deja" -m "not heavy" tests/integration
    DEJA_KILL_ROUNDS=400 DEJA_KILL_ENTRIES=100000 pytest_stage "long kill loop" "$BUILD/release/deja" tests/integration/test_kill.py
    DEJA_CHAOS_LOAD_S=3 DEJA_CHAOS_REPORT=$RESULTS/chaos.txt pytest_stage "every dependency in every fault" \
        "$BUILD/release/deja" tests/integration/test_chaos.py
    [ ! -e "$RESULTS/chaos.txt" ] || cat "$RESULTS/chaos.txt"
    DEJA_AVAILABILITY_S=180 pytest_stage "three minutes of tiers that come and go" \
        "$BUILD/release/deja" tests/integration/test_availability.py
    DEJA_TEST_VECTORS=100000 DEJA_TEST_ROWS=1000000 DEJA_TEST_PATIENCE=3000 \
        pytest_stage "PostgreSQL with 100,000 vectors, with a million keys" "$BUILD/release/deja" \
        -k "recall or great_many" tests/integration/test_postgres.py
    DEJA_BACKUP_ENTRIES=100000 pytest_stage "backup, wipe, restore and verify of 100,000 entries" \
        "$BUILD/release/deja" -k wipe tests/integration/test_backup.py
    DEJA_CASCADE_ENTRIES=10000 pytest_stage "a cascade over 10,000 dependants at two nodes" \
        "$BUILD/release/deja" -k cascade tests/integration/test_shared.py
    DEJA_RESP_COMMANDS=3000000 pytest_stage "three million commands to Deja and to Valkey" \
        "$BUILD/release/deja" tests/integration/test_resp_pair.py
    stage "the time of a key check tells nothing of the key" "$RESULTS/key_timing.none" \
        "$BUILD/release/tests/key_timing" 1000000
    DEJA_ROTATIONS=1000 DEJA_ERASE_CANARIES=1000 pytest_stage "a thousand rotations under load, a thousand erased texts" \
        "$BUILD/release/deja" -k "under_load or everywhere" tests/integration/test_encryption.py \
        tests/integration/test_erase_everywhere.py
    soak_isolation
    soak_attacks
    soak_load 600
    report
}
