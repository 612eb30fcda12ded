// The segments of an open journal: which there are, how long, and which may go.
//
// Threads: any; a lock guards the list, never held during a system call. The journal's thread adds segments and bytes,
// whoever compacts removes. Segments go oldest first, so that what is left never has a gap.

import KedisStore
import KedisUtilities

/// How long segments are kept that no start needs any more, for going back to a moment.
package struct JournalRetention: Equatable, Sendable {
    /// Those with records younger than this are kept; nil: age keeps none.
    package var milliseconds: Int64?
    /// The newest of them are kept up to this many bytes; nil: none for their size.
    package var byteCount: Int?

    package init(milliseconds: Int64? = nil, byteCount: Int? = nil) {
        self.milliseconds = milliseconds
        self.byteCount = byteCount
    }
}

struct JournalSegments: ~Copyable, Sendable {
    private let list: Locked<[JournalSegment]>

    init(_ segments: [JournalSegment]) { list = Locked(segments) }

    /// A new last segment. One with the same first sequence, and any that begins later, has been replaced by it.
    func add(_ segment: JournalSegment) {
        list.withLock { list in
            list.removeAll { $0.firstSequence >= segment.firstSequence }
            list.append(segment)
        }
    }

    /// The last segment has grown.
    func grow(byteCount: Int) {
        list.withLock { list in
            if !list.isEmpty { list[list.count - 1].byteCount += byteCount }
        }
    }

    var byteCount: Int { list.withLock { $0.reduce(0) { $0 + $1.byteCount } } }
    var count: Int { list.withLock { $0.count } }
    var firstSequence: UInt64? { list.withLock { $0.first?.firstSequence } }

    /// The bytes of the segments that begin behind `sequence`.
    func byteCount(behind sequence: UInt64) -> Int {
        list.withLock { list in list.reduce(0) { $0 + ($1.firstSequence > sequence ? $1.byteCount : 0) } }
    }

    func count(behind sequence: UInt64) -> Int {
        list.withLock { list in list.reduce(0) { $0 + ($1.firstSequence > sequence ? 1 : 0) } }
    }

    /// The segments whose records all come before `sequence` and that `retention` does not keep, oldest first.
    func removable(before sequence: UInt64, _ retention: JournalRetention, nowMilliseconds: Int64) -> [JournalSegment] {
        list.withLock { list in
            let ends = zip(list, list.dropFirst()).prefix { $1.firstSequence <= sequence }
            let segments = ends.map { $0.0 }
            // A segment's last record is not younger than the next one's creation.
            let ages = ends.map { $1.createdMilliseconds }
            var bytesFromHere = segments.reduce(0) { $0 + $1.byteCount }
            var count = 0
            for (segment, end) in zip(segments, ages) {
                if let span = retention.milliseconds, end > nowMilliseconds - max(0, min(span, nowMilliseconds)) {
                    break
                }
                if let limit = retention.byteCount, bytesFromHere <= limit { break }
                bytesFromHere -= segment.byteCount
                count += 1
            }
            return Array(segments.prefix(count))
        }
    }

    func remove(_ segment: JournalSegment) {
        list.withLock { list in list.removeAll { $0.firstSequence == segment.firstSequence && $0.path == segment.path }
        }
    }
}
