// Where a journal is, by the names of the things beside it.

import KedisCommands
package import KedisPersistence

/// The name of the journal's folder beside a snapshot: stores that share a directory under different names of snapshots
/// have journals of their own.
package func journalName(beside snapshotName: String) -> String {
    snapshotName == "dump.rdb" ? usualJournalName : "\(snapshotName).\(usualJournalName)"
}

/// The journal's folder, when `path` is that or the server's.
package func journalFolder(_ path: String, fileSystem: FileSystem = .system) -> String {
    let inner = "\(path)/\(usualJournalName)"
    return (try? fileSystem.names(inner)) == nil ? path : inner
}
