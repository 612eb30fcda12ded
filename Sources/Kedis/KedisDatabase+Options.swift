// How a database is opened: names, limits, what is kept.

import KedisDurability

extension KedisDatabase {
    /// How a database is opened.
    public struct Options: Sendable {
        /// The number of databases that SELECT knows, 1 to 16,384.
        public var databaseCount = 16
        /// The name of the snapshot inside the directory.
        public var snapshotName = "dump.rdb"
        /// Whether changes go to a journal in the directory, and when what is there goes to disk. Without a directory
        /// there is none. `CONFIG SET appendfsync` and `appendonly` change it while the database is open.
        public var journal = Journal.everySecond
        /// The name of the journal's folder inside the directory. Nil for `appendonlydir`, and beside a snapshot with
        /// another name than `dump.rdb` for that name with `.appendonlydir` behind it: stores that share a directory
        /// have journals of their own.
        public var journalName: String?
        /// Told, in sentences, what whoever runs the program should know: a torn end of the journal that was left out,
        /// a disk that takes nothing. By any thread; must not use the database. Nil for nobody.
        public var warn: (@Sendable (String) -> Void)?
        /// The most memory that keys and values may take, in bytes; 0 for no limit. `CONFIG SET maxmemory` changes it.
        public var memoryByteCountMax = 0
        /// What happens when the limit is reached. `CONFIG SET maxmemory-policy` changes it.
        public var evictionPolicy = EvictionPolicy.refuseWrites
        /// Whether DEBUG is allowed: it shows tables (`DEBUG HTSTATS 0`) and can stop all threads (`DEBUG SLEEP`).
        public var allowsDebug = false

        /// Which keys go when memory is short.
        public enum EvictionPolicy: String, Sendable, CaseIterable {
            /// None: commands that need memory are refused with the error `OOM …`.
            case refuseWrites = "noeviction"
            /// Those that were not used for the longest time.
            case leastRecentlyUsed = "allkeys-lru"
            /// Those that are used least often.
            case leastFrequentlyUsed = "allkeys-lfu"
            /// Any.
            case random = "allkeys-random"
            /// Of those with a deadline, the ones that were not used for the longest time.
            case leastRecentlyUsedWithDeadline = "volatile-lru"
            /// Of those with a deadline, the ones that are used least often.
            case leastFrequentlyUsedWithDeadline = "volatile-lfu"
            /// Any of those with a deadline.
            case randomWithDeadline = "volatile-random"
            /// Those whose deadline is next.
            case nearestDeadline = "volatile-ttl"
        }

        /// What a crash may take. Whatever it is, what is there afterwards is everything up to some moment.
        public enum Journal: String, Sendable, CaseIterable {
            /// No journal: everything since the last snapshot.
            case off
            /// Of the process, at most the last 20 milliseconds or so; of the machine, at most the last second.
            case everySecond = "everysec"
            /// Nothing: a call returns when what it has changed or read is on disk. One sync serves all threads that
            /// wait.
            case always
            /// Of the process, as with ``everySecond``; of the machine, what the system had not written by itself: at
            /// most the last 30 seconds.
            case whenSystemLikes = "no"
        }

        public init() {}

        var usedJournalName: String {
            journalName ?? KedisDurability.journalName(beside: snapshotName)
        }
    }
}
