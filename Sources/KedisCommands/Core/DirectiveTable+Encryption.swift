// The directives about TLS. Those that have their default and nothing else are about what BoringSSL decides by itself,
// or about connections that are not made.

let encryptionDirectives: [DirectiveSpec] = [
    DirectiveSpec(
        "tls-port", .integer(anyPort), default: "0", .atRunTime,
        "The TCP port for connections with TLS; 0 for none. With `port 0` it is the only one."
    ),
    .text(
        "tls-cert-file",
        "The server's certificate and those between it and its authority, as PEM; a new one is for new connections."
    ),
    .text("tls-key-file", "The key of the certificate, as PEM."),
    .text("tls-key-file-pass", "The password of the key's file, in ASCII; empty for none."),
    .text("tls-ca-cert-file", "The certificates of the authorities that clients' certificates must come from, as PEM."),
    .text("tls-ca-cert-dir", "A folder of such certificates, under the names that `openssl rehash` gives them."),
    DirectiveSpec(
        "tls-auth-clients", .enumeration(["no", "yes", "optional"]), default: "yes", .atRunTime,
        "Whether clients must show a certificate, may, or are not asked."
    ),
    .text("tls-protocols", "The versions: words of `TLSv1` `TLSv1.1` `TLSv1.2` `TLSv1.3`; empty for the last two."),
    .text("tls-ciphers", "The ciphers up to TLS 1.2, as a list of OpenSSL; empty for those of SwiftNIO."),
] + undecidedDirectives + outgoingDirectives

private let undecidedDirectives: [DirectiveSpec] = [
    .text("tls-ciphersuites", "The ciphers of TLS 1.3.").fixed(because: "BoringSSL chooses the ciphers of TLS 1.3"),
    .flag("tls-prefer-server-ciphers", "no", "Whether the server chooses the cipher.").fixed(
        because: "the client's order of ciphers counts"),
    .flag("tls-session-caching", "yes", "Whether sessions are kept for later connections.").fixed(
        because: "clients keep sessions, in tickets"),
    .number("tls-session-cache-size", 20_480, anyCount, "How many.").fixed(
        because: "clients keep sessions, in tickets"),
    .number("tls-session-cache-timeout", 300, anyCount, "How long.").fixed(
        because: "clients keep sessions, in tickets"),
    .text("tls-dh-params-file", "The parameters of Diffie and Hellman's exchange.").fixed(
        because: "keys are exchanged over elliptic curves"),
]

private let outgoingDirectives = [
    DirectiveSpec.text("tls-client-cert-file", "The certificate for outgoing connections."),
    .text("tls-client-key-file", "The key of that."),
    .text("tls-client-key-file-pass", "The password of that key."),
    .flag("tls-replication", "no", "Whether replication is encrypted."),
    .flag("tls-cluster", "no", "Whether the cluster's connections are encrypted."),
].map { $0.fixed(because: "there are no outgoing connections") }
