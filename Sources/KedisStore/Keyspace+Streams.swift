// Streams that are made and changed: what they take outside of their cell is counted in their table.
//
// A stream always lies outside of its cell, and an empty one stays a key.

import KedisUtilities

/// A stream that is being changed: valid while its stripe is locked. Who changed it says ``finish()``, also after an
/// error, and before the keyspace is changed otherwise.
package struct StreamEditor {
    package let stream: Stream
    private let table: UnsafeMutablePointer<Table>
    private let byteCount: Int

    fileprivate init(_ stream: Stream, _ table: UnsafeMutablePointer<Table>) {
        self.stream = stream
        self.table = table
        byteCount = stream.allocatedByteCount
    }

    package func finish() {
        let change = stream.allocatedByteCount - byteCount
        if change != 0 { table.pointee.noteOutside(0, byteCount: change) }
    }
}

extension Keyspace {
    /// The stream of an entry for a change. O(1).
    package func editStream(_ entry: Entry) -> StreamEditor? {
        assert(entry.type == .stream)
        guard let table = stripe(of: entry).pointee.table(databaseIndex) else { return nil }
        table.pointee.preserve(entry.cell, hash: entry.hash)
        return StreamEditor(entry.stream, table)
    }

    /// An empty stream; there is no such key. O(1).
    package func makeStream(_ key: Key) throws(StoreError) -> StreamEditor {
        guard let stream = Stream.make(from: shared.pointee.source) else { throw .outOfMemory }
        let cell: Cell
        do throws(StoreError) {
            cell = try put(
                key, type: .stream, valueFieldByteCount: MemoryLayout<UInt>.size, encoding: .stream, deadline: .clear)
        } catch {
            stream.release()
            throw error
        }
        guard let table = stripe(of: key).pointee.table(databaseIndex) else { throw .outOfMemory }
        cell.setCollection(Collection(stream.address))
        table.pointee.noteOutside(1, byteCount: stream.allocatedByteCount)
        return StreamEditor(stream, table)
    }
}
