#!/bin/sh
# Certificates for trying TLS out and for tests: an authority, a server and a client, and strangers of another authority.
#
#   Tests/clients/make-certificates.sh FOLDER
#
# Needs the openssl command. Writes into FOLDER, which is made: ca.crt, server.crt and server.key (localhost, 127.0.0.1),
# client.crt and client.key, other-ca.crt, other.crt and other.key, locked.key (server.key with the password "secret"), and
# authorities/ with ca.crt as `openssl rehash` names it. They are good for a week; the keys are for nothing else.

set -eu
folder=${1:?make-certificates.sh wants a folder}
mkdir -p "$folder/authorities"
cd "$folder"

new_key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

# authority NAME: a certificate that signs others.
authority() {
    new_key "$1.key"
    openssl req -x509 -new -sha256 -key "$1.key" -days 7 -subj "/O=Kedis/CN=$1" -out "$1.crt"
}

# certificate NAME AUTHORITY
certificate() {
    new_key "$1.key"
    openssl req -new -sha256 -key "$1.key" -subj "/O=Kedis/CN=$1" -out "$1.csr"
    printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >"$1.ext"
    openssl x509 -req -sha256 -in "$1.csr" -CA "$2.crt" -CAkey "$2.key" -CAcreateserial -days 7 -extfile "$1.ext" \
        -out "$1.crt" 2>/dev/null
    rm "$1.csr" "$1.ext"
}

authority ca
authority other-ca
certificate server ca
certificate client ca
certificate other other-ca
openssl pkcs8 -topk8 -in server.key -out locked.key -passout pass:secret
cp ca.crt authorities/ca.crt
openssl rehash authorities
