// The options of SORT, and what its plan asks of them before the handler runs.
//
// Borrowed from the arguments. O(arguments).

import KedisProtocol
import KedisStore
import KedisUtilities

struct SortOptions {
    var by: SortPattern?
    /// BY with a constant: the elements stay in the order of their value.
    var keepsOrder = false
    var isDescending = false
    var isAlphabetic = false
    private(set) var getCount = 0
    private var offset: Int64 = 0
    private var count: Int64 = -1
    private(set) var destinationIndex: Int?
    private let arguments: ArgumentList
    /// BY and GET are refused, since the user may not read any key.
    private let isConfined: Bool

    var storesResult: Bool { destinationIndex != nil }

    init(_ arguments: ArgumentList, isReadOnly: Bool, isConfined: Bool = false) throws(CommandError) {
        self.arguments = arguments
        self.isConfined = isConfined
        var index = 2
        while index < arguments.count {
            index += try take(index, isReadOnly: isReadOnly)
        }
    }

    /// Reads the option at `index` and returns how many arguments it takes.
    private mutating func take(_ index: Int, isReadOnly: Bool) throws(CommandError) -> Int {
        let word = arguments[index]
        let left = arguments.count - index - 1
        if word.equalsIgnoringCase("ASC") {
            isDescending = false
        } else if word.equalsIgnoringCase("DESC") {
            isDescending = true
        } else if word.equalsIgnoringCase("ALPHA") {
            isAlphabetic = true
        } else if word.equalsIgnoringCase("LIMIT"), left >= 2 {
            guard let offset = parseInteger(arguments[index + 1]), let count = parseInteger(arguments[index + 2])
            else { throw .notAnInteger }
            self.offset = offset
            self.count = count
            return 3
        } else if !isReadOnly, word.equalsIgnoringCase("STORE"), left >= 1 {
            destinationIndex = index + 1
            return 2
        } else if word.equalsIgnoringCase("BY"), left >= 1 {
            let pattern = SortPattern(arguments[index + 1])
            by = pattern
            // One constant makes all of them constant, as in Redis.
            if !pattern.hasPlaceholder { keepsOrder = true }
            guard !isConfined || !pattern.hasPlaceholder else {
                throw .literal("ERR BY option of SORT denied due to insufficient ACL permissions.")
            }
            return 2
        } else if word.equalsIgnoringCase("GET"), left >= 1 {
            guard !isConfined else {
                throw .literal("ERR GET option of SORT denied due to insufficient ACL permissions.")
            }
            getCount += 1
            return 2
        } else {
            throw .syntax
        }
        return 1
    }

    /// Calls `body` with the patterns of GET, in order.
    @inline(__always)
    func forEachGet(_ body: (SortPattern) -> Void) {
        guard getCount > 0 else { return }
        var index = 2
        while index < arguments.count {
            let word = arguments[index]
            if word.equalsIgnoringCase("GET") {
                body(SortPattern(arguments[index + 1]))
                index += 2
            } else if word.equalsIgnoringCase("LIMIT") {
                index += 3
            } else {
                index += word.equalsIgnoringCase("BY") || word.equalsIgnoringCase("STORE") ? 2 : 1
            }
        }
    }

    /// The positions of the result among `elementCount` sorted elements.
    func range(of elementCount: Int) -> Range<Int> {
        let all = Int64(elementCount)
        let start = min(max(offset, 0), all)
        let taken = count < 0 ? all - start : min(count, all - start)
        return Int(start)..<Int(start + taken)
    }

    // MARK: The plan

    /// The argument that STORE names.
    static func destinationIndex(in arguments: ArgumentList) -> Int? {
        (try? SortOptions(arguments, isReadOnly: false))?.destinationIndex
    }

    /// Whether elements name keys that are read: BY or GET with a placeholder.
    static func readsOtherKeys(_ arguments: ArgumentList) -> Bool {
        guard let options = try? SortOptions(arguments, isReadOnly: false) else { return false }
        if !options.keepsOrder, options.by != nil { return true }
        var reads = false
        options.forEachGet { reads = reads || $0.hasPlaceholder }
        return reads
    }
}

/// A pattern of BY or GET: a key with `*` in the place of the element, a field of a hash behind `->`, or `#`, the
/// element itself. As in Redis, a zero byte hides what follows from the search for these signs.
struct SortPattern {
    let hasPlaceholder: Bool
    private let isElement: Bool
    private let prefix: ByteView
    private let suffix: ByteView
    private let field: ByteView?

    init(_ pattern: ByteView) {
        let visible = pattern[0..<(pattern.firstIndex(of: 0) ?? pattern.count)]
        isElement = visible == "#"
        guard let star = visible.firstIndex(of: 0x2A) else {
            hasPlaceholder = false
            (prefix, suffix, field) = (pattern, .empty, nil)
            return
        }
        hasPlaceholder = true
        prefix = pattern[0..<star]
        if let arrow = SortPattern.arrow(in: visible, from: star + 1), arrow + 2 < visible.count {
            suffix = pattern[star + 1..<arrow]
            field = pattern[arrow + 2..<pattern.count]
        } else {
            suffix = pattern[star + 1..<pattern.count]
            field = nil
        }
    }

    private static func arrow(in text: ByteView, from start: Int) -> Int? {
        var index = start
        while index + 1 < text.count {
            if text[index] == 0x2D, text[index + 1] == 0x3E { return index }
            index += 1
        }
        return nil
    }

    /// What the pattern stands for with this element; nil when there is no such string. Valid until the keyspace is
    /// changed.
    func value(for element: StringValue, in keyspace: Keyspace) -> StringValue? {
        if isElement { return element }
        guard hasPlaceholder else { return nil }
        return element.withBytes { bytes in
            let byteCount = prefix.count + bytes.count + suffix.count
            guard byteCount < 64 << 10 || hasHeadroom(beside: byteCount) else { return nil }
            return withUnsafeTemporaryAllocation(byteCount: max(1, byteCount), alignment: 1) { room in
                var offset = 0
                for piece in [prefix, bytes, suffix] {
                    UnsafeMutableRawBufferPointer(rebasing: room[offset...]).copyMemory(from: piece.raw)
                    offset += piece.count
                }
                let name = ByteView(UnsafeRawBufferPointer(rebasing: room[0..<byteCount]))
                guard let entry = keyspace.read(keyspace.key(name)) else { return nil }
                return value(of: entry, nowMilliseconds: keyspace.nowMilliseconds)
            }
        }
    }

    private func value(of entry: Entry, nowMilliseconds: Int64) -> StringValue? {
        guard let field else { return entry.type == .string ? entry.string : nil }
        return entry.sortField(field, nowMilliseconds: nowMilliseconds)
    }
}
