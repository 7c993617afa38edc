# shellcheck shell=bash
# ./dev fuzz: libFuzzer with clang under ASan and UBSan. What a run finds new is kept in
# build/fuzz-corpus/NAME and tried first by the next run; inputs that broke something lie in
# build/fuzz-crashes. Sourced by ./dev.

fuzz_names() { (cd tests/fuzz && printf '%s\n' fuzz_*.c | sed 's/^fuzz_\(.*\)\.c$/\1/'); }

build_fuzzers() {
    local major targets=() name
    need_packages "${PACKAGES_BUILD[@]}" clang
    major=$(clang -dumpversion | cut -d. -f1)
    need_packages "libclang-rt-$major-dev"
    for name in "$@"; do targets+=("tests/fuzz/fuzz_$name"); done
    build_kind fuzz "${targets[@]}"
}

# fuzz_one NAME SECONDS: leaves its output in build/fuzz-corpus/NAME.log; fails when it found something.
fuzz_one() {
    local name=$1 seconds=$2 found=$BUILD/fuzz-corpus/$1 options=()
    mkdir -p "$found" "$BUILD/fuzz-crashes"
    [ ! -e "tests/fuzz/dictionaries/$name" ] || options+=("-dict=tests/fuzz/dictionaries/$name")
    ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1} \
        LSAN_OPTIONS=${LSAN_OPTIONS:-suppressions=$ROOT/tests/lsan.supp:print_suppressions=0} \
        UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1} \
        "$BUILD/fuzz/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$BUILD/fuzz-crashes/$name-" \
        "${options[@]}" "$found" "tests/fuzz/corpus/$name" >"$found.log" 2>&1
}

# One line of the table: what NAME's last output says; result is "clean" or the kind of fault.
fuzz_row() {
    local name=$1 log=$BUILD/fuzz-corpus/$1.log fault
    fault=$(sed -n 's/^==[0-9]*== *ERROR: \(libFuzzer\|AddressSanitizer\|LeakSanitizer\): \([a-z -]*\).*/\2/p;
        s/.*runtime error: .*/undefined behaviour/p' "$log" | head -n 1)
    awk -v name="$name" -v fault="${fault:-$2}" '
        { for (i = 1; i < NF; i++) {
            if ($i == "cov:") cov = $(i + 1)
            if ($i == "ft:") features = $(i + 1)
            if ($i == "corp:") { split($(i + 1), corpus, "/") }
        } }
        /^stat::number_of_executed_units/ { runs = $2 }
        /^stat::peak_rss_mb/ { rss = $2 }
        END { printf "%-12s %12d %8d %9d %7d %7d  %s\n", name, runs, cov, features, corpus[1], rss, fault }
    ' "$log"
}

word_fuzz() {
    local seconds=60 names=() failed=0 name rows=() result
    if [ $# -eq 0 ]; then
        fuzz_names
        return
    fi
    for name in "$@"; do
        case "$name" in
        all) mapfile -t names < <(fuzz_names) ;;
        [0-9]*) seconds=$name ;;
        *)
            [ -e "tests/fuzz/fuzz_$name.c" ] || die "no such fuzzer: $name (there are: $(fuzz_names | xargs))"
            names+=("$name")
            ;;
        esac
    done
    [ ${#names[@]} -gt 0 ] || die "which fuzzer? $(fuzz_names | xargs), or all"
    build_fuzzers "${names[@]}"
    for name in "${names[@]}"; do
        say "fuzzing $name for $seconds s (build/fuzz-corpus/$name.log)"
        result=clean
        fuzz_one "$name" "$seconds" || { result="exit code $?" && failed=1; }
        rows+=("$(fuzz_row "$name" "$result")")
        [ "$result" = clean ] || { grep -B 2 -A 30 -m 1 -E 'ERROR:|runtime error' "$BUILD/fuzz-corpus/$name.log" >&2 || true; }
    done
    printf '%-12s %12s %8s %9s %7s %7s  %s\n' fuzzer executions coverage features corpus rss_mb result
    printf '%s\n' "${rows[@]}"
    [ "$failed" = 0 ] || die "inputs that break something: build/fuzz-crashes"
}
