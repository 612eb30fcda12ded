#!/usr/bin/env bash
# The kedis program itself: one-shot commands, piped input, `kedis cli`, and that a store with a directory loses nothing.
# Run by Tests/clients/run, which starts the server and sets KEDIS_PORT; KEDIS_PROGRAM is the program, KEDIS_SERVER_FOLDER
# the folder that the server has in use.

set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
kedis=$KEDIS_PROGRAM
export KEDIS_HISTFILE=/dev/null
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

run() { timeout --kill-after=2 20 "$kedis" "$@" 2>&1 </dev/null; }

mkdir "$folder/data"
expect "a one-shot command is executed" "OK" "$(run --dir "$folder/data" SET name Karthik)"
expect "and what it set is there for the next" "Karthik" "$(run --dir "$folder/data" GET name)"
expect "arguments that look like options are the command's" "OK" "$(run --dir "$folder/data" SET number -5)"
run NOSUCHCOMMAND >/dev/null; expect "a failing command exits with 1" 1 $?
expect "piped commands, one a line" "1
2" "$(printf 'INCR visits\n\nINCR visits\n' | timeout 20 "$kedis" --dir "$folder/data")"
printf 'GET "unbalanced\n' | timeout 20 "$kedis" >/dev/null 2>&1; expect "an unbalanced quote exits with 1" 1 $?
expect "a binary argument" '"a\x00b"' "$(printf 'SET k "a\\x00b"\n' | timeout 20 "$kedis" --dir "$folder/data" >/dev/null
    run --dir "$folder/data" GET k | tr '\0' '@' | sed 's/a@b/"a\\x00b"/')"

# A signal saves first.
mkfifo "$folder/pipe"
"$kedis" --dir "$folder/data" <"$folder/pipe" >"$folder/out" 2>&1 &
shell=$!
exec 9>"$folder/pipe"
echo 'SET inflight 1' >&9
for _ in $(seq 100); do grep -q OK "$folder/out" && break; sleep 0.1; done
kill -TERM "$shell"
status=0
wait "$shell" || status=$?
exec 9>&-
expect "SIGTERM ends the shell with its status" 143 "$status"
expect "and what was set is saved" "1" "$(run --dir "$folder/data" GET inflight)"

# A shell that is killed has handed what it was told to the system.
rm -f "$folder/pipe"; mkfifo "$folder/pipe"
for policy in everysec always; do
    "$kedis" --dir "$folder/data" --appendfsync "$policy" <"$folder/pipe" >"$folder/out" 2>&1 &
    shell=$!
    exec 9>"$folder/pipe"
    for number in 1 2 3; do echo "SET killed:$policy:$number $number" >&9; done
    for _ in $(seq 100); do [ "$(grep -c OK "$folder/out")" = 3 ] && break; sleep 0.1; done
    [ "$policy" = always ] || sleep 0.5
    kill -KILL "$shell"
    wait "$shell" 2>/dev/null
    exec 9>&-
    expect "what a killed shell has set is there ($policy)" "3" "$(run --dir "$folder/data" GET "killed:$policy:3")"
done
# A server goes on with the shell's journal, and the shell with the server's.
"$kedis" server --dir "$folder/data" --appendonly yes --save "" --port 0 --unixsocket "$folder/socket" >"$folder/log" 2>&1 &
server=$!
for _ in $(seq 100); do [ -S "$folder/socket" ] && break; sleep 0.1; done
expect "a server has what the shell has journalled" "3" "$(run cli -s "$folder/socket" GET killed:always:3)"
expect "and writes on" "OK" "$(run cli -s "$folder/socket" SET from:server 1)"
kill -TERM "$server"
wait "$server" 2>/dev/null
expect "which the shell then has" "1" "$(run --dir "$folder/data" GET from:server)"
expect "a journal that is not wanted is told of" "kedis: There is a journal in $folder/data/appendonlydir, which is not read, as appendonly is no: only the snapshot is loaded
3" "$(run --dir "$folder/data" --appendonly no GET killed:always:3)"

output=$(run --dir "$KEDIS_SERVER_FOLDER" SET a b); status=$?
expect "a folder that a server has in use is refused" 1 "$status"
expect_match "with a message that says so" 'in use by process [0-9]+' "$output"
output=$(run --dir "$folder/nowhere" GET a); status=$?
expect "a folder that is not there is refused" 1 "$status"
expect_match "with a message that names it" 'nowhere does not exist' "$output"
printf 'REDIS0010damaged' >"$folder/data/dump.rdb"
output=$(run --dir "$folder/data" GET a); status=$?
expect "a damaged snapshot is refused" 1 "$status"
expect_match "with the place of the damage" 'dump\.rdb.*byte [0-9]+' "$output"
expect "and left alone" "REDIS0010damaged" "$(cat "$folder/data/dump.rdb")"

expect "kedis cli executes a command" "OK" "$(run cli -p "$KEDIS_PORT" SET cli:key value)"
expect "kedis cli chooses a database" "" "$(run cli -p "$KEDIS_PORT" -n 3 GET cli:key)"
expect "kedis cli speaks RESP3" "value" "$(run cli -3 -p "$KEDIS_PORT" GET cli:key)"
run cli -p 1 PING >/dev/null; expect "kedis cli without a server exits with 1" 1 $?
expect_match "kedis explain draws the way of a command" '┌─ parser ─' "$(run explain SET name Karthik)"
expect_match "and so does EXPLAIN through a pipe" '┌─ parser ─' "$(echo EXPLAIN GET a | timeout 20 "$kedis")"
expect_match "and kedis cli" '┌─ parser ─' "$(run cli -p "$KEDIS_PORT" EXPLAIN GET a)"
expect "but not with --raw" "command" "$(run --raw EXPLAIN GET a | head -n 1)"
run explain NOSUCHCOMMAND >/dev/null; expect "a command that would be refused exits with 1" 1 $?

# Options before the command word are the program's.
for program in shell cli explain; do
    output=$(run "$program" --help); status=$?
    expect "kedis $program --help succeeds" 0 "$status"
    expect_match "with the help" '^USAGE: kedis' "$output"
    output=$(run "$program" --nosuchoption PING); status=$?
    expect "kedis $program refuses an unknown option" 64 "$status"
    expect_match "and names it" 'Unknown option.*--nosuchoption' "$output"
done
expect "behind the command word an option is an argument" "--help" \
    "$(run cli -p "$KEDIS_PORT" ECHO --help)"
expect "-- ends the options" "PONG" "$(run -- PING)"
