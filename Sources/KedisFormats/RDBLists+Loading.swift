// Lists from RDB files and payloads into the store, part by part.

import KedisStore
import KedisUtilities

extension RDBReader {
    /// Puts the list that was begun under `key`, where nothing is.
    mutating func loadList(as key: Key, in keyspace: Keyspace, limit: PackLimit) throws(RDBError) {
        while let part = try nextListPart() {
            try storing(byteCount: part.byteCount) { () throws(StoreError) in
                switch part {
                case .run(let run, let count): try keyspace.appendRun(key, run, count: count, limit: limit)
                case .value(let value): try keyspace.append(value, toListAt: key, limit: limit)
                case .values(let values):
                    for value in values { try keyspace.append(value, toListAt: key, limit: limit) }
                }
            }
        }
    }
}

extension Keyspace {
    fileprivate func append(_ value: StringValue, toListAt key: Key, limit: PackLimit) throws(StoreError) {
        try value.withBytes { (bytes) throws(StoreError) in
            guard var editor = editList(key, limit: limit) else {
                return try makeList(key, limit: limit, count: 1, atHead: false) { _ in bytes }
            }
            try editor.push(1, atHead: false) { _ in bytes }
        }
    }
}
