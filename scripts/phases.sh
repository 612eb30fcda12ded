# The steps that scripts/check and .ci/run are made of. To be sourced, from the root of the package, under `set -euo pipefail`.
#
# A step is a plain command or function, run by `phase`, which shows its name and how long it took. Nothing stands between
# a step and `set -e`: the first failure ends the script, and the exit trap says in which phase that was.

current_phase="start"
script_start=$SECONDS

phase() {
    local start=$SECONDS
    current_phase=$1
    shift
    printf '\n=== %s\n' "$current_phase"
    "$@"
    echo "=== $current_phase: $((SECONDS - start)) s"
}

end_of_phases() {
    local status=$?
    if [ "$status" = 0 ]; then
        printf '\nall phases passed in %s s\n' "$((SECONDS - script_start))"
    else
        printf '\nFAILED in phase "%s" with status %s after %s s\n' "$current_phase" "$status" "$((SECONDS - script_start))" >&2
    fi
}
trap end_of_phases EXIT

fail() {
    echo "error: $1" >&2
    return 1
}

# Runs `swift test` with these arguments, bounded in time (children of a test process that died keep its output open, and
# `swift test` waits for them), and fails too if not one test ran: a filter that matches nothing
# would pass for ever.
run_tests() {
    local log status=0
    log=$(mktemp)
    timeout --kill-after=10 "${KEDIS_TEST_TIMEOUT_SECONDS:-900}" swift test "$@" 2>&1 | tee "$log" || status=$?
    if [ "$status" = 0 ] && ! grep -Eq 'Test run with [1-9][0-9]* test' "$log"; then
        echo "no test ran"
        status=1
    fi
    # Failures stand far above the end of a long log, so they are said again.
    [ "$status" = 0 ] || { echo "--- failures"; grep -E '^(✘|.*recorded an issue|.*(WARNING|ERROR): .*Sanitizer)' "$log" | head -n 40 || true; }
    rm -f "$log"
    return "$status"
}

# The tests over sockets with another transport for plain connections (epoll, nio) than is usual here. Without those that
# say nothing about connections, and with the text tests, which use every command.
other_transport() {
    KEDIS_TRANSPORT=$1 run_tests --filter 'KedisServerTests' --skip 'Crash|Fuzz|ConfigurationTests|ServerFileTests|EncryptionTests|AppendOnlyImport|Journal|Snapshot|Metrics' "${@:2}"
}

# The tests whose names say that they fuzz: random and mutated input for the parsers, with printed seeds.
fuzz() {
    KEDIS_FUZZ_SECONDS=$1 run_tests --filter '[Ff]uzz' "${@:2}"
}

# The store against plain dictionaries, from a new seed, for so many seconds.
store_model() {
    KEDIS_MODEL_SECONDS=$1 run_tests --filter StoreModelTests "${@:2}"
}

# Deviations from .swift-format in the sources; shown, not fatal: a layout that reads better may stay.
format_lint() {
    local log
    log=$(mktemp)
    swift format lint --recursive --parallel Sources Tests Package.swift >"$log" 2>&1 || true
    head -n 20 "$log"
    echo "$(wc -l <"$log") findings of swift format lint (swift format --in-place FILE mends most)"
    rm -f "$log"
}

# Shell scripts parse; Python compiles; those that must be executable are.
scripts_lint() {
    local script
    for script in .ci/run scripts/check Tests/clients/run; do
        [ -x "$script" ] || fail "$script is not executable"
    done
    for script in .ci/run scripts/check scripts/*.sh Tests/clients/run Tests/clients/*.sh; do bash -n "$script"; done
    if command -v shellcheck >/dev/null; then shellcheck --severity=warning --external-sources .ci/run scripts/check Tests/clients/run; fi
    if command -v python3 >/dev/null; then
        python3 -c 'import ast, sys; [ast.parse(open(path).read(), path) for path in sys.argv[1:]]' Tests/clients/*.py
    fi
}

# The thread sanitizer over the suite, or what --filter chooses. Everything is built with it, dependencies included.
thread_sanitizer() {
    TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:suppressions=$PWD/scripts/thread-sanitizer.txt" \
        run_tests --sanitize=thread --scratch-path .build-tsan "$@"
}

# The address sanitizer over the suite. Leaks are not looked for: the runtime and Foundation keep objects until the process
# ends, which the leak sanitizer takes for leaks of the tests.
address_sanitizer() {
    ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1" \
        run_tests --sanitize=address --scratch-path .build-asan "$@"
}

# The fuzzers with the address sanitizer, on what address_sanitizer has built.
sanitized_fuzz() {
    ASAN_OPTIONS="detect_leaks=0" fuzz "$1" --skip-build --sanitize=address --scratch-path .build-asan
}

# The store against plain dictionaries with the address sanitizer, on what address_sanitizer has built.
sanitized_store_model() {
    ASAN_OPTIONS="detect_leaks=0" store_model "$1" --skip-build --sanitize=address --scratch-path .build-asan
}

release_build() {
    swift build -c release --product kedis
}

real_clients() {
    Tests/clients/run --server-binary .build/release/kedis
}

# Mixed traffic for so many seconds, over both transports: memory (within so many MiB), descriptors and clients are as
# before.
soak() {
    local transport
    for transport in auto nio; do
        "${KEDIS_PYTHON:-python3}" Tests/clients/soak.py --server-binary .build/release/kedis --seconds "$1" \
            --growth "$2" -- --transport "$transport"
    done
}

# Instructions of commands, held to the table in the documentation. Wants valgrind.
instructions() {
    swift build -c release --product kedis-benchmark
    Benchmarks/instructions.py --check docs/PERFORMANCE.md
}

# SIGKILL at random moments, and a full disk: what was confirmed is there.
durability() {
    "${KEDIS_PYTHON:-python3}" Tests/clients/kill-rounds.py --server-binary .build/release/kedis --rounds "$1"
    "${KEDIS_PYTHON:-python3}" Tests/clients/kill-rounds.py --server-binary .build/release/kedis --rounds "$1" --switch
    "${KEDIS_PYTHON:-python3}" Tests/clients/disk-full.py --server-binary .build/release/kedis
}

# What the README promises first, on the release build: the shell as typed, and a key that is there again after a restart.
smoke() {
    local folder output
    folder=$(mktemp -d)
    output=$(printf '%s\n' 'SET name Karthik' 'GET name' 'EXISTS name' 'EXPIRE name 100' 'TTL name' 'DEL name' |
        timeout 60 swift run -c release --skip-build kedis)
    [ "$(echo $output)" = "OK Karthik 1 1 100 1" ] || fail "the tour through the shell printed: $output"
    timeout 60 .build/release/kedis --dir "$folder" SET kept here >/dev/null
    output=$(timeout 60 .build/release/kedis --dir "$folder" GET kept)
    [ "$output" = "here" ] || fail "a key that was set with --dir is gone: $output"
    smoke_server "$folder"
    rm -rf "$folder"
}

# `kedis server`, loads the same folder, answers, and ends cleanly on SIGTERM.
smoke_server() {
    local folder=$1 port server output="" status=0
    port=$((20000 + RANDOM % 10000))
    timeout --kill-after=5 60 swift run -c release --skip-build kedis server --port "$port" --dir "$folder" >"$folder/log" 2>&1 &
    server=$!
    for _ in $(seq 100); do
        output=$(timeout 5 redis-cli -p "$port" GET kept 2>/dev/null) && [ "$output" = "here" ] && break
        sleep 0.1
    done
    kill -TERM "$server"
    wait "$server" || status=$?
    if [ "$output" != "here" ] || [ "$status" != 0 ]; then
        tail -n 20 "$folder/log"
        fail "kedis server answered \"$output\" and ended with status $status"
    fi
}
