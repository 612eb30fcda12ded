// `kedis restore` and `kedis check`: a journal's state at some moment as a snapshot of its own, and whether files can
// be read. Both only read what they are given. Memory: the data, once.

package import KedisCommands
package import KedisPersistence
import KedisStore
import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// What a restore did.
package struct RestoreSummary: Sendable {
    package var keyCount: Int
    package var recordCount: Int
    package var lastSequence: UInt64
    /// The time of the last record; 0 when there was none.
    package var lastMilliseconds: Int64
    /// The journal ends before what was asked for.
    package var endsBeforeBound: Bool
    /// Of the databases that have keys, the last one and those before it.
    package var databaseCount: Int
    package var path: String
}

/// As many databases as a server can have: whoever wrote a file may have had them.
package let databaseCountMax = 16_384

/// Why something of the journal's tools was not done: a sentence for people.
package struct JournalToolError: Error, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
}

/// Writes the state that the journal in `journal` had at `bound` into the folder `target`, as `dump.rdb`, which a
/// server started there loads. The folder is made when it is not there; one that has data already is refused. On return
/// it is on disk; on failure it is as it was before.
package func restoreJournal(
    _ journal: String, until bound: JournalBound, into target: String, configuration: Configuration = Configuration(),
    databaseCount: Int = databaseCountMax, fileSystem: FileSystem = .system,
    progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(JournalToolError) -> RestoreSummary {
    let folder = try TargetFolder(target, fileSystem)
    do {
        let store = Store(databaseCount: databaseCount, seed: HashSeed(systemEntropy(), systemEntropy()))
        let loaded = try loadJournal(
            journal, until: bound, into: store, configuration: configuration, removesLeftovers: false,
            fileSystem: fileSystem, progress: progress)
        let recovered = loaded.recovered
        guard recovered.basePath != nil || recovered.segmentCount > 0 else {
            throw JournalToolError(description: "there is no journal in \(journal)")
        }
        // What was due at that moment is gone; the rest has its deadline, whenever that was.
        let saved = try saveSnapshot(
            of: store, to: "\(target)/dump.rdb", options: SnapshotOptions(functions: loaded.base?.functions ?? []),
            nowMilliseconds: recovered.lastMilliseconds, fileSystem: fileSystem)
        try folder.commit()
        return RestoreSummary(
            keyCount: saved.keyCount, recordCount: recovered.recordCount, lastSequence: recovered.lastSequence,
            lastMilliseconds: recovered.lastMilliseconds, endsBeforeBound: recovered.endsBeforeBound,
            databaseCount: neededDatabaseCount(store, nowMilliseconds: recovered.lastMilliseconds),
            path: "\(target)/dump.rdb")
    } catch {
        folder.discard(["dump.rdb"])
        throw JournalToolError(description: explanation(of: error, bound))
    }
}

/// What `error` says, and where a moment is too early, which would not be.
private func explanation(of error: any Error, _ bound: JournalBound) -> String {
    guard case .noBase(_, let sequence, let milliseconds)? = error as? JournalError else { return "\(error)" }
    if case .sequence = bound, let sequence {
        return "\(error): the first record that it goes back to is \(sequence)"
    }
    guard case .milliseconds = bound, let milliseconds else { return "\(error)" }
    return "\(error): the first one that it goes back to is \(moment(milliseconds))"
}

private func neededDatabaseCount(_ store: Store, nowMilliseconds: Int64) -> Int {
    let last = (0..<store.databaseCount).last { store.keyspace($0, nowMilliseconds: nowMilliseconds).count > 0 }
    return (last ?? 0) + 1
}

/// Loads the snapshot at `path` into nothing, and says what is in it.
package func checkSnapshot(
    _ path: String, databaseCount: Int = databaseCountMax, fileSystem: FileSystem = .system,
    progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(JournalToolError) -> LoadSummary {
    do {
        let store = Store(databaseCount: databaseCount, seed: HashSeed(systemEntropy(), systemEntropy()))
        let summary = try loadSnapshot(
            into: store, from: path, nowMilliseconds: 0, fileSystem: fileSystem, progress: progress)
        guard let summary else { throw JournalToolError(description: "\(path) is not there") }
        return summary
    } catch let error as JournalToolError {
        throw error
    } catch {
        throw JournalToolError(description: "\(error)")
    }
}

/// What append-only files of redis-server were found to be.
package struct AppendOnlyCheck: Sendable {
    package var paths: [String]
    /// Keys of the snapshot that they begin with; nil without one.
    package var baseKeyCount: Int?
    package var requestCount: UInt64
    package var cut: AppendOnlyCut?
}

/// Loads append-only files of redis-server into nothing: those of a folder, or of a manifest, or a single one. Nil when
/// the folder has none.
package func checkAppendOnlyFiles(
    _ path: String, isFolder: Bool, progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
) throws(JournalToolError) -> AppendOnlyCheck? {
    do {
        let files: AppendOnlyFiles?
        if isFolder {
            files = try AppendOnlyFiles.find(directory: path, fileName: "appendonly.aof", folder: path)
        } else if path.hasSuffix(".manifest") {
            files = try AppendOnlyFiles.read(manifest: path)
        } else {
            files = AppendOnlyFiles(path: path, paths: [path])
        }
        guard let files else { return nil }
        if path.hasSuffix(".incr.aof") {
            // What it is about lies in the files before it: only its form can be looked at.
            var reader = AppendOnlyReader(files, progress: progress)
            let cut = try reader.run(
                snapshot: { (_) throws(JournalRefusal) in 0 }, requests: { (_, _) throws(JournalRefusal) in })
            return AppendOnlyCheck(paths: files.paths, requestCount: reader.requestCount, cut: cut)
        }
        let store = Store(databaseCount: databaseCountMax, seed: HashSeed(systemEntropy(), systemEntropy()))
        let loaded = try loadAppendOnlyFiles(
            files, into: store, configuration: Configuration(), progress: progress)
        return AppendOnlyCheck(
            paths: files.paths, baseKeyCount: loaded.base?.keyCount, requestCount: loaded.requestCount, cut: loaded.cut)
    } catch {
        throw JournalToolError(description: "\(error)")
    }
}

/// What `--until` says: a sequence, or a moment as ISO 8601 has it (`2026-11-23T10:15:00Z`, a fraction, `+01:00`).
package func journalBound(_ text: String) -> JournalBound? {
    if let sequence = UInt64(text) { return .sequence(sequence) }
    return unixMilliseconds(text).map { .milliseconds($0) }
}

private func unixMilliseconds(_ text: String) -> Int64? {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes[4] == 0x2D, bytes[7] == 0x2D, bytes[10] == 0x54 || bytes[10] == 0x20,
        bytes[13] == 0x3A, bytes[16] == 0x3A
    else { return nil }
    func number(_ range: Range<Int>) -> Int64? {
        guard range.upperBound <= bytes.count, bytes[range].allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
        return bytes[range].reduce(0) { 10 * $0 + Int64($1 - 0x30) }
    }
    guard let year = number(0..<4), let month = number(5..<7), (1...12).contains(month), let day = number(8..<10),
        day >= 1, day <= daysOfMonth(month, year), let hour = number(11..<13), hour < 24,
        let minute = number(14..<16), minute < 60, let second = number(17..<19), second < 60
    else { return nil }
    var position = 19
    var milliseconds: Int64 = 0
    if bytes[position] == 0x2E {
        let digits = bytes[(position + 1)...].prefix { $0 >= 0x30 && $0 <= 0x39 }
        guard (1...9).contains(digits.count) else { return nil }
        let padded = (Array(digits) + [0x30, 0x30]).prefix(3)
        milliseconds = padded.reduce(0) { 10 * $0 + Int64($1 - 0x30) }
        position += 1 + digits.count
    }
    let zone = Array(bytes[position...])
    var offset: Int64 = 0
    if zone != [0x5A] {
        guard zone.count == 6, zone[0] == 0x2B || zone[0] == 0x2D, zone[3] == 0x3A,
            let hours = number(position + 1..<position + 3), hours < 24,
            let minutes = number(position + 4..<position + 6), minutes < 60
        else { return nil }
        offset = (hours * 60 + minutes) * (zone[0] == 0x2B ? 60 : -60)
    }
    let days = daysSince1970(year, month, day)
    return ((days * 24 + hour) * 60 + minute) * 60_000 + (second - offset) * 1000 + milliseconds
}

private func isLeap(_ year: Int64) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

private func daysOfMonth(_ month: Int64, _ year: Int64) -> Int64 {
    [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][Int(month) - 1]
}

private func daysSince1970(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    // Leap days before a year: every 4th, not every 100th, but every 400th.
    func leapDays(before year: Int64) -> Int64 { (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400 }
    let days = (year - 1970) * 365 + leapDays(before: year) - leapDays(before: 1970)
    return (1..<month).reduce(days) { $0 + daysOfMonth($1, year) } + day - 1
}

/// Milliseconds since 1970 as ISO 8601.
package func moment(_ milliseconds: Int64) -> String {
    var seconds = time_t(milliseconds / 1000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let fraction = String(1000 + milliseconds % 1000).dropFirst()
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))T"
        + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)Z"
}
