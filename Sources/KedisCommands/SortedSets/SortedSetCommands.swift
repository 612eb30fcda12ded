// The family of sorted set commands, and what they share: limits, ranges from arguments, elements in replies.
//
// Every range becomes a range of ranks first; elements are then replied without copies. A set that is changed is looked
// up first (type, access clock, deadline) and then edited in place. It goes with its last member: the event `del`.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let sortedSetCommands: [CommandSpec] = [
    SortedSetAddCommand.spec,
    SortedSetAddCommand.incrementSpec,
    SortedSetCardinalityCommand.spec,
    SortedSetCountCommand.spec,
    SortedSetCountCommand.membersSpec,
    SortedSetOperationCommand.differenceSpec,
    SortedSetOperationCommand.differenceStoreSpec,
    SortedSetOperationCommand.intersectionSpec,
    SortedSetOperationCommand.intersectionCardinalitySpec,
    SortedSetOperationCommand.intersectionStoreSpec,
    SortedSetOperationCommand.unionSpec,
    SortedSetOperationCommand.unionStoreSpec,
    SortedSetPopCommand.highestSpec,
    SortedSetPopCommand.lowestSpec,
    SortedSetPopCommand.multipleSpec,
    SortedSetBlockingPopCommand.highestSpec,
    SortedSetBlockingPopCommand.lowestSpec,
    SortedSetBlockingPopCommand.multipleSpec,
    SortedSetRandomCommand.spec,
    SortedSetRangeCommand.spec,
    SortedSetRangeCommand.byMemberSpec,
    SortedSetRangeCommand.byScoreSpec,
    SortedSetRangeCommand.reverseSpec,
    SortedSetRangeCommand.reverseByMemberSpec,
    SortedSetRangeCommand.reverseByScoreSpec,
    SortedSetRangeCommand.storeSpec,
    SortedSetRankCommand.spec,
    SortedSetRankCommand.reverseSpec,
    SortedSetRemoveCommand.spec,
    SortedSetRemoveCommand.byMemberSpec,
    SortedSetRemoveCommand.byRankSpec,
    SortedSetRemoveCommand.byScoreSpec,
    SortedSetScanCommand.spec,
    SortedSetScoreCommand.spec,
    SortedSetScoreCommand.multipleSpec,
    MemberPersistCommand.spec(.sortedSet),
] + MemberExpireCommand.specs(.sortedSet) + MemberTimeToLiveCommand.specs(.sortedSet)

extension Entry {
    /// The sorted set of the entry, or WRONGTYPE.
    @inline(__always)
    func sortedSetValue() throws(CommandError) -> SortedSetValue {
        guard type == .sortedSet else { throw .wrongType }
        return sortedSet
    }
}

extension CommandCall {
    /// How large a sorted set in its cell may be: `zset-max-listpack-entries` and `-value`.
    var sortedSetLimits: SortedSetLimits {
        @inline(__always) get { setting { $0.sortedSetLimits } }
    }

    /// The sorted set at `key`, looked up for a change; nil when there is none.
    @inline(__always)
    func editableSortedSet(_ key: Key) throws(CommandError) -> SortedSetEditor? {
        switch keyspace.lookUpSortedSet(key, limits: sortedSetLimits) {
        case .none: return nil
        case .wrongType: throw .wrongType
        case .sortedSet(let editor): return editor
        }
    }

    /// Removes the elements of a range of ranks, the key with the last of them: as many changes, one event, and `del`.
    mutating func removeElements(
        _ range: Range<Int>, of key: Key, _ editor: inout SortedSetEditor, event: StaticString
    ) throws(CommandError) {
        let isAll = range.count == editor.count
        try storing { () throws(StoreError) in try editor.remove(range) }
        effects.noteChanges(range.count)
        notified(key, event)
        if isAll { notified(key, "del") }
    }

    /// Removes a key whose new value would be empty, if it is there.
    mutating func removeInsteadOfStoring(_ key: Key) {
        if keyspace.remove(key) { changed(key, "del") }
    }

    // MARK: Ranges

    /// The arguments as the ends of a range of scores.
    func scoreRange(from: Int, through: Int) throws(CommandError) -> (from: ScoreBound, through: ScoreBound) {
        guard let lower = parseScoreBound(arguments[from]), let upper = parseScoreBound(arguments[through]) else {
            throw .literal("ERR min or max is not a float")
        }
        return (lower, upper)
    }

    /// The arguments as the ends of a range of members.
    func memberRange(from: Int, through: Int) throws(CommandError) -> (from: MemberBound, through: MemberBound) {
        guard let lower = parseMemberBound(arguments[from]), let upper = parseMemberBound(arguments[through]) else {
            throw .literal("ERR min or max not valid string range item")
        }
        return (lower, upper)
    }
}

/// A score, with `(` in front when it does not belong to the range.
private func parseScoreBound(_ argument: ByteView) -> ScoreBound? {
    let isExclusive = argument.count > 0 && argument[0] == UInt8(ascii: "(")
    let text = isExclusive ? argument[1..<argument.count] : argument
    return parseDoublePrefix(text).map { ScoreBound($0, isExclusive: isExclusive) }
}

private func parseMemberBound(_ argument: ByteView) -> MemberBound? {
    guard argument.count > 0 else { return nil }
    let rest = argument[1..<argument.count]
    switch argument[0] {
    case UInt8(ascii: "-"): return rest.isEmpty ? .lowest : nil
    case UInt8(ascii: "+"): return rest.isEmpty ? .highest : nil
    case UInt8(ascii: "["): return .inclusive(rest)
    case UInt8(ascii: "("): return .exclusive(rest)
    default: return nil
    }
}

/// The end of a sorted set from which elements are taken.
enum SortedSetEnd {
    case lowest, highest

    /// MIN or MAX.
    init(_ argument: ByteView) throws(CommandError) {
        if argument.equalsIgnoringCase("MIN") {
            self = .lowest
        } else if argument.equalsIgnoringCase("MAX") {
            self = .highest
        } else {
            throw .syntax
        }
    }

    static var argument: ArgumentSpec { .oneOf("where", [.token("MIN"), .token("MAX")]) }

    var popEvent: StaticString { self == .lowest ? "zpopmin" : "zpopmax" }

    /// The ranks of the outermost elements of a set of `count`.
    func ranks(_ elementCount: Int, of count: Int) -> Range<Int> {
        self == .lowest ? 0..<elementCount : count &- elementCount..<count
    }
}

/// How elements stand in a reply.
enum ElementShape {
    case members
    /// Member and score, one after the other.
    case flat
    /// An array of two for each element.
    case pairs

    /// The shape of WITHSCORES, which RESP3 has in pairs.
    static func scored(_ isScored: Bool, _ reply: borrowing ReplyWriter) -> ElementShape {
        isScored ? (reply.version == .resp3 ? .pairs : .flat) : .members
    }
}

extension ReplyWriter {
    /// The header of an array of `count` elements.
    mutating func elementCount(_ count: Int, _ shape: ElementShape) {
        array(shape == .flat ? 2 * count : count)
    }

    @inline(__always)
    mutating func element(_ member: StringValue, _ score: Double, _ shape: ElementShape) {
        if shape == .pairs { array(2) }
        bulk(member)
        if shape != .members { double(score) }
    }

    /// The elements of a range of ranks as an array, the highest first when `isReversed`.
    mutating func elements(_ set: SortedSetValue, in range: Range<Int>, isReversed: Bool, _ shape: ElementShape) {
        elementCount(range.count, shape)
        if isReversed {
            set.forEachReversed(in: range) { member, score in
                element(member, score, shape)
                return !hasOverflowed
            }
        } else {
            set.forEach(in: range) { member, score in
                element(member, score, shape)
                return !hasOverflowed
            }
        }
    }
}
