// The shortest part of a sequence that still fails, found by leaving out ever smaller parts.

import KedisUtilities

/// Shrinks `steps` for at most so many seconds.
///
/// - Parameter firstFailure: runs steps from the beginning; the index of the one that fails, or nil.
package func shortestFailing<Step>(
    _ steps: [Step], seconds: UInt64 = 20, firstFailure: ([Step]) throws -> Int?
) rethrows -> [Step] {
    let end = monotonicNanoseconds() + seconds * 1_000_000_000
    var shortest = steps
    var size = max(1, shortest.count / 2)
    while monotonicNanoseconds() < end {
        var start = 0
        var isShorter = false
        while start < shortest.count, monotonicNanoseconds() < end {
            var candidate = shortest
            candidate.removeSubrange(start..<min(shortest.count, start + size))
            if !candidate.isEmpty, let index = try firstFailure(candidate) {
                shortest = Array(candidate.prefix(index + 1))
                isShorter = true
            } else {
                start += size
            }
        }
        if size == 1, !isShorter { break }
        size = max(1, size / 2)
    }
    return shortest
}
