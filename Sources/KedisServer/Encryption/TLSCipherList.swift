// `tls-ciphers`: which ciphers up to TLS 1.2 are offered, in the language of OpenSSL's cipher lists.
//
// The list is worked out here, over the ciphers that BoringSSL has, and BoringSSL gets their names: it must not be
// asked about words that a client chose, as SwiftNIO ends the process when it refuses them. Pure; linear in list and
// table.
// Source: the manual page ciphers(1) of OpenSSL 3.

import KedisUtilities

/// The names of the ciphers that `list` selects, in their order; nil when it selects none.
package func cipherNames(selectedBy list: String) -> [String]? {
    var selection = CipherSelection()
    for word in list.split(whereSeparator: { ":, ".contains($0) }) { selection.apply(word) }
    return selection.names.isEmpty ? nil : selection.names
}

/// A cipher and the words of cipher lists that mean it.
private struct CipherSuite {
    let name: String
    let words: Set<String>

    init(_ name: String, _ words: String) {
        self.name = name
        self.words = Set(words.split(separator: " ").map(String.init) + [name, "ALL", "HIGH"])
    }

    /// The best first: fresh keys for each connection, then ciphers that authenticate what they encrypt.
    static let all = [
        CipherSuite("ECDHE-ECDSA-AES128-GCM-SHA256", ephemeral + "ECDSA aECDSA AES AES128 AESGCM SHA256 TLSv1.2"),
        CipherSuite("ECDHE-RSA-AES128-GCM-SHA256", ephemeral + "aRSA RSA AES AES128 AESGCM SHA256 TLSv1.2"),
        CipherSuite("ECDHE-ECDSA-AES256-GCM-SHA384", ephemeral + "ECDSA aECDSA AES AES256 AESGCM SHA384 TLSv1.2"),
        CipherSuite("ECDHE-RSA-AES256-GCM-SHA384", ephemeral + "aRSA RSA AES AES256 AESGCM SHA384 TLSv1.2"),
        CipherSuite("ECDHE-ECDSA-CHACHA20-POLY1305", ephemeral + "ECDSA aECDSA CHACHA20 SHA256 TLSv1.2"),
        CipherSuite("ECDHE-RSA-CHACHA20-POLY1305", ephemeral + "aRSA RSA CHACHA20 SHA256 TLSv1.2"),
        CipherSuite("ECDHE-ECDSA-AES128-SHA", ephemeral + "ECDSA aECDSA AES AES128 SHA SHA1 TLSv1 SSLv3"),
        CipherSuite("ECDHE-RSA-AES128-SHA", ephemeral + "aRSA RSA AES AES128 SHA SHA1 TLSv1 SSLv3"),
        CipherSuite("ECDHE-ECDSA-AES256-SHA", ephemeral + "ECDSA aECDSA AES AES256 SHA SHA1 TLSv1 SSLv3"),
        CipherSuite("ECDHE-RSA-AES256-SHA", ephemeral + "aRSA RSA AES AES256 SHA SHA1 TLSv1 SSLv3"),
        CipherSuite("AES128-GCM-SHA256", "kRSA aRSA RSA AES AES128 AESGCM SHA256 TLSv1.2"),
        CipherSuite("AES256-GCM-SHA384", "kRSA aRSA RSA AES AES256 AESGCM SHA384 TLSv1.2"),
        CipherSuite("AES128-SHA", "kRSA aRSA RSA AES AES128 SHA SHA1 TLSv1 SSLv3"),
        CipherSuite("AES256-SHA", "kRSA aRSA RSA AES AES256 SHA SHA1 TLSv1 SSLv3"),
    ]

    private static let ephemeral = "ECDH ECDHE EECDH kECDHE kEECDH "
}

/// The selection so far.
private struct CipherSelection {
    private(set) var names: [String] = []
    /// What `!` has taken away for good.
    private var banned: Set<String> = []

    /// Takes a word of the list: it adds what it means, behind `-` or `!` it takes that away, behind `+` it puts it
    /// last. A word that nothing here has means nothing, so that lists which forbid bad ciphers by name work.
    mutating func apply(_ word: Substring) {
        // Orders and levels of OpenSSL's own.
        guard let sign = word.first, sign != "@" else { return }
        let term = "+-!".contains(sign) ? word.dropFirst() : word
        let found = matches(of: term)
        switch sign {
        case "!":
            banned.formUnion(found)
            names.removeAll(where: found.contains)
        case "-": names.removeAll(where: found.contains)
        case "+":
            let moved = names.filter(found.contains)
            names.removeAll(where: found.contains)
            names += moved
        default: names += found.filter { !names.contains($0) && !banned.contains($0) }
        }
    }

    /// The ciphers that have all of the words between plus signs.
    private func matches(of term: Substring) -> [String] {
        let wanted = term.split(separator: "+").map { $0 == "DEFAULT" ? "ALL" : String($0) }
        guard !wanted.isEmpty else { return [] }
        return CipherSuite.all.filter { $0.words.isSuperset(of: wanted) }.map(\.name)
    }
}
