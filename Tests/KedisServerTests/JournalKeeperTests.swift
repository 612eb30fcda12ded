// Goal: a journal is connected before anything of it counts, a beginning that fails leaves what there was and succeeds
// later, and of settings the last one holds. Method: a keeper with an engine of its own, on files that fail at each call
// in turn; threads that are held at the places where they could meet.

import KedisCommands
import KedisPersistence
import KedisProtocol
import KedisStore
import KedisTestSupport
import KedisUtilities
import Synchronization
import Testing

@testable import KedisDurability
@testable import KedisServer

/// An engine with a keeper, as a server has them.
private final class KeptStore: Sendable {
    let configuration = Configuration()
    let store = Store(databaseCount: 2, seed: HashSeed(systemEntropy(), systemEntropy()))
    let keeper: JournalKeeper
    let engine: Engine
    let files: TroubledFiles
    private let lines: Lines

    final class Lines: Sendable {
        private let texts = Locked<[String]>([])

        func add(_ text: String) { texts.withLock { $0.append(text) } }
        var all: String { texts.withLock { $0.joined(separator: "\n") } }
        func removeAll() { texts.withLock { $0 = [] } }
    }

    /// - Parameter holds: told when replies are to wait, or not any more.
    init(_ folder: String, holds: @escaping @Sendable (Bool) -> Void = { _ in }) {
        configuration.settle("dir", folder)
        let (lines, files) = (Lines(), TroubledFiles())
        (self.lines, self.files) = (lines, files)
        let keeper = JournalKeeper(
            configuration: configuration, store: store, fileSystem: files.fileSystem, table: StoreCrashModel.table,
            log: { lines.add($1) })
        self.keeper = keeper
        let host = Host(
            applyConfiguration: { keeper.follow($0) }, awaitConfiguration: { keeper.awaitEnd() })
        engine = Engine(store: store, configuration: configuration, host: host, seed: 3, table: StoreCrashModel.table)
        let gate = DurabilityGate()
        keeper.prepare(
            functions: [],
            owner: JournalOwner(
                engine: { [weak engine] in engine }, hasOpened: { gate.connect($0) },
                holdsReplies: { isOn in
                    gate.setOn(isOn)
                    holds(isOn)
                }, hasAdvanced: { gate.noteDurable($0) }))
    }

    var log: String { lines.all }

    func forgetLog() { lines.removeAll() }

    /// The base is there: the journal counts.
    var isWhole: Bool {
        guard let journal = keeper.information else { return false }
        return journal.isEnabled && !journal.isRewriting && !journal.isRewriteScheduled
    }

    func set(_ directives: String...) throws -> Reply? {
        try TestSession(engine).call(["CONFIG", "SET"] + directives)
    }
}

@Suite("The keeper of a journal")
struct JournalKeeperTests {
    private let ok = Reply.simple(Array("OK".utf8))

    /// What a start would find: the value of a key behind the journal.
    private func value(_ folder: String, _ key: String) throws -> Reply? {
        let store = Store(databaseCount: 2, seed: HashSeed(5, 6))
        _ = try loadJournal(
            "\(folder)/appendonlydir", into: store, configuration: Configuration(), table: StoreCrashModel.table,
            removesLeftovers: false)
        return try TestSession(Engine(store: store, seed: 3, table: StoreCrashModel.table)).call("GET", key)
    }

    // MARK: Policies

    @Test("Of policies that several threads set at once the last one holds")
    func policyMeets() throws {
        try withFolder { folder in
            let isMeeting = Atomic<Bool>(false)
            let hasEntered = Atomic<Bool>(false)
            let isSecondOver = Atomic<Bool>(false)
            let isHeld = Atomic<Bool>(false)
            let kept = KeptStore(folder) { holds in
                isHeld.store(holds, ordering: .releasing)
                guard holds, isMeeting.exchange(false, ordering: .acquiringAndReleasing) else { return }
                // The first one has read `always`, and the second one comes in between, if it can.
                hasEntered.store(true, ordering: .releasing)
                for _ in 0..<200 where !isSecondOver.load(ordering: .acquiring) { TestFiles.sleep(milliseconds: 1) }
            }
            #expect(try kept.set("appendonly", "yes") == ok)
            let isWhole = eventually { kept.isWhole }
            #expect(isWhole)
            isMeeting.store(true, ordering: .releasing)
            onThreads(2) { thread in
                if thread == 0 {
                    kept.configuration.settle("appendfsync", "always")
                    return kept.keeper.applyPolicy()
                }
                while !hasEntered.load(ordering: .acquiring) { TestFiles.sleep(milliseconds: 1) }
                kept.configuration.settle("appendfsync", "no")
                kept.keeper.applyPolicy()
                isSecondOver.store(true, ordering: .releasing)
            }
            #expect(kept.keeper.journal?.policy == .system)
            let isStillHeld = isHeld.load(ordering: .acquiring)
            #expect(!isStillHeld)
            #expect(!kept.engine.interest.current.holdsReplies)
            try kept.keeper.close()
        }
    }

    @Test("Whatever threads set at the same time, all that follows the policy agrees with what is configured")
    func policyRaces() throws {
        try withFolder { folder in
            let isHeld = Atomic<Bool>(false)
            let kept = KeptStore(folder) { isHeld.store($0, ordering: .releasing) }
            #expect(try kept.set("appendonly", "yes") == ok)
            let isWhole = eventually { kept.isWhole }
            #expect(isWhole)
            for round in 0..<reducedWhenSanitized(300) {
                onThreads(3) { thread in
                    kept.configuration.settle("appendfsync", ["always", "everysec", "no"][(thread + round) % 3])
                    kept.keeper.applyPolicy()
                }
                let wanted = kept.keeper.policy
                #expect(kept.keeper.journal?.policy == wanted, "round \(round)")
                let isNowHeld = isHeld.load(ordering: .acquiring)
                #expect(isNowHeld == (wanted == .always), "round \(round)")
                #expect(kept.engine.interest.current.holdsReplies == (wanted == .always), "round \(round)")
            }
            try kept.keeper.close()
        }
    }

    // MARK: Connecting

    @Test("No base is made before the engine writes to the journal: what is changed in between would be in neither")
    func baseBeforeConnection() throws {
        try withFolder { folder in
            let kept = KeptStore(folder)
            // As if a rewrite of an earlier journal went on: the new one's first base is not begun by the switch.
            guard case .started = kept.keeper.claimRewrite() else { return _ = Issue.record("a rewrite goes on") }
            kept.store.lock(.all)
            kept.configuration.settle("appendonly", "yes")
            let problem = kept.keeper.follow(["appendonly"])
            #expect(problem == nil)
            let journal = try #require(kept.keeper.journal)
            kept.keeper.end(.unwanted, of: journal)
            // The thread that connects waits for the stripes.
            guard case .busy = kept.keeper.startRewrite() else {
                kept.store.unlock(.all)
                return _ = Issue.record("a base is begun")
            }
            if case .unwanted = kept.keeper.attempt(journal) {} else { Issue.record("a base is made") }
            kept.store.unlock(.all)
            let isConnected = eventually { kept.keeper.current.withLock { $0.isConnected } }
            #expect(isConnected)
            _ = try TestSession(kept.engine).call("SET", "a", "1")
            kept.keeper.rewriteWhenDue()
            let isWhole = eventually { kept.isWhole }
            #expect(isWhole)
            try kept.keeper.close()
            #expect(try value(folder, "a") == .bulk([0x31]))
        }
    }

    @Test("Whenever it is connected, what was written before is in the base, and what comes then in the journal")
    func writesAroundConnection() throws {
        try withFolder { folder in
            for round in 1...reducedWhenSanitized(20) {
                let kept = KeptStore(folder)
                kept.files.setSyncMicroseconds(500)
                let isOver = Atomic<Bool>(false)
                let last = Atomic<Int>(0)
                let problems = ThreadProblems()
                onThreads(2) { thread in
                    if thread == 0 {
                        let session = TestSession(kept.engine)
                        while !isOver.load(ordering: .acquiring) {
                            guard case .integer(let value)? = try? session.call("INCR", "n") else { continue }
                            last.store(Int(value), ordering: .releasing)
                        }
                        return
                    }
                    TestFiles.sleep(microseconds: 100 * round)
                    if (try? kept.set("appendonly", "yes")) != ok { problems.add("it cannot begin") }
                    let isWhole = eventually { kept.isWhole }
                    if !isWhole { problems.add("it has no base") }
                    isOver.store(true, ordering: .releasing)
                }
                try kept.keeper.close()
                #expect(problems.all == [])
                let wanted = Array("\(last.load(ordering: .acquiring))".utf8)
                #expect(try value(folder, "n") == .bulk(wanted), "round \(round)")
            }
        }
    }

    // MARK: Beginnings that fail

    @Test(
        "A beginning that fails at any call leaves what there was, says why, and works later",
        arguments: [
            false, true,
        ])
    func failedBeginning(hasOld: Bool) throws {
        var (call, comes, failureCount) = (1, true, 0)
        // Of those, how many have left a note that a base is awaited: it counts nothing, and the next start removes it.
        var noteCount = 0
        while comes {
            try withFolder { folder in
                let kept = KeptStore(folder)
                _ = try TestSession(kept.engine).call("SET", "a", "old")
                if hasOld {
                    #expect(try kept.set("appendonly", "yes") == ok)
                    let isWhole = eventually { kept.isWhole }
                    #expect(isWhole)
                    #expect(try kept.set("appendonly", "no") == ok)
                }
                _ = try TestSession(kept.engine).call("SET", "a", "new")
                let before = TestFiles.list(below: folder, suffix: "")
                kept.forgetLog()
                let first = kept.files.callCount
                kept.files.fail(afterCalls: call, code: 28)
                let reply = try kept.set("appendonly", "yes")
                if reply == ok {
                    // Behind the reply its thread goes on: what fails there, the next attempt mends.
                    let isWhole = eventually { kept.isWhole || kept.files.callCount - first >= call }
                    #expect(isWhole)
                    comes = kept.files.callCount - first >= call
                } else {
                    failureCount += 1
                    let text = "ERR CONFIG SET failed (possibly related to argument 'appendonly') - "
                    #expect(reply == .error(Array((text + "Unable to turn on AOF. Check server logs.").utf8)))
                    #expect(kept.log.contains("cannot be begun") && kept.log.contains("No space left"), "\(kept.log)")
                    #expect(kept.configuration.text("appendonly") == "no" && kept.keeper.journal == nil)
                    #expect(!kept.keeper.isAwaitingBase && kept.keeper.information?.isEnabled != true)
                    // The lock is free, no segment has come that a start would read.
                    #expect(throws: Never.self) {
                        try SnapshotLock.acquire(forSnapshot: "\(folder)/appendonlydir")?.release()
                    }
                    if hasOld { #expect(try value(folder, "a") == .bulk(Array("old".utf8)), "call \(call)") }
                    #expect(Set(before).isSubset(of: TestFiles.list(below: folder, suffix: "")))
                    if !TestFiles.list(below: folder, suffix: ".awaited").isEmpty { noteCount += 1 }
                    kept.files.fail(afterCalls: nil)
                    #expect(try kept.set("appendonly", "yes") == ok)
                }
                kept.files.fail(afterCalls: nil)
                let isWhole = eventually {
                    // An attempt that fails may end only now, and would put the next one off.
                    kept.keeper.rewrite.withLock { $0.notBefore = 0 }
                    kept.keeper.rewriteWhenDue()
                    return kept.isWhole
                }
                #expect(isWhole, "call \(call)")
                try kept.keeper.close()
                #expect(try value(folder, "a") == .bulk(Array("new".utf8)), "call \(call)")
                let isTidy = TestFiles.list(below: folder, suffix: ".awaited").isEmpty
                #expect(isTidy || kept.log.contains("stay until the next start"), "call \(call)")
            }
            call += 1
        }
        print("beginnings: \(failureCount) of \(call - 1) were refused, \(noteCount) left a note")
        #expect(failureCount > 5 && noteCount < failureCount / 4)
    }

    @Test("A file in the place of the journal's folder is refused with the reason, and once it is gone it works")
    func fileInTheWay() throws {
        try withFolder { folder in
            let kept = KeptStore(folder)
            #expect(TestFiles.write("no folder", to: "\(folder)/appendonlydir"))
            guard case .error? = try kept.set("appendonly", "yes") else { return _ = Issue.record("it began") }
            #expect(kept.log.contains("Not a directory") || kept.log.contains("File exists"), "\(kept.log)")
            #expect(kept.configuration.text("appendonly") == "no")
            #expect(TestFiles.read("\(folder)/appendonlydir") == Array("no folder".utf8))
            removeFile("\(folder)/appendonlydir")
            #expect(try kept.set("appendonly", "yes") == ok)
            try kept.keeper.close()
        }
    }
}
