// Goal: one save at a time, the record of saves is right after good and bad ones, and rules are due when Redis's are.

import KedisPersistence
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Snapshot keeper and save rules")
struct SnapshotKeeperTests {
    @Test("Rules are read as Redis reads them")
    func parseRules() {
        #expect(SaveRules("3600 1 300 100 60 10000") == .standard)
        #expect(SaveRules("") == SaveRules.none)
        #expect(SaveRules("  60   0 ")?.text == "60 0")
        #expect(SaveRules.standard.text == "3600 1 300 100 60 10000")
        for text in ["60", "60 1 2", "0 1", "-1 1", "60 -1", "x 1", "60 1x", "99999999999999999999 1", "6.0 1"] {
            #expect(SaveRules(text) == nil, "\(text)")
        }
    }

    @Test("A rule is due with enough changes and more than its seconds")
    func dueRules() {
        let rules = SaveRules.standard
        #expect(!rules.isDue(changes: 0, secondsSinceLastSave: 1 << 40))
        #expect(!rules.isDue(changes: 1, secondsSinceLastSave: 3600))
        #expect(rules.isDue(changes: 1, secondsSinceLastSave: 3601))
        #expect(!rules.isDue(changes: 99, secondsSinceLastSave: 301))
        #expect(rules.dueRule(changes: 100, secondsSinceLastSave: 301) == SaveRules.Rule(seconds: 300, changes: 100))
        #expect(rules.isDue(changes: .max, secondsSinceLastSave: 61))
        #expect(!SaveRules.none.isDue(changes: .max, secondsSinceLastSave: .max))
    }

    @Test("A good save clears the unsaved changes, a bad one does not and delays the next attempt")
    func record() throws {
        let folder = try TestFolder()
        let store = makeStore()
        let request = SnapshotRequest(path: folder.file("dump.rdb"))
        let keeper = SnapshotKeeper(store: store, nowMilliseconds: testNow)
        let rules = try #require(SaveRules("60 2"))
        try store.put("a", "1")
        #expect(keeper.unsavedChanges() == 1)
        #expect(!keeper.isSaveDue(rules, nowMilliseconds: testNow + 61_000))
        try store.put("b", "1")
        #expect(!keeper.isSaveDue(rules, nowMilliseconds: testNow + 60_000))
        #expect(keeper.isSaveDue(rules, nowMilliseconds: testNow + 61_000))
        guard case .saved(let summary) = keeper.save(request, nowMilliseconds: testNow + 61_000) else {
            return #expect(Bool(false))
        }
        #expect(summary.keyCount == 2)
        #expect(keeper.unsavedChanges() == 0)
        #expect(keeper.status.lastSaveMilliseconds == testNow + 61_000)
        #expect(keeper.status.saveCount == 1 && !keeper.status.isSaving)

        try store.put("c", "1")
        try store.put("d", "1")
        let missing = SnapshotRequest(path: folder.file("missing/dump.rdb"))
        guard case .failed = keeper.save(missing, nowMilliseconds: testNow + 200_000) else {
            return #expect(Bool(false))
        }
        #expect(!keeper.status.lastAttemptSucceeded && keeper.status.lastError != nil)
        #expect(keeper.unsavedChanges() == 2)
        #expect(keeper.status.lastSaveMilliseconds == testNow + 61_000)
        #expect(!keeper.isSaveDue(rules, nowMilliseconds: testNow + 205_000))
        #expect(keeper.isSaveDue(rules, nowMilliseconds: testNow + 206_000))
        keeper.noteLoaded(nowMilliseconds: testNow + 300_000)
        #expect(keeper.unsavedChanges() == 0)
    }

    @Test("A background save runs beside writers, keeps others off, and has one instant")
    func background() throws {
        let folder = try TestFolder()
        let store = makeStore()
        for index in 0..<2000 { try store.put("key:\(index)", "0") }
        let path = folder.file("dump.rdb")
        let gate = Gate()
        var files = FileSystem.system
        let real = files
        files.synchronize = { (file) throws(SystemError) in
            gate.wait()
            try real.synchronize(file)
        }
        let keeper = SnapshotKeeper(store: store, fileSystem: files, nowMilliseconds: testNow)
        let seen = Locked<SaveOutcome?>(nil)
        let problem = keeper.saveInBackground(SnapshotRequest(path: path), nowMilliseconds: testNow + 5000) {
            outcome in
            seen.withLock { $0 = outcome }
        }
        #expect(problem == nil)
        #expect(keeper.status.isSavingInBackground)
        #expect(keeper.save(SnapshotRequest(path: path), nowMilliseconds: testNow) == .busy)
        #expect(keeper.saveInBackground(SnapshotRequest(path: path), nowMilliseconds: testNow) == .busy)
        #expect(!keeper.isSaveDue(SaveRules("1 0") ?? .none, nowMilliseconds: testNow + 1_000_000))
        gate.waitUntilReached()
        // The locks are free while the file is written, and what is written now is not in it.
        try store.put("late", "1")
        gate.open()
        keeper.waitUntilIdle()
        while seen.withLock({ $0 == nil }) { usleep(1000) }
        guard case .saved(let summary) = seen.withLock({ $0 }) else { return #expect(Bool(false)) }
        #expect(summary.keyCount == 2000)
        #expect(keeper.unsavedChanges() == 1)
        #expect(keeper.status.lastBackgroundDurationMilliseconds != nil)
        let loaded = makeStore()
        #expect(try loadSnapshot(into: loaded, from: path, nowMilliseconds: testNow)?.keyCount == 2000)
    }
}

/// Holds a thread until the test opens it.
private final class Gate: Sendable {
    private let isOpen = Atomic<Bool>(false)
    private let isReached = Atomic<Bool>(false)

    func wait() {
        isReached.store(true, ordering: .releasing)
        while !isOpen.load(ordering: .acquiring) { usleep(1000) }
    }

    func waitUntilReached() {
        while !isReached.load(ordering: .acquiring) { usleep(1000) }
    }

    func open() { isOpen.store(true, ordering: .releasing) }
}
