#!/usr/bin/env bash
# redis-cli as scripts use it: arguments, piped commands, mass insertion, its modes that walk the keyspace.
# Run by Tests/clients/run, which starts the server and sets KEDIS_PORT and KEDIS_SOCKET.

set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

cli() { timeout 20 redis-cli -p "$KEDIS_PORT" "$@" 2>&1; }

cli FLUSHALL >/dev/null
expect "PING" "PONG" "$(cli PING)"
expect "SET and GET" "OK Karthik" "$(cli SET name Karthik) $(cli GET name)"
expect "the tour of the README" "OK Karthik 1 1 100 1" "$(echo $(cli SET name Karthik; cli GET name; cli EXISTS name
    cli EXPIRE name 100; cli TTL name; cli DEL name))"
expect "an error has exit status 1 with -e" "1" "$(cli -e NOSUCH >/dev/null; echo $?)"
expect_match "an unknown command" "^ERR unknown command 'NOSUCH', with args beginning with: 'a' " "$(cli NOSUCH a)"
expect "wrong number of arguments" "ERR wrong number of arguments for 'get' command" "$(cli GET)"

expect "piped commands" "OK 2 one" "$(echo $(printf 'SET a one\nAPPEND n xx\nGET a\n' | cli))"
expect "quoted input with bytes" '"a\x00b\n"' "$(printf 'SET bin "a\\x00b\\n"\nGET bin\n' | cli --no-raw | tail -n 1)"
expect "--no-raw" '(integer) 1' "$(cli --no-raw EXISTS a)"
expect "the last argument from standard input" "OK from a file" "$(printf 'from a file' | cli -x SET x) $(cli GET x)"
expect "--csv" '"one",NULL' "$(cli --csv MGET a none)"
expect "-r" "3" "$(cli DEL counter >/dev/null; cli -r 3 INCR counter | tail -n 1)"
expect "-n chooses the database" "0 1" "$(cli -n 3 SET third 1 >/dev/null; echo "$(cli EXISTS third) $(cli -n 3 EXISTS third)")"
expect "-u takes an address" "1" "$(cli -u "redis://127.0.0.1:$KEDIS_PORT/3" EXISTS third)"
expect "-s takes a Unix socket" "PONG" "$(timeout 20 redis-cli -s "$KEDIS_SOCKET" PING 2>&1)"
expect_match "-a is refused while there is no password" "^(Warning: )?AUTH failed: .*without any password configured" \
    "$(cli --no-auth-warning -a secret PING)"

expect "-3 shows a map" '1# "proto-max-bulk-len" => "536870912"' "$(cli --no-raw -3 CONFIG GET proto-max-bulk-len)"
expect "-3 says HELLO in a pipe" "OK" "$(printf 'SET three 3\n' | cli -3)"
expect "--json" '["one",null]' "$(cli --json MGET a none)"
expect_match "HELLO 3" '"proto" => \(integer\) 3' "$(cli --no-raw -3 HELLO 3)"

insertion=$(for index in $(seq 10000); do
    printf '*3\r\n$3\r\nSET\r\n$%d\r\nmass:%d\r\n$5\r\nvalue\r\n' $((5 + ${#index})) "$index"
done | timeout 60 redis-cli -p "$KEDIS_PORT" --pipe 2>&1)
expect_match "--pipe inserts 10,000 keys" "errors: 0, replies: 10000" "$insertion"
expect "--pipe: the last key" "value" "$(cli GET mass:10000)"
expect_match "--pipe counts errors" "errors: 1, replies: 2" \
    "$(printf '*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n' | cli --pipe)"
expect_match "--pipe takes inline commands" "errors: 0, replies: 2" "$(printf 'PING\r\nSET inline 1\r\n' | cli --pipe)"

expect "--scan" "10000" "$(cli --scan --pattern 'mass:*' | sort -u | wc -l)"
bigkeys=$(cli --bigkeys)
expect_match "--bigkeys samples all keys" "^Sampled $(cli DBSIZE) keys in the keyspace" "$bigkeys"
expect_match "--bigkeys finds the biggest string" "^Biggest string found '\"x\"' has 11 bytes" "$bigkeys"
expect_match "--latency" "^[0-9]+ [0-9]+ [0-9.]+ [0-9]+" "$(timeout 20 redis-cli -p "$KEDIS_PORT" --latency --raw </dev/null 2>&1)"
expect_match "--stat" "^[0-9]+ +[0-9.]+[BKMG] +[0-9]+" \
    "$(timeout 3 stdbuf -oL redis-cli -p "$KEDIS_PORT" --stat -i 1 2>&1 </dev/null)"
expect_match "INFO has its sections" "^# Server" "$(cli INFO)"
expect_match "INFO keyspace" "^db0:keys=[0-9]+,expires=[0-9]+,avg_ttl=[0-9]+" "$(cli INFO keyspace)"
expect "a long value" "1048576" "$(head -c 1048576 /dev/zero | tr '\0' x | cli -x SET long >/dev/null; cli STRLEN long)"
expect "FLUSHALL" "OK 0" "$(cli FLUSHALL) $(cli DBSIZE)"
