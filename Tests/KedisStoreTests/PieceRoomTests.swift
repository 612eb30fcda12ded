// Goal: who takes memory from the room of a snapshot has it alone, and gets none that is not there. Method: runs of
// random length until nothing is left, each written whole, and looked at in the end; then from several threads.

import KedisTestSupport
import KedisUtilities
import Testing

@testable import KedisStore

@Suite("The room for addresses of pieces")
struct PieceRoomTests {
    @Test("Runs are zeroed, in lines of their own, and end with the room")
    func runs() throws {
        var generator = RandomGenerator.forTest("room for pieces")
        let room = try #require(PieceRoom(outsideByteCount: 40 << 20))
        var taken: [(memory: UnsafeMutableRawPointer, byteCount: Int)] = []
        while true {
            let byteCount = 1 + generator.next(below: 20_000)
            guard let memory = room.take(byteCount) else { break }
            #expect(Int(bitPattern: memory) % 64 == 0)
            let bytes = UnsafeRawBufferPointer(start: memory, count: byteCount)
            #expect(bytes.allSatisfy { $0 == 0 })
            memory.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: taken.count), count: byteCount)
            taken.append((memory, byteCount))
        }
        for (index, run) in taken.enumerated() {
            let bytes = UnsafeRawBufferPointer(start: run.memory, count: run.byteCount)
            #expect(bytes.allSatisfy { $0 == UInt8(truncatingIfNeeded: index) })
        }
        let byteCount = taken.reduce(0) { $0 + $1.byteCount }
        #expect(byteCount <= 1 << 20 && byteCount > (1 << 20) - 30_000)
    }

    @Test("Without collections there is none, and it has a limit")
    func limits() throws {
        #expect(PieceRoom(outsideByteCount: 0) == nil)
        #expect(PieceRoom(outsideByteCount: 4096 * 40 - 1) == nil)
        let room = try #require(PieceRoom(outsideByteCount: 4 << 30))
        #expect(room.take((16 << 20) + 1) == nil)
        #expect(room.take(16 << 20) != nil)
        #expect(room.take(1) == nil)
    }

    @Test("Several threads at once: as much as there is, and nothing twice")
    func threads() async throws {
        let room = try #require(PieceRoom(outsideByteCount: 40 << 20))
        let addresses = await withTaskGroup(of: [Int].self) { group in
            for _ in 0..<4 {
                group.addTask {
                    var mine: [Int] = []
                    while let memory = room.take(256) { mine.append(Int(bitPattern: memory)) }
                    return mine
                }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        #expect(addresses.count == (1 << 20) / 256 && Set(addresses).count == addresses.count)
    }
}
