// A file of the simulated disk: its bytes in the page cache, its bytes on disk, and what the disk may have of the
// difference.
//
// Owned by the disk, touched under its lock. Cost: a copy of a sector for each write that touches it.

import KedisUtilities

final class SimulatedFile {
    static let sectorByteCount = 512

    /// In the order of creation.
    let number: Int
    /// What a program reads.
    private(set) var bytes: [UInt8] = []
    /// What is on disk.
    private var durable: [UInt8] = []
    /// Of each sector written since the last sync, all contents that it had: the disk may have any.
    private var unsynced: [Int: [[UInt8]]] = [:]
    /// When it was made or written last, and what is on disk of that.
    private(set) var modificationNumber: Int64
    private var durableModificationNumber: Int64

    init(number: Int, modificationNumber: Int64) {
        self.number = number
        self.modificationNumber = modificationNumber
        durableModificationNumber = modificationNumber
    }

    func write(_ new: [UInt8], at offset: Int, modificationNumber number: Int64) {
        modificationNumber = number
        guard !new.isEmpty else { return }
        let end = offset + new.count
        if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
        bytes.replaceSubrange(offset..<end, with: new)
        for sector in offset / Self.sectorByteCount...(end - 1) / Self.sectorByteCount {
            unsynced[sector, default: []].append(Array(bytes[range(of: sector)]))
        }
    }

    private func range(of sector: Int) -> Range<Int> {
        let start = sector * Self.sectorByteCount
        return start..<min(bytes.count, start + Self.sectorByteCount)
    }

    /// All that is known to be unsynced goes to disk. What a failed sync has forgotten does not.
    func synchronize() {
        extend(to: bytes.count)
        for sector in unsynced.keys { store(Array(bytes[range(of: sector)]), in: sector) }
        unsynced = [:]
        durableModificationNumber = modificationNumber
    }

    /// Of each sector, a content goes to disk or none; and it is forgotten, or not.
    func failToSynchronize(_ generator: inout RandomGenerator) {
        if generator.next(below: 2) == 0 { extend(to: bytes.count) }
        for sector in unsynced.keys.sorted() {
            if generator.next(below: 2) == 0 { storeAny(of: sector, &generator) }
            if generator.next(below: 2) == 0 { unsynced[sector] = nil }
        }
    }

    /// The page cache is gone.
    func losePower(_ generator: inout RandomGenerator) {
        let oldCount = durable.count
        let count =
            switch generator.next(below: 3) {
            case 0: oldCount
            case 1: max(oldCount, bytes.count)
            default: oldCount + generator.next(below: max(0, bytes.count - oldCount) + 1)
            }
        let leavesGarbage = generator.next(below: 4) == 0
        extend(to: max(bytes.count, oldCount))
        if leavesGarbage {
            for index in oldCount..<durable.count { durable[index] = UInt8(truncatingIfNeeded: generator.next()) }
        }
        for sector in unsynced.keys.sorted() where generator.next(below: 2) == 0 { storeAny(of: sector, &generator) }
        durable.removeSubrange(count...)
        bytes = durable
        unsynced = [:]
        let unsyncedTime = Int(modificationNumber - durableModificationNumber)
        durableModificationNumber += Int64(generator.next(below: unsyncedTime + 1))
        modificationNumber = durableModificationNumber
    }

    private func extend(to count: Int) {
        if durable.count < count { durable += [UInt8](repeating: 0, count: count - durable.count) }
    }

    private func storeAny(of sector: Int, _ generator: inout RandomGenerator) {
        guard let contents = unsynced[sector], !contents.isEmpty else { return }
        store(contents[generator.next(below: contents.count)], in: sector)
    }

    private func store(_ content: [UInt8], in sector: Int) {
        let start = sector * Self.sectorByteCount
        extend(to: start + content.count)
        durable.replaceSubrange(start..<start + content.count, with: content)
    }
}
