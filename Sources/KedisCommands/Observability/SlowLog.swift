// The slow log: the last commands that took long, with what was asked and by whom.
//
// Ownership: the engine's. Threads: any; a lock guards the entries, the limits are atomics. Bounds: `slowlog-max-len`
// entries, each of at most 32 arguments and 128 bytes of each, as in Redis. Cost: nothing for commands that are not
// slow; an entry copies its arguments.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

package final class SlowLog: Sendable {
    package struct Entry: Sendable {
        package var identifier: Int64
        package var seconds: Int64
        package var microseconds: Int64
        package var arguments: [[UInt8]]
        package var address: String
        package var name: [UInt8]
    }

    private struct State {
        /// Oldest first, from `start` on; what is before it was dropped.
        var entries: [Entry] = []
        var start = 0
        var nextIdentifier: Int64 = 0

        var count: Int { entries.count - start }

        /// Drops the oldest beyond `countMax`; now and then also their places.
        mutating func trim(to countMax: Int) {
            while count > countMax {
                entries[start] = Entry.none
                start += 1
            }
            guard start > 64, start > count else { return }
            entries.removeFirst(start)
            start = 0
        }
    }

    private let state = Locked(State())
    /// `slowlog-log-slower-than`; `.max` for never.
    let nanosecondsMin = Atomic<UInt64>(.max)
    private let countMax = Atomic<Int>(128)

    private static let argumentCountMax = 32
    private static let argumentByteCountMax = 128

    /// Follows the directives. What is too much goes with the next entry, as in Redis.
    func limit(nanosecondsMin: UInt64, countMax: Int) {
        self.nanosecondsMin.store(nanosecondsMin, ordering: .relaxed)
        self.countMax.store(countMax, ordering: .relaxed)
    }

    // MARK: Writing

    /// Enters a command.
    ///
    /// - Parameter followerCount: how many of its kind were executed with it, of which any may have been the slow one.
    func add(
        _ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList, followerCount: Int = 0, nanoseconds: UInt64,
        client: ClientRecord, wallMilliseconds: Int64
    ) {
        var copies = Self.copies(of: arguments, Redaction(entry, arguments))
        if followerCount > 0 {
            copies.append(Array("... (\(followerCount) more commands of the pipeline)".utf8))
        }
        let new = Entry(
            identifier: 0, seconds: wallMilliseconds / 1000, microseconds: Int64(clamping: nanoseconds / 1000),
            arguments: copies, address: client.endpoint.address, name: client.names.withLock { $0.name })
        let countMax = countMax.load(ordering: .relaxed)
        state.withLock { state in
            var new = new
            new.identifier = state.nextIdentifier
            state.nextIdentifier += 1
            state.entries.append(new)
            state.trim(to: countMax)
        }
    }

    private static func copies(of arguments: ArgumentList, _ redaction: Redaction) -> [[UInt8]] {
        let count = min(arguments.count, argumentCountMax)
        return (0..<count).map { index in
            if arguments.count > argumentCountMax, index == count - 1 {
                return Array("... (\(arguments.count - count + 1) more arguments)".utf8)
            }
            guard !redaction.hides(index) else { return ByteView(Redaction.text).bytes }
            let argument = arguments[index]
            guard argument.count > argumentByteCountMax else { return argument.bytes }
            let rest = "... (\(argument.count - argumentByteCountMax) more bytes)"
            return argument[0..<argumentByteCountMax].bytes + Array(rest.utf8)
        }
    }

    // MARK: Reading

    package var count: Int { state.withLock { $0.count } }

    /// The number of the last entry ever made, or -1.
    package var lastIdentifier: Int64 { state.withLock { $0.nextIdentifier - 1 } }

    /// The newest `countMax` entries, newest first.
    package func newest(_ countMax: Int) -> [Entry] {
        state.withLock { state in
            Array(state.entries[state.start...].suffix(countMax).reversed())
        }
    }

    /// SLOWLOG RESET; numbers go on.
    package func reset() {
        state.withLock { state in
            state.entries = []
            state.start = 0
        }
    }
}

extension SlowLog.Entry {
    fileprivate static let none = SlowLog.Entry(
        identifier: 0, seconds: 0, microseconds: 0, arguments: [], address: "", name: [])
}
