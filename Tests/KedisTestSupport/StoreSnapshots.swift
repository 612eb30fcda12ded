// Snapshots that a test begins, and reads when it wants to.

package import KedisStore

extension Store {
    /// Begins one of this instant; nil while there is another one. The caller holds no stripe.
    package func beginSnapshotForTest(
        nowMilliseconds: Int64 = 0, waitingByteCountMax: Int? = nil,
        copiedByteCountMax: Int = StoreSnapshot.copiedByteCountMax
    ) -> StoreSnapshot? {
        let room = PieceRoom(outsideByteCount: memoryStatistics().blobByteCount)
        lock(.all)
        defer { unlock(.all) }
        return beginSnapshot(
            nowMilliseconds: nowMilliseconds, waitingByteCountMax: waitingByteCountMax,
            copiedByteCountMax: copiedByteCountMax, room: room)
    }
}
