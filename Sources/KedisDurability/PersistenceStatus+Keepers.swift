// What INFO, LASTSAVE and the metrics tell of saves and the journal: the keepers' records in the words of commands.

package import KedisCommands
package import KedisPersistence

extension PersistenceStatus {
    /// - Parameter nowMilliseconds: since 1970.
    package init(
        of keeper: SnapshotKeeper, _ journal: JournalKeeper?, nowMilliseconds: Int64
    ) {
        self.init()
        let status = keeper.status
        lastSaveSeconds = status.lastSaveMilliseconds / 1000
        isSaving = status.isSavingInBackground
        lastSaveSucceeded = status.lastAttemptSucceeded
        lastSaveDurationSeconds = status.lastBackgroundDurationMilliseconds.map { $0 / 1000 } ?? -1
        if let start = status.currentSaveStartMilliseconds {
            currentSaveDurationSeconds = max(0, (nowMilliseconds - start) / 1000)
        }
        currentSaveKeyCount = status.processedKeyCount
        currentSaveKeyTotal = status.totalKeyCount
        saveCount = UInt64(clamping: status.saveCount)
        changesAtLastSave = status.changesAtLastSave
        self.journal = journal?.information
    }
}
