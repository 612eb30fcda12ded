#!/usr/bin/env bash
# TLS: redis-cli and redis-benchmark of Debian, and kedis cli where the server is Kedis.
#
# Run by Tests/clients/run, which starts the server with certificates and sets KEDIS_TLS_PORT and KEDIS_TLS_FOLDER.

set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/checks.sh"

folder=$KEDIS_TLS_FOLDER
cli() { timeout 20 redis-cli -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/ca.crt" "$@" 2>&1; }

expect "TLS: PING" PONG "$(cli PING)"
expect "TLS: SET and GET" "OK
Karthik" "$(cli SET name Karthik; cli GET name)"
expect "TLS: RESP3" "v" "$(cli HSET hash f v >/dev/null; cli -3 HGET hash f)"
expect "TLS: a certificate of the client" PONG "$(cli --cert "$folder/client.crt" --key "$folder/client.key" PING)"
expect "TLS: a name for the server" PONG "$(cli --sni localhost PING)"
expect_match "TLS: a client that trusts nobody known is told so" "certificate verify failed" \
    "$(timeout 20 redis-cli -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/other-ca.crt" PING 2>&1)"
expect "TLS: unless it does not care" PONG "$(timeout 20 redis-cli -p "$KEDIS_TLS_PORT" --tls --insecure PING)"
expect_match "TLS: a certificate of a stranger is refused" "rror" \
    "$(cli --cert "$folder/other.crt" --key "$folder/other.key" PING)"
expect_match "TLS: 10,000 commands with --pipe" "errors: 0, replies: 10000" \
    "$(seq 10000 | sed 's/.*/SET pipe:& &/' | cli --pipe)"
expect "TLS: they were executed" 10000 "$(cli GET pipe:10000)"
if timeout 20 redis-cli -p "$KEDIS_TLS_PORT" PING >/dev/null 2>&1; then
    failed "TLS: a plain client on the TLS port is turned away"
else
    passed "TLS: a plain client on the TLS port is turned away"
fi
(sleep 0.5; cli RPUSH queue job >/dev/null) &
expect "TLS: BLPOP waits" "queue
job" "$(cli BLPOP queue 10)"
wait

certificate() {
    timeout 20 openssl s_client -connect "127.0.0.1:$KEDIS_TLS_PORT" -showcerts </dev/null 2>/dev/null |
        openssl x509 -noout -subject 2>/dev/null
}
expect_match "TLS: the certificate" "server" "$(certificate)"
expect "TLS: CONFIG SET of another one" OK \
    "$(cli CONFIG SET tls-cert-file "$folder/other.crt" tls-key-file "$folder/other.key")"
expect_match "TLS: new connections get it" "other" "$(certificate)"
expect_match "TLS: CONFIG SET of one that is not there" "Unable to update TLS configuration" \
    "$(timeout 20 redis-cli -p "$KEDIS_PORT" CONFIG SET tls-cert-file /nowhere)"
expect_match "TLS: the one before stays" "other" "$(certificate)"
expect "TLS: and back" OK "$(timeout 20 redis-cli -p "$KEDIS_PORT" CONFIG SET tls-cert-file "$folder/server.crt" \
    tls-key-file "$folder/server.key")"

expect_match "TLS: redis-benchmark" "GET: .* requests per second" \
    "$(timeout 60 redis-benchmark -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/ca.crt" -q -t set,get -n 5000 -c 20 -P 4 2>&1 |
        tr '\r' '\n')"

[ -n "${KEDIS_PROGRAM:-}" ] || exit 0
kedis() { timeout 20 "$KEDIS_PROGRAM" cli "$@" 2>&1; }
expect "kedis cli --tls" PONG "$(kedis -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/ca.crt" PING)"
expect "kedis cli with a folder of authorities" PONG \
    "$(kedis -p "$KEDIS_TLS_PORT" --tls --cacertdir "$folder/authorities" PING)"
expect "kedis cli with a certificate" PONG "$(kedis -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/ca.crt" \
    --cert "$folder/client.crt" --key "$folder/client.key" PING)"
expect "kedis cli with rediss://" PONG "$(kedis -u "rediss://localhost:$KEDIS_TLS_PORT/2" --cacert "$folder/ca.crt" PING)"
expect "kedis cli --insecure" PONG "$(kedis -p "$KEDIS_TLS_PORT" --tls --insecure --tls-ciphers AESGCM PING)"
expect_match "kedis cli says that it does not trust the server" "certificate verify failed.*--cacert" \
    "$(kedis -p "$KEDIS_TLS_PORT" --tls PING)"
expect_match "kedis cli says that the port is plain" "TLS" "$(kedis -p "$KEDIS_PORT" --tls --insecure PING)"
expect_match "kedis cli without TLS says what the port speaks" "speaks TLS on this port" "$(kedis -p "$KEDIS_TLS_PORT" PING)"
expect_match "kedis cli says which file is missing" "/nowhere: No such file" \
    "$(kedis -p "$KEDIS_TLS_PORT" --tls --cacert /nowhere PING)"
value=$(head -c 3000000 /dev/zero | tr '\0' x)
expect "kedis cli takes 3 MB over TLS" "3000000" "$(printf %s "$value" |
    kedis -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/ca.crt" -x SET big >/dev/null;
    kedis -p "$KEDIS_TLS_PORT" --tls --cacert "$folder/ca.crt" --raw GET big | tr -d '\n' | wc -c)"
