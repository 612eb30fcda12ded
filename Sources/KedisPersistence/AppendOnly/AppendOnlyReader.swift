// Reads append-only files of redis-server: a snapshot perhaps, then requests as clients send them.
//
//      "REDIS…" RDB …   *2 SELECT 0   *3 SET k v   #TS:1700000000   *1 MULTI … *1 EXEC   …
//
// What is given out are whole requests, a transaction never in parts, with the database that they begin in. The end of
// the last file may be torn: a request, or a transaction, that is not whole was never confirmed. Anything else that is
// no request is an error, with its place.
// Memory: the file's buffer, as large as the longest request or transaction. Cost: one pass.

package import KedisUtilities

/// The torn end of the last file, which is left out.
package struct AppendOnlyCut: Equatable, Sendable {
    package var path: String
    package var offset: Int
    package var byteCount: Int
}

package struct AppendOnlyReader {
    private let files: AppendOnlyFiles
    private let fileSystem: FileSystem
    private let progress: (_ done: Int, _ total: Int) -> Void
    private var doneByteCount = 0
    private var totalByteCount = 0
    private var databaseIndex = 0
    /// Requests that were given out.
    package private(set) var requestCount: UInt64 = 0

    package init(
        _ files: AppendOnlyFiles, fileSystem: FileSystem = .system,
        progress: @escaping (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) {
        self.files = files
        self.fileSystem = fileSystem
        self.progress = progress
    }

    /// Reads all files: `snapshot` loads the one at the start of a file and answers how long it is, `requests` gets
    /// whole requests. Returns what was left out of the last file, if anything.
    package mutating func run(
        snapshot: (_ path: String) throws(JournalRefusal) -> Int,
        requests: (_ bytes: ByteView, _ databaseIndex: Int) throws(JournalRefusal) -> Void
    ) throws(AppendOnlyError) -> AppendOnlyCut? {
        var cut: AppendOnlyCut?
        do throws(SystemError) {
            for path in files.paths { totalByteCount += try fileSystem.byteCount(of: path) }
        } catch {
            throw AppendOnlyError(error.description)
        }
        for (index, path) in files.paths.enumerated() {
            // Each file says anew which database it begins in.
            databaseIndex = 0
            cut = try read(path, snapshot, requests)
            if let cut, index + 1 < files.paths.count {
                throw AppendOnlyError(
                    path: path, offset: cut.offset,
                    "the file ends within a request, and another one follows it. Put it back from a copy")
            }
        }
        return cut
    }

    private mutating func read(
        _ path: String, _ snapshot: (String) throws(JournalRefusal) -> Int,
        _ requests: (ByteView, Int) throws(JournalRefusal) -> Void
    ) throws(AppendOnlyError) -> AppendOnlyCut? {
        var source: AppendOnlySource
        do {
            source = try AppendOnlySource(path, fileSystem)
        } catch {
            throw AppendOnlyError(error.description)
        }
        defer { source.close() }
        if try source.hasSnapshot() {
            do throws(JournalRefusal) {
                try source.skip(to: snapshot(path))
            } catch {
                throw AppendOnlyError(path: path, offset: 0, error.reason)
            }
        }
        while true {
            switch try source.next() {
            case .requests(let range, let count, let databaseIndex):
                do throws(JournalRefusal) {
                    try source.withBytes(range) { (bytes) throws(JournalRefusal) in
                        try requests(bytes, self.databaseIndex)
                    }
                } catch {
                    let offset = source.offset(ofRequest: error.requestIndex ?? 0, in: range)
                    throw AppendOnlyError(path: path, offset: offset, error.reason)
                }
                requestCount += UInt64(count)
                if let databaseIndex { self.databaseIndex = databaseIndex }
                progress(doneByteCount + source.offset(of: range), totalByteCount)
            case .end(let torn):
                doneByteCount += source.byteCount
                progress(doneByteCount, totalByteCount)
                guard torn > 0 else { return nil }
                return AppendOnlyCut(path: path, offset: source.byteCount - torn, byteCount: torn)
            }
        }
    }
}
