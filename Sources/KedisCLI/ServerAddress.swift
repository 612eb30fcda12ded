// `redis://[[user]:password@]host[:port][/database]`, the address of a server in one word.

/// Where a server is and who asks.
struct ServerAddress: Equatable {
    var host: String
    var port: UInt16
    var user: String?
    var password: String?
    var database: Int?
    var isEncrypted = false

    init(host: String, port: UInt16) {
        self.host = host
        self.port = port
    }

    /// Nil for what has another form. `valkey://` and `kedis://` mean the same, with an `s` behind the name for TLS.
    init?(_ text: String) {
        let encrypted = ["rediss://", "valkeys://", "kediss://"]
        let schemes = ["redis://", "valkey://", "kedis://"] + encrypted
        guard let scheme = schemes.first(where: { text.lowercased().hasPrefix($0) }) else { return nil }
        var rest = text.dropFirst(scheme.count)
        self.init(host: "127.0.0.1", port: 6379)
        isEncrypted = encrypted.contains(scheme)
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            // One word is the password, as in redis-cli.
            password = parts.last.flatMap { decoded(String($0)) }
            if parts.count == 2, !parts[0].isEmpty { user = decoded(String(parts[0])) }
            rest = rest[rest.index(after: at)...]
        }
        if let slash = rest.firstIndex(of: "/") {
            let name = rest[rest.index(after: slash)...]
            if !name.isEmpty {
                guard let number = Int(name), number >= 0 else { return nil }
                database = number
            }
            rest = rest[..<slash]
        }
        var name = String(rest)
        // An IPv6 address stands in brackets.
        let afterAddress = name.lastIndex(of: "]") ?? name.startIndex
        if let colon = name[afterAddress...].lastIndex(of: ":") {
            guard let number = UInt16(name[name.index(after: colon)...]) else { return nil }
            port = number
            name = String(name[..<colon])
        }
        if name.hasPrefix("["), name.hasSuffix("]") { name = String(name.dropFirst().dropLast()) }
        if !name.isEmpty { host = name }
    }
}

/// With `%41` as `A`; nil when what follows a percent sign are no two hexadecimal digits, or the bytes no text.
private func decoded(_ text: String) -> String? {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        guard byte == 0x25 else {
            bytes.append(byte)
            continue
        }
        guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
            return nil
        }
        rest = rest.dropFirst(2)
        bytes.append(value)
    }
    return String(validating: bytes, as: UTF8.self)
}
