// The family of generic commands, and what they share. The server's commands on whole databases are here too.

import KedisProtocol
import KedisStore
import KedisUtilities

let genericCommands: [CommandSpec] = [
    DelCommand.spec,
    UnlinkCommand.spec,
    ExistsCommand.spec,
    TouchCommand.spec,
    TypeCommand.spec,
    ExpireCommand.spec,
    PExpireCommand.spec,
    ExpireAtCommand.spec,
    PExpireAtCommand.spec,
    TTLCommand.spec,
    PTTLCommand.spec,
    ExpireTimeCommand.spec,
    PExpireTimeCommand.spec,
    PersistCommand.spec,
    KeysCommand.spec,
    ScanCommand.spec,
    RandomKeyCommand.spec,
    RenameCommand.spec,
    RenameNXCommand.spec,
    CopyCommand.spec,
    MoveCommand.spec,
    DumpCommand.spec,
    RestoreCommand.spec,
    RestoreCommand.askingSpec,
    MigrateCommand.spec,
    SortCommand.spec,
    SortCommand.readOnlySpec,
    ObjectCommand.spec,
    DBSizeCommand.spec,
    FlushDBCommand.spec,
    FlushAllCommand.spec,
    SwapDBCommand.spec,
]

extension CommandCall {
    /// The selected database without a trace on access clocks, for commands that only look at what a key is.
    var untouchingKeyspace: Keyspace {
        var keyspace = keyspace
        keyspace.leavesAccessClock = true
        return keyspace
    }

    /// The keyspace for a look at a key that nobody is told of.
    var quietKeyspace: Keyspace {
        var keyspace = untouchingKeyspace
        keyspace.isQuiet = true
        return keyspace
    }

    /// The argument at `index` as the index of a database that exists.
    func databaseIndex(at index: Int) throws(CommandError) -> Int {
        let value = try integer(at: index)
        guard let number = Int32(exactly: value) else {
            throw .literal("ERR value is out of range, value must between -2147483648 and 2147483647")
        }
        guard number >= 0, Int(number) < engine.store.databaseCount else { throw .invalidDatabaseIndex }
        return Int(number)
    }
}
