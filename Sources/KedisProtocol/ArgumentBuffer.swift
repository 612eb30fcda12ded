// The argument ranges of a batch, and the unescaped bytes of inline commands.
//
// Ownership: the session owns one for its lifetime; the parser appends; `removeAll()` between batches. Ranges of a RESP
// request count from the request's first byte, those of an inline command from `inlineBase`.

package import KedisUtilities

@usableFromInline
package struct ArgumentBuffer: ~Copyable {
    @usableFromInline var ranges: UnsafeMutablePointer<ArgumentRange>
    private var capacity: Int
    @usableFromInline package private(set) var count = 0
    private var inlineBytes: [UInt8] = []

    /// For a connection that sends one request at a time; a pipeline makes it grow once.
    private static let initialCapacity = 16

    package init() {
        ranges = smallBuffer(ArgumentRange.self, capacity: Self.initialCapacity)
        capacity = Self.initialCapacity
    }

    deinit { deallocateBuffer(ranges) }

    package var allocatedByteCount: Int { capacity * MemoryLayout<ArgumentRange>.stride + inlineBytes.capacity }

    /// Appends a range; false when memory is exhausted.
    @inline(__always)
    package mutating func append(_ range: ArgumentRange) -> Bool {
        if count == capacity, !resizeSlowly(capacity * 2) { return false }
        ranges[count] = range
        count += 1
        return true
    }

    /// Makes room for `rangeCount` more ranges; false when memory is exhausted.
    @inline(__always)
    package mutating func reserve(_ rangeCount: Int) -> Bool {
        capacity &- count >= rangeCount || resizeSlowly(max(capacity * 2, count + rangeCount))
    }

    /// Where the next ranges go, for which room was made: they count when ``noteAppended(_:)`` says so.
    @inline(__always)
    var free: UnsafeMutablePointer<ArgumentRange> { ranges + count }

    @inline(__always)
    mutating func noteAppended(_ rangeCount: Int) {
        assert(capacity - count >= rangeCount)
        count &+= rangeCount
    }

    /// Forgets the ranges from the one at `index` on.
    package mutating func removeLast(from index: Int) {
        assert(index <= count)
        count = index
    }

    /// Forgets everything, and memory beyond a usual batch with it.
    package mutating func removeAll() {
        count = 0
        if !inlineBytes.isEmpty { inlineBytes.removeAll(keepingCapacity: inlineBytes.capacity <= 1024) }
        if capacity > 4096 { _ = resizeSlowly(Self.initialCapacity) }
    }

    /// Forgets the first `removedCount` ranges: those of executed requests, when the next one is incomplete.
    package mutating func removeFirst(_ removedCount: Int) {
        assert(removedCount <= count)
        guard removedCount > 0 else { return }
        ranges.update(from: ranges + removedCount, count: count - removedCount)
        count -= removedCount
    }

    /// The arguments from `start` of a request whose bytes lie at `base`. Valid until the buffer changes.
    @inlinable
    package func list(from start: Int, count: Int, base: UnsafePointer<UInt8>) -> ArgumentList {
        assert(start >= 0 && start + count <= self.count)
        return ArgumentList(base: base, ranges: UnsafePointer(ranges + start), count: count)
    }

    /// Calls `body` with the address that ranges of inline arguments count from.
    package func withInlineBase<Result>(_ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        inlineBytes.withUnsafeBufferPointer { body($0.baseAddress ?? ByteView.nowhere) }
    }

    @inline(never)
    private mutating func resizeSlowly(_ newCapacity: Int) -> Bool {
        guard let moved = resizeBuffer(ranges, capacity: newCapacity) else { return false }
        ranges = moved
        capacity = newCapacity
        return true
    }
}

// MARK: Inline commands

extension ArgumentBuffer {
    /// Splits a line as redis-server does: blanks separate, double quotes know escapes, single quotes only `\'`, and a
    /// closing quote is followed by a blank or the end. Returns the number of arguments.
    package mutating func appendInline(_ line: ByteView) throws(ProtocolError) -> Int {
        // Inline requests are executed one by one, so the bytes of the one before are free.
        inlineBytes.removeAll(keepingCapacity: true)
        var splitter = ArgumentSplitter(line: line)
        var appended = 0
        while true {
            splitter.skipBlanks()
            if splitter.isAtEnd { return appended }
            let start = inlineBytes.count
            guard splitter.readArgument(into: &inlineBytes) else {
                count -= appended
                throw .unbalancedQuotes
            }
            guard append(ArgumentRange(offset: start, count: inlineBytes.count - start)) else { throw .memoryExhausted }
            appended += 1
        }
    }
}
