// Walks over a server's keys: `--scan` lists them, `--bigkeys` tells the biggest of each type. The output is that of
// redis-cli.
//
// Both go by SCAN, so that no other client waits for them. One thread; a walk ends with the first error. Cost: a round
// trip for each SCAN, and for `--bigkeys` two more.

import KedisProtocol

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

package struct KeyspaceWalk {
    package struct Options: Sendable {
        /// What SCAN is given besides the cursor.
        package var pattern: [UInt8]?
        package var count: Int?
        package var type: String?
        /// To wait after each 100 SCANs.
        package var pauseSeconds = 0.0
        package var output: Int32 = 1

        package init() {}
    }

    private let client: WireClient
    private let options: Options

    package init(_ client: WireClient, _ options: Options) {
        self.client = client
        self.options = options
    }

    /// Calls `body` with the keys of each SCAN.
    private func forEachPage(_ body: ([[UInt8]]) throws(WireError) -> Void) throws(WireError) {
        var cursor = Array("0".utf8)
        var count = 0
        repeat {
            let reply = try client.execute(request(cursor))
            guard case .array(let parts) = reply, parts.count == 2, case .bulk(let next) = parts[0],
                case .array(let keys) = parts[1]
            else {
                throw WireError(message: Self.problem(reply))
            }
            cursor = next
            try body(keys.map(Self.bytes))
            count += 1
            if count % 100 == 0, options.pauseSeconds > 0 { pause(seconds: options.pauseSeconds) }
        } while cursor != Array("0".utf8)
    }

    private func request(_ cursor: [UInt8]) -> [[UInt8]] {
        var arguments = [Array("SCAN".utf8), cursor]
        if let pattern = options.pattern { arguments += [Array("MATCH".utf8), pattern] }
        if let count = options.count { arguments += [Array("COUNT".utf8), Array(String(count).utf8)] }
        if let type = options.type { arguments += [Array("TYPE".utf8), Array(type.utf8)] }
        return arguments
    }

    fileprivate static func bytes(_ reply: Reply) -> [UInt8] {
        if case .bulk(let bytes) = reply { bytes } else if case .simple(let bytes) = reply { bytes } else { [] }
    }

    private static func problem(_ reply: Reply) -> String {
        if case .error(let text) = reply { return String(decoding: text, as: UTF8.self) }
        return "the server's answer to SCAN is not understood"
    }

    // MARK: --scan

    /// Prints each key, one a line; `isQuoted` for a person, as keys may be any bytes.
    package func list(isQuoted: Bool) throws(WireError) {
        try forEachPage { (keys) throws(WireError) in
            var text: [UInt8] = []
            for key in keys {
                if isQuoted { appendQuoted(key, to: &text) } else { text += key }
                text.append(10)
            }
            guard writeBytes(text, to: options.output) else { throw WireError(message: "the output is gone") }
        }
    }

    // MARK: --bigkeys

    /// A type of values, and how it is measured.
    private struct Kind {
        let name: String
        let sizeCommand: String
        let unit: String
        var keyCount = 0
        var total = 0
        var biggest: (key: [UInt8], size: Int)?
    }

    /// Prints the biggest key of each type as they are found, and at the end what there is of each type.
    package func reportBigKeys() throws(WireError) {
        var kinds = [
            Kind(name: "string", sizeCommand: "STRLEN", unit: "bytes"),
            Kind(name: "list", sizeCommand: "LLEN", unit: "items"),
            Kind(name: "set", sizeCommand: "SCARD", unit: "members"),
            Kind(name: "hash", sizeCommand: "HLEN", unit: "fields"),
            Kind(name: "zset", sizeCommand: "ZCARD", unit: "members"),
            Kind(name: "stream", sizeCommand: "XLEN", unit: "entries"),
        ]
        guard case .integer(let total) = try client.execute([Array("DBSIZE".utf8)]) else {
            throw WireError(message: "the server does not tell how many keys it has")
        }
        print(
            """

            # Scanning the entire keyspace to find biggest keys as well as
            # average sizes per key type.  You can use -i 0.1 to sleep 0.1 sec
            # per 100 SCAN commands (not usually needed).

            """)
        var sampled = (keyCount: 0, byteCount: 0)
        try forEachPage { (keys) throws(WireError) in
            let types = try client.executeAll(keys.map { [Array("TYPE".utf8), $0] }).map(Self.bytes)
            try measure(keys, types, &kinds) { (kind, key) in
                let percentage = total > 0 ? min(100, 100 * Double(sampled.keyCount) / Double(total)) : 100
                let name = kind.name + String(repeating: " ", count: max(0, 6 - kind.name.count))
                print(
                    "[\(padded(percentage))%] Biggest \(name) found so far '\(quoted(key))' "
                        + "with \(kind.total) \(kind.unit)")
            }
            sampled.keyCount += keys.count
            sampled.byteCount += keys.reduce(0) { $0 + $1.count }
        }
        summarize(kinds, sampled)
    }

    /// Asks for the sizes of keys; `found` is told each one that is the biggest so far, its size as `total`.
    private func measure(
        _ keys: [[UInt8]], _ types: [[UInt8]], _ kinds: inout [Kind], found: (Kind, [UInt8]) -> Void
    ) throws(WireError) {
        let places = types.map { type in kinds.firstIndex { Array($0.name.utf8) == type } }
        // Keys of unknown types, and those that went in between, are not measured.
        let known = zip(keys, places).compactMap { key, place in place.map { (key: key, place: $0) } }
        let sizes = try client.executeAll(known.map { [Array(kinds[$0.place].sizeCommand.utf8), $0.key] })
        for ((key, place), reply) in zip(known, sizes) {
            guard case .integer(let value) = reply else { continue }
            let size = max(0, Int(value))
            kinds[place].keyCount += 1
            kinds[place].total = saturatingSum(kinds[place].total, size)
            guard size > kinds[place].biggest?.size ?? -1, size > 0 else { continue }
            kinds[place].biggest = (key, size)
            var told = kinds[place]
            told.total = size
            found(told, key)
        }
    }

    private func summarize(_ kinds: [Kind], _ sampled: (keyCount: Int, byteCount: Int)) {
        let average = sampled.keyCount > 0 ? Double(sampled.byteCount) / Double(sampled.keyCount) : 0
        print("\n-------- summary -------\n\nSampled \(sampled.keyCount) keys in the keyspace!")
        print("Total key length in bytes is \(sampled.byteCount) (avg len \(fixed(average)))\n")
        for kind in kinds {
            guard let biggest = kind.biggest else { continue }
            let name = String(repeating: " ", count: max(0, 6 - kind.name.count)) + kind.name
            print("Biggest \(name) found '\(quoted(biggest.key))' has \(biggest.size) \(kind.unit)")
        }
        print("")
        for kind in kinds {
            let share = sampled.keyCount > 0 ? 100 * Double(kind.keyCount) / Double(sampled.keyCount) : 0
            let average = kind.keyCount > 0 ? Double(kind.total) / Double(kind.keyCount) : 0
            print(
                "\(kind.keyCount) \(kind.name)s with \(kind.total) \(kind.unit) "
                    + "(\(padded(share))% of keys, avg size \(fixed(average)))")
        }
    }

    private func print(_ text: String) { _ = writeBytes(Array((text + "\n").utf8), to: options.output) }
}

/// Sums of what a server says do not overflow.
func saturatingSum(_ left: Int, _ right: Int) -> Int {
    let (sum, isOver) = left.addingReportingOverflow(right)
    return isOver ? .max : sum
}

/// `0.50`
func fixed(_ value: Double) -> String {
    let hundredths = Int(exactly: (value * 100).rounded()) ?? .max
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
}

/// `05.00`
private func padded(_ percentage: Double) -> String {
    percentage < 10 ? "0" + fixed(percentage) : fixed(percentage)
}

/// Waits, for as long as nobody presses Ctrl-C.
package func pause(seconds: Double) {
    guard seconds > 0 else { return }
    usleep(UInt32(min(seconds, 3600) * 1e6))
}
