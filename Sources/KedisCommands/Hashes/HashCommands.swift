// The family of hash commands, and what they share: lookups with the type checked, fields as replies, changes with
// their events.
//
// A hash that is changed is looked up once (type, access clock, deadline) and then edited in place. Views of its values
// are replied or copied before it changes. A hash goes with its last field, which is the event `del`.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

let hashCommands: [CommandSpec] = [
    HashDeleteCommand.spec,
    HashExistsCommand.spec,
    HashGetCommand.spec,
    HashGetAllCommand.spec,
    HashIncrementCommand.spec,
    HashIncrementByFloatCommand.spec,
    HashGetAllCommand.fieldsSpec,
    HashLengthCommand.spec,
    HashGetCommand.multipleSpec,
    HashSetCommand.multipleSpec,
    HashRandomFieldCommand.spec,
    HashScanCommand.spec,
    HashSetCommand.spec,
    HashSetCommand.ifAbsentSpec,
    HashValueLengthCommand.spec,
    HashGetAllCommand.valuesSpec,
    HashSetExpireCommand.spec,
    HashGetExpireCommand.spec,
    HashGetDeleteCommand.spec,
    MemberPersistCommand.spec(.hash),
] + MemberExpireCommand.specs(.hash) + MemberTimeToLiveCommand.specs(.hash)

extension ArgumentSpec {
    /// Fields with their values, one pair or more.
    static var fieldsAndValues: ArgumentSpec {
        .block(
            "field_value", multiple: true, [ArgumentSpec("field", .string), ArgumentSpec("value", .string)])
    }
}

extension CommandCall {
    /// When a hash is small: `hash-max-listpack-entries`, `hash-max-listpack-value`.
    var hashLimits: HashLimits {
        @inline(__always) get { setting { $0.hashLimits } }
    }

    /// The hash at the call's key for a read, counted as a hit or a miss; nil when there is none.
    @inline(__always)
    func hashToRead() throws(CommandError) -> HashValue? {
        guard let entry = keyspace.read(key) else { return nil }
        guard entry.type == .hash else { throw .wrongType }
        return entry.fields(nowMilliseconds: nowMilliseconds)
    }

    /// Looks up the hash at the call's key for a change: `editor` is nil when there is none.
    @inline(__always)
    func hashToEdit(_ editor: inout HashEditor?) throws(CommandError) {
        guard keyspace.editHash(key, limits: hashLimits, &editor) else { throw .wrongType }
    }

    /// Sets a field in the hash at the call's key, which is made if `editor` is nil; true when it is new.
    @inline(__always)
    func setField(
        _ field: ByteView, _ value: ByteView, in editor: inout HashEditor?, deadline: DeadlineUpdate = .clear
    ) throws(CommandError) -> Bool {
        guard editor != nil else {
            do { try keyspace.makeHash(key, limits: hashLimits, field, value, deadline: deadline) } catch {
                throw .outOfMemory
            }
            try hashToEdit(&editor)
            return true
        }
        do { return try editor?.set(field, value, deadline: deadline) ?? true } catch { throw .outOfMemory }
    }
}

extension Configuration {
    /// When a hash is small.
    var hashLimits: HashLimits {
        @inline(__always) get {
            HashLimits(
                fieldCountMax: hashPackedCountMax.load(ordering: .relaxed),
                byteCountMax: hashPackedByteCountMax.load(ordering: .relaxed))
        }
    }
}
