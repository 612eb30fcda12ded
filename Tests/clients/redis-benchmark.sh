#!/usr/bin/env bash
# redis-benchmark: every default test whose commands exist, alone and in pipelines, with threads, many clients, RESP3.
# Run by Tests/clients/run, which starts the server and sets KEDIS_PORT and KEDIS_SOCKET. No figure is judged here: the
# checks are that each test ends in time, that no reply is an error, and that it shows a rate.

set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

tests=ping_inline,ping_mbulk,set,get,incr,mset

# benchmark NAME COUNT ARGUMENTS...: COUNT is the number of tests that must show a rate.
benchmark() {
    local name=$1 count=$2 output status=0 rows
    shift 2
    output=$(timeout --kill-after=2 40 redis-benchmark -p "$KEDIS_PORT" --csv "$@" 2>&1 </dev/null) || status=$?
    rows=$(printf '%s\n' "$output" | grep -Ec '^"[^"]+","[1-9][0-9]*\.[0-9]+"' || true)
    if [ "$status" = 0 ] && [ "$rows" = "$count" ] && ! printf '%s\n' "$output" | grep -v 'Keepalive disabled' | grep -Eqi 'error|warning'; then
        passed "$name"
    else
        failed "$name" "status $status, $rows of $count rates
$output"
    fi
}

benchmark "P=1" 6 -t $tests -n 20000 -c 50 -d 32 -r 10000
benchmark "P=16" 6 -t $tests -n 100000 -c 50 -d 32 -r 10000 -P 16
benchmark "P=128, two threads" 6 -t $tests -n 100000 -c 50 -r 10000 -P 128 --threads 2
benchmark "RESP3" 6 -t $tests -n 20000 -c 50 -P 16 -3
benchmark "500 clients" 2 -t set,get -n 20000 -c 500 -P 4
benchmark "values of 100,000 bytes" 2 -t set,get -n 2000 -c 20 -d 100000
benchmark "a Unix socket" 2 -t set,get -n 20000 -c 50 -s "$KEDIS_SOCKET"
benchmark "no connection kept alive" 1 -t ping_mbulk -n 500 -c 10 -k 0
benchmark "a command of one's own" 1 -n 20000 -P 16 -r 1000 SETEX key:__rand_int__ 100 value
expect "keys were written" "yes" \
    "$([ "$(timeout 5 redis-cli -p "$KEDIS_PORT" DBSIZE)" -gt 1000 ] && echo yes)"
