// The family of set commands, and what they share: lookups, limits, replies of members.
//
// A set that is changed is looked up once, with its type, access clock and deadline, and then edited in place. Views of
// members are replied before the set changes. A set goes with its last member, which is the event `del`.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let setCommands: [CommandSpec] = [
    SetAddCommand.spec,
    SetCountCommand.spec,
    SetAlgebraCommand.differenceSpec,
    SetAlgebraStoreCommand.differenceSpec,
    SetAlgebraCommand.intersectionSpec,
    SetIntersectionCountCommand.spec,
    SetAlgebraStoreCommand.intersectionSpec,
    SetContainsCommand.spec,
    SetMembersCommand.spec,
    SetContainsCommand.severalSpec,
    SetMoveCommand.spec,
    SetPopCommand.spec,
    SetRandomCommand.spec,
    SetRemoveCommand.spec,
    SetScanCommand.spec,
    SetAlgebraCommand.unionSpec,
    SetAlgebraStoreCommand.unionSpec,
    SetAddExpireCommand.spec,
    MemberPersistCommand.spec(.set),
] + MemberExpireCommand.specs(.set) + MemberTimeToLiveCommand.specs(.set)

extension Configuration {
    /// When a set is small: `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`.
    var setLimits: SetLimits {
        SetLimits(
            integerCountMax: setIntegerCountMax.load(ordering: .relaxed),
            packedCountMax: setPackedCountMax.load(ordering: .relaxed),
            packedByteCountMax: setPackedByteCountMax.load(ordering: .relaxed))
    }
}

extension Entry {
    /// The set of the entry, or WRONGTYPE.
    @inline(__always)
    func setValue(_ call: borrowing CommandCall) throws(CommandError) -> SetValue {
        guard type == .set else { throw .wrongType }
        return set(nowMilliseconds: call.nowMilliseconds)
    }
}

extension CommandCall {
    /// When a set is small.
    var setLimits: SetLimits {
        @inline(__always) get { setting { $0.setLimits } }
    }

    /// Looks up the set at `key` for a change: `editor` is nil when there is none.
    @inline(__always)
    func setToEdit(_ key: Key, _ editor: inout SetEditor?) throws(CommandError) {
        guard keyspace.editSet(key, limits: setLimits, &editor) else { throw .wrongType }
    }

    /// The set at `key`, looked up for a change; nil when there is none. ``setToEdit(_:_:)`` copies less.
    @inline(__always)
    func editableSet(_ key: Key) throws(CommandError) -> SetEditor? {
        var editor: SetEditor?
        try setToEdit(key, &editor)
        return editor
    }

    /// Adds a member to the set at `key`, which is made if need be and holds no other type; false when it is one
    /// already. Notes nothing.
    func addMember(_ member: ByteView, to key: Key) throws(CommandError) -> Bool {
        var editor: SetEditor?
        try setToEdit(key, &editor)
        guard editor != nil else {
            let (keyspace, limits) = (keyspace, setLimits)
            try storing { () throws(StoreError) in try keyspace.makeSet(key, limits: limits, member: member) }
            return true
        }
        return try storing { () throws(StoreError) in try editor?.add(member) == true }
    }
}

extension ReplyWriter {
    /// All members of a set: a set in RESP3.
    mutating func members(_ set: SetValue) {
        let start = count
        var memberCount = 0
        set.forEach { member in
            bulk(member)
            memberCount &+= 1
            return !hasOverflowed
        }
        insertSetHeader(at: start, elementCount: memberCount)
    }
}
