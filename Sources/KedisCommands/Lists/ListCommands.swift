// The family of list commands, and what they share: ends, positions, changes with their events.
//
// A list that is changed is looked up first (type, access clock, deadline) and then edited in place. Views of elements
// are replied or copied before the list changes. A list goes with its last element, which is the event `del`.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let listCommands: [CommandSpec] = [
    BlockingListMoveCommand.spec,
    BlockingListPopCommand.multipleSpec,
    BlockingListPopCommand.headSpec,
    BlockingListPopCommand.tailSpec,
    BlockingListMoveCommand.tailToHeadSpec,
    ListIndexCommand.spec,
    ListInsertCommand.spec,
    ListLengthCommand.spec,
    ListMoveCommand.spec,
    ListPopCommand.multipleSpec,
    ListPopCommand.headSpec,
    ListPositionCommand.spec,
    ListPushCommand.headSpec,
    ListPushCommand.headIfPresentSpec,
    ListRangeCommand.spec,
    ListRemoveCommand.spec,
    ListSetCommand.spec,
    ListTrimCommand.spec,
    ListPopCommand.tailSpec,
    ListMoveCommand.tailToHeadSpec,
    ListPushCommand.tailSpec,
    ListPushCommand.tailIfPresentSpec,
]

/// The end of a list at which elements come or go.
enum ListEnd {
    case head, tail

    /// LEFT or RIGHT.
    init(_ argument: ByteView) throws(CommandError) {
        if argument.equalsIgnoringCase("LEFT") {
            self = .head
        } else if argument.equalsIgnoringCase("RIGHT") {
            self = .tail
        } else {
            throw .syntax
        }
    }

    static func argument(_ name: String) -> ArgumentSpec { .oneOf(name, [.token("LEFT"), .token("RIGHT")]) }

    var pushEvent: StaticString { self == .head ? "lpush" : "rpush" }
    var popEvent: StaticString { self == .head ? "lpop" : "rpop" }

    /// The positions of the outermost elements of a list of `count`.
    func positions(_ elementCount: Int, of count: Int) -> Range<Int> {
        self == .head ? 0..<elementCount : count &- elementCount..<count
    }
}

extension Entry {
    /// The list of the entry, or WRONGTYPE.
    @inline(__always)
    func listValue() throws(CommandError) -> ListValue {
        guard type == .list else { throw .wrongType }
        return list
    }
}

// MARK: Positions

/// The positions from `start` to `stop`, both counted from the end when negative, clamped to those of a list.
func listPositions(from start: Int64, through stop: Int64, of elementCount: Int) -> Range<Int> {
    let count = Int64(elementCount)
    let first = max(0, start < 0 ? count + start : start)
    let last = min(count - 1, stop < 0 ? count + stop : stop)
    return first <= last ? Int(first)..<Int(last) + 1 : 0..<0
}

/// The position that `index` means, counted from the end when negative; nil outside of the list.
func listPosition(_ index: Int64, of elementCount: Int) -> Int? {
    let count = Int64(elementCount)
    let position = index < 0 ? count + index : index
    return position >= 0 && position < count ? Int(position) : nil
}

/// A value that is looked for in a list: its number is read once.
struct ListNeedle {
    private let bytes: ByteView
    private let integer: Int64?

    init(_ bytes: ByteView) {
        self.bytes = bytes
        integer = parseInteger(bytes)
    }

    @inline(__always)
    func equals(_ element: StringValue) -> Bool {
        switch element {
        case .bytes(let own): own == bytes
        case .integer(let own): own == integer
        }
    }
}

// MARK: Replies

extension ReplyWriter {
    /// The elements of a range as an array, last to first when `isReversed`.
    mutating func elements(_ list: ListValue, in range: Range<Int>, isReversed: Bool = false) {
        array(range.count)
        if isReversed {
            list.forEachReversed(in: range) { element in
                bulk(element)
                return !hasOverflowed
            }
        } else {
            list.forEachPart(of: range) { part, elementCount in
                var cursor = part
                var left = elementCount
                while left > 0, !hasOverflowed {
                    bulk(cursor.next())
                    left &-= 1
                }
                return left == 0
            }
        }
    }
}

// MARK: Changes

extension CommandCall {
    /// How long a run of packed entries may be: `list-max-listpack-size`.
    var listSetting: Int {
        @inline(__always) get { setting { $0.listPackSetting.load(ordering: .relaxed) } }
    }

    var listLimit: PackLimit { PackLimit(setting: listSetting) }

    /// The list at `key`, looked up for a change; nil when there is none.
    @inline(__always)
    func editableList(_ key: Key) throws(CommandError) -> ListEditor? {
        switch keyspace.lookUpList(key, limit: listLimit) {
        case .none: return nil
        case .wrongType: throw .wrongType
        case .list(let editor): return editor
        }
    }

    /// Puts a value at an end of the list at `key`, which is made if need be, and returns its length. Notes nothing.
    @inline(__always)
    mutating func push(_ value: ByteView, at end: ListEnd, of key: Key) throws(CommandError) -> Int {
        let setting = listSetting
        let change: ListChange
        do { change = try keyspace.push(value, to: key, atHead: end == .head, setting: setting) } catch {
            throw .outOfMemory
        }
        switch change {
        case .none: return try makeList(1, at: end, of: key) { _ in value }
        case .wrongType: throw .wrongType
        case .done(let count): return count
        }
    }

    /// A list with `count` values at `key`, where there is none; returns its length.
    @inline(never)
    private func makeList(
        _ count: Int, at end: ListEnd, of key: Key, value: (Int) -> ByteView
    ) throws(CommandError) -> Int {
        let (keyspace, limit) = (keyspace, listLimit)
        try storing { () throws(StoreError) in
            try keyspace.makeList(key, limit: limit, count: count, atHead: end == .head, value: value)
        }
        return count
    }

    /// Puts `count` values at an end of the list at `key`, which is made if need be, and returns its length. Notes
    /// nothing.
    @inline(never)
    func pushSeveral(_ count: Int, at end: ListEnd, of key: Key, value: (Int) -> ByteView) throws(CommandError) -> Int {
        guard var editor = try editableList(key) else { return try makeList(count, at: end, of: key, value: value) }
        do { try editor.push(count, atHead: end == .head, value: value) } catch { throw .outOfMemory }
        return editor.count
    }

    /// Replies the outermost `count` elements as an array, the outermost first, and removes them. The key is there.
    mutating func pop(
        _ count: Int64, at end: ListEnd, of key: Key, _ editor: inout ListEditor, _ reply: inout ReplyWriter
    ) throws(CommandError) {
        let range = end.positions(Int(min(count, Int64(editor.count))), of: editor.count)
        reply.elements(editor.value, in: range, isReversed: end == .tail)
        try removeElements(range, of: key, &editor, event: end.popEvent)
    }

    /// Removes elements, the key with the last of them: as many changes, one event, and `del`.
    mutating func removeElements(
        _ range: Range<Int>, of key: Key, _ editor: inout ListEditor, event: StaticString
    ) throws(CommandError) {
        let isAll = range.count == editor.count
        try storing { () throws(StoreError) in try editor.remove(range) }
        effects.noteChanges(range.count)
        notified(key, event)
        if isAll { notified(key, "del") }
    }
}
