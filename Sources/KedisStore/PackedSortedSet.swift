// A small sorted set in its cell: a count of 2 bytes, then for each element, in order, its member and its score as
// packed entries (PackedEntry.swift).
//
// A score is an integer where it is one, else the shortest text that means it, so that the run is what files have.
// Ownership: none, a view of a cell. Cost: every search is O(elements).

package import KedisUtilities

/// A member and its score, as results of set operations are gathered. The bytes are borrowed.
package struct ScoredMember: BitwiseCopyable {
    package var member: ByteView
    package var score: Double

    package init(_ member: ByteView, _ score: Double) {
        self.member = member
        self.score = score
    }

    /// The order of sorted sets.
    @inline(__always)
    package static func precedes(_ left: ScoredMember, _ right: ScoredMember) -> Bool {
        left.score < right.score || (left.score == right.score && left.member < right.member)
    }
}

/// The integer that a packed run keeps a score as, if it is one; a negative zero is a zero there.
package func packedInteger(_ score: Double) -> Int64? {
    score.magnitude <= 0x1p62 ? Int64(exactly: score) : nil
}

/// Calls `body` with a score as packed runs keep it.
func withPackedScore<Result>(_ score: Double, _ body: (StringValue) -> Result) -> Result {
    if let integer = packedInteger(score) { return body(.integer(integer)) }
    var text = score.description
    return text.withUTF8 { body(.bytes(ByteView(UnsafeRawBufferPointer($0)))) }
}

/// The score that an entry of a run stands for; nil when it is none.
package func packedScore(_ value: StringValue) -> Double? {
    switch value {
    case .integer(let integer): Double(integer)
    case .bytes(let text): parseDouble(text)
    }
}

struct PackedSortedSet {
    static let countByteCount = 2
    /// The most elements that the count can say.
    static let countMax = Int(UInt16.max)

    /// An element: its offset from the start of the value, that of its score and that of its end.
    struct Element {
        var index: Int
        var offset: Int
        var scoreOffset: Int
        var end: Int
    }

    let bytes: ByteView

    init(_ bytes: ByteView) { self.bytes = bytes }

    private var base: UnsafeRawPointer { UnsafeRawPointer(bytes.base) }

    var count: Int { Int(base.loadUnaligned(as: UInt16.self)) }

    var run: ByteView { bytes[PackedSortedSet.countByteCount..<bytes.count] }

    // MARK: Elements

    var first: Element { element(at: PackedSortedSet.countByteCount, index: 0) }

    /// The element at an offset; at the end an empty one with ``count`` as its index.
    @inline(__always)
    func element(at offset: Int, index: Int) -> Element {
        guard offset < bytes.count else {
            return Element(index: index, offset: offset, scoreOffset: offset, end: offset)
        }
        let scoreOffset = offset &+ PackedEntry.byteCount(at: base + offset)
        return Element(
            index: index, offset: offset, scoreOffset: scoreOffset,
            end: scoreOffset &+ PackedEntry.byteCount(at: base + scoreOffset))
    }

    @inline(__always)
    func element(after element: Element) -> Element { self.element(at: element.end, index: element.index &+ 1) }

    /// The element before, which there is.
    func element(before element: Element) -> Element {
        let scoreOffset = element.offset &- PackedEntry.byteCount(before: base + element.offset)
        let offset = scoreOffset &- PackedEntry.byteCount(before: base + scoreOffset)
        return Element(index: element.index &- 1, offset: offset, scoreOffset: scoreOffset, end: element.offset)
    }

    /// The element at a rank of at most ``count``, walked to from the nearer end.
    func element(ofRank rank: Int) -> Element {
        if rank <= count / 2 {
            var element = first
            for _ in 0..<rank { element = self.element(after: element) }
            return element
        }
        var element = element(at: bytes.count, index: count)
        for _ in rank..<count { element = self.element(before: element) }
        return element
    }

    @inline(__always)
    func member(_ element: Element) -> StringValue { PackedEntry.value(at: base + element.offset) }

    @inline(__always)
    func score(_ element: Element) -> Double { packedScore(PackedEntry.value(at: base + element.scoreOffset)) ?? 0 }

    // MARK: Search

    func find(_ member: ByteView) -> Element? {
        let wanted = packedValue(member)
        var element = first
        while element.offset < bytes.count {
            switch (self.member(element), wanted) {
            case (.integer(let own), .integer(let other)) where own == other: return element
            case (.bytes(let own), .bytes(let other)) where own == other: return element
            default: element = self.element(after: element)
            }
        }
        return nil
    }

    /// The first element that comes after (`score`, `member`), or the end.
    func firstElement(after score: Double, _ member: ByteView) -> Element {
        firstElement { own, value in
            own > score || (own == score && value.withBytes { member < $0 })
        }
    }

    /// The first element for which a condition on its score and member holds, or the end.
    @inline(__always)
    func firstElement(where holds: (Double, StringValue) -> Bool) -> Element {
        var element = first
        while element.offset < bytes.count, !holds(score(element), member(element)) {
            element = self.element(after: element)
        }
        return element
    }

    /// Walks the run and traps when something does not hold.
    func checkInvariants() {
        precondition(packedEntryCount(run) == 2 * count)
        var element = first
        var before: (score: Double, member: [UInt8])?
        while element.offset < bytes.count {
            let score = score(element)
            precondition(packedScore(PackedEntry.value(at: base + element.scoreOffset))?.isNaN == false)
            let member = member(element).withBytes { $0.bytes }
            if let before {
                precondition(
                    before.score < score
                        || (before.score == score && before.member.lexicographicallyPrecedes(member)), "in order")
            }
            before = (score, member)
            element = self.element(after: element)
        }
    }
}
