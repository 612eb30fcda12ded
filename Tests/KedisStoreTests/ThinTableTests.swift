// Goal: a table that has lost most of its keys takes no more segments than what is left needs.

import KedisUtilities
import Testing

@testable import KedisStore

@Suite("Thin tables")
struct ThinTableTests {
    @Test("A segment beside two deeper ones kept those from ever merging")
    func unequalDepths() throws {
        let now: Int64 = 1_700_000_000_000
        let store = Store(databaseCount: 1, seed: HashSeed(systemEntropy(), systemEntropy()))
        // About as many as two segments hold: in each stripe a few have split, others not.
        let keyCount = Store.stripeCount * 2 * 715
        store.lock(.all)
        let keyspace = store.keyspace(0, nowMilliseconds: now, held: .all)
        for index in 0..<keyCount {
            try withKey(store, Array("\(index)".utf8)) { try keyspace.setInteger($0, 1) }
        }
        for index in 0..<keyCount where index % 10 != 0 {
            _ = withKey(store, Array("\(index)".utf8)) { keyspace.remove($0) }
        }
        store.unlock(.all)
        while store.maintain(nowMilliseconds: now) {}
        let statistics = store.tableStatistics(databaseIndex: 0)
        #expect(statistics.keyCount == keyCount / 10)
        // What is left of a stripe fits one segment.
        #expect(statistics.segmentCount == Store.stripeCount)
        store.checkInvariants()
    }
}
