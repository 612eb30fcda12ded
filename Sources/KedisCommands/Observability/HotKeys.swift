// The hottest keys: those that are used most often, from a sample of all accesses, by windows of time.
//
//      sampled access ─▶ live window: counters of keys ──(its time is over)──▶ the report ─▶ HOTKEYS GET
//
// Space-Saving (Metwally, Agrawal, El Abbadi, 2005): a key without a counter takes over the one with the lowest count,
// and inherits that count as its error. A key that had more than 1/counters of all accesses is surely there. Reported
// is what a key has had at least, count less error, so nothing that is named is there by chance of the replacement.
//
// Ownership: the engine's. Threads: any; a lock, taken for what is in the sample. Bounds: four counters for each key
// that is reported, 1,024 at most (or as many as are reported); keys of more than 4 KiB are passed over. Cost: a walk
// over the counters, which are two arrays of words.

import KedisStore
import KedisUtilities

package final class HotKeys: Sendable {
    /// A key of the report.
    package struct Entry: Sendable {
        package let key: [UInt8]
        package let databaseIndex: Int
        package let accessesPerSecond: Int64
    }

    /// What HOTKEYS GET and INFO tell: of the last window that is over.
    package struct Report: Sendable {
        package fileprivate(set) var entries: [Entry] = []
        package fileprivate(set) var sampleCount = 0
        package fileprivate(set) var durationMilliseconds: Int64 = 0
    }

    private struct Settings: Equatable {
        var topCount = 0
        /// One access in so many is in the sample.
        var interval = 100
        var windowMilliseconds: Int64 = 1000
    }

    private let state = Locked(State())
    private static let keyByteCountMax = 4096

    // MARK: Settings

    /// Follows the directives. Another value begins another window and keeps the report.
    func limit(topCount: Int, interval: Int, windowMilliseconds: Int64) {
        let settings = Settings(topCount: topCount, interval: interval, windowMilliseconds: windowMilliseconds)
        state.withLock { state in
            guard state.settings != settings else { return }
            state.settings = settings
            state.empty()
        }
    }

    // MARK: Writing

    /// Notes an access that is in the sample.
    func note(_ key: Key, databaseIndex: Int, nowMilliseconds: Int64) {
        guard key.bytes.count <= Self.keyByteCountMax else { return }
        state.withLock { state in
            guard state.settings.topCount > 0 else { return }
            state.advance(to: nowMilliseconds)
            state.count(key, databaseIndex)
        }
    }

    // MARK: Reading

    package func report(nowMilliseconds: Int64) -> Report {
        state.withLock { state in
            state.advance(to: nowMilliseconds)
            return state.report
        }
    }

    /// HOTKEYS RESET
    package func reset() {
        state.withLock { state in
            state.empty()
            state.report = Report()
        }
    }

    // MARK: The sketch

    private struct State {
        var settings = Settings()
        var report = Report()
        /// By counter: the hash of key and database, the count, and who it is.
        private var hashes: [UInt64] = []
        private var counts: [UInt64] = []
        private var owners: [Owner] = []
        private var sampleCount = 0
        /// When the live window began; nil before its first access.
        private var startMilliseconds: Int64?

        private struct Owner {
            var key: [UInt8]
            var databaseIndex: Int
            var error: UInt64
        }

        private var counterCountMax: Int { max(min(max(64, 4 * settings.topCount), 1024), settings.topCount) }

        mutating func empty() {
            hashes.removeAll(keepingCapacity: true)
            counts.removeAll(keepingCapacity: true)
            owners.removeAll(keepingCapacity: true)
            sampleCount = 0
            startMilliseconds = nil
        }

        mutating func count(_ key: Key, _ databaseIndex: Int) {
            sampleCount += 1
            let hash = key.hash &+ UInt64(truncatingIfNeeded: databaseIndex) &* 0x9E37_79B9_7F4A_7C15
            if let index = hashes.firstIndex(of: hash) {
                counts[index] += 1
                return
            }
            guard counts.count == counterCountMax else {
                hashes.append(hash)
                counts.append(1)
                owners.append(Owner(key: key.bytes.bytes, databaseIndex: databaseIndex, error: 0))
                return
            }
            var lowest = 0
            for index in counts.indices where counts[index] < counts[lowest] { lowest = index }
            owners[lowest] = Owner(key: key.bytes.bytes, databaseIndex: databaseIndex, error: counts[lowest])
            hashes[lowest] = hash
            counts[lowest] += 1
        }

        /// Ends the live window when its time is over. One that nobody looked at for longer has nothing to report: in
        /// the window before now nothing was used.
        mutating func advance(to nowMilliseconds: Int64) {
            guard let start = startMilliseconds else {
                startMilliseconds = nowMilliseconds
                return
            }
            let elapsed = nowMilliseconds - start
            let window = settings.windowMilliseconds
            guard elapsed >= window || elapsed < 0 else { return }
            report = elapsed < 2 * window && elapsed > 0 ? makeReport() : Report(durationMilliseconds: window)
            empty()
            startMilliseconds = elapsed > 0 ? nowMilliseconds - elapsed % window : nowMilliseconds
        }

        private func makeReport() -> Report {
            let order = counts.indices.map { (index: $0, count: counts[$0] - owners[$0].error) }
                .sorted { $0.count != $1.count ? $0.count > $1.count : $0.index < $1.index }
            let entries = order.prefix(settings.topCount).map { index, count in
                let accesses = Double(count) * Double(settings.interval)
                return Entry(
                    key: owners[index].key, databaseIndex: owners[index].databaseIndex,
                    accessesPerSecond: Int64(accesses * 1000 / Double(settings.windowMilliseconds)))
            }
            return Report(
                entries: Array(entries), sampleCount: sampleCount, durationMilliseconds: settings.windowMilliseconds)
        }
    }
}
