// Changes to the registers of a HyperLogLog whose length may change: a copy in memory of the caller's, changed there.
//
// The sparse runs are changed exactly as Redis changes them (which run is split, when neighbours are joined, when the
// dense form takes over), so that the same elements leave the same bytes. Cost: a register of a sparse one O(N) in its
// bytes, of a dense one O(1); going from sparse to dense O(1) too, 16384 registers.

package struct HyperLogLogEditor {
    /// What became of a register.
    package enum Change: Sendable {
        case unchanged, changed
        /// The runs do not say what they must: nothing was changed.
        case damaged
    }

    private let memory: UnsafeMutablePointer<UInt8>
    private let capacity: Int
    /// A sparse one does not grow beyond this: it becomes dense.
    private let sparseByteCountMax: Int
    package private(set) var byteCount: Int
    package private(set) var isDense: Bool
    private var resumption = SparseStart()

    /// Room that any sequence of changes to `byteCount` bytes needs.
    package static func capacity(for byteCount: Int, sparseByteCountMax: Int) -> Int {
        max(HyperLogLog.denseByteCount, byteCount, min(sparseByteCountMax, HyperLogLog.sparseByteCountMax))
    }

    /// An editor of a copy of `bytes`, or of a new HyperLogLog, in `memory`, which outlives it. `bytes` have a format.
    package init(
        _ bytes: ByteView?, in memory: UnsafeMutableBufferPointer<UInt8>, sparseByteCountMax: Int
    ) {
        let base = memory.baseAddress.unsafelyUnwrapped
        assert(memory.count >= Self.capacity(for: bytes?.count ?? 0, sparseByteCountMax: sparseByteCountMax))
        self.memory = base
        capacity = memory.count
        self.sparseByteCountMax = sparseByteCountMax
        if let bytes {
            base.update(from: bytes.base, count: bytes.count)
            byteCount = bytes.count
            isDense = HyperLogLog.format(of: bytes) == .dense
        } else {
            byteCount = HyperLogLog.writeEmpty(to: base)
            isDense = false
        }
    }

    package var view: ByteView { ByteView(base: memory, count: byteCount) }

    package func markStale() { HyperLogLog.markStale(memory) }

    /// Raises a register to the observed rank.
    package mutating func raise(_ observation: HyperLogLog.Observation) -> Change {
        guard !isDense else { return HyperLogLog.raiseDense(observation, in: memory) ? .changed : .unchanged }
        guard observation.rank <= SparseRun.valueMax else { return raiseDensely(observation) }
        guard let place = find(observation.index) else { return .damaged }
        guard place.run.value < observation.rank else { return .unchanged }
        let value = SparseRun.values(observation.rank, 1)
        var pieces = Pieces()
        let before = observation.index - place.first
        pieces.append(value: place.run.value, length: before)
        pieces.append(value)
        pieces.append(value: place.run.value, length: place.run.length - before - 1)
        let growth = pieces.byteCount - place.run.byteCount
        guard growth <= 0 || byteCount + growth <= min(sparseByteCountMax, capacity) else {
            return raiseDensely(observation)
        }
        replace(place, with: pieces, growth: growth)
        joinRuns(from: place.previousOffset)
        return .changed
    }

    /// Makes all registers those of `registers` (a byte each), in the dense form.
    package mutating func setDense(_ registers: UnsafePointer<UInt8>) {
        HyperLogLog.writeDense(registers, to: memory)
        byteCount = HyperLogLog.denseByteCount
        isDense = true
    }

    /// Goes over to the dense form; false when the runs are damaged, nothing being changed then.
    package mutating func convertToDense() -> Bool {
        guard !isDense else { return true }
        guard HyperLogLog.withRegisters(of: view, { HyperLogLog.writeDense($0, to: memory) }) != nil else {
            return false
        }
        byteCount = HyperLogLog.denseByteCount
        isDense = true
        return true
    }

    private mutating func raiseDensely(_ observation: HyperLogLog.Observation) -> Change {
        guard convertToDense() else { return .damaged }
        return HyperLogLog.raiseDense(observation, in: memory) ? .changed : .unchanged
    }

    // MARK: Runs

    /// The run that covers the register at `index`. Ascending registers are looked for where the last one was: of the
    /// run before the one found last it stays right whatever is done to that one, since runs are joined into the place
    /// of the first of them.
    private mutating func find(_ index: Int) -> SparsePlace? {
        let start = index >= resumption.first ? resumption : SparseStart()
        guard let (place, before) = HyperLogLog.findRun(of: index, in: memory, byteCount, from: start) else {
            return nil
        }
        resumption = before
        return place
    }

    /// The bytes of up to three runs, the first one lowest.
    private struct Pieces {
        var bytes: UInt64 = 0
        var byteCount = 0

        mutating func append(_ run: SparseRun) {
            bytes |= UInt64(run.encoded) << UInt64(8 * byteCount)
            byteCount += run.byteCount
        }

        mutating func append(value: UInt8, length: Int) {
            guard length > 0 else { return }
            append(value > 0 ? .values(value, length) : .zeros(length))
        }
    }

    private mutating func replace(_ place: SparsePlace, with pieces: Pieces, growth: Int) {
        let target = memory + place.offset
        if growth != 0 {
            let end = place.offset + place.run.byteCount
            (memory + end + growth).update(from: memory + end, count: byteCount - end)
            byteCount += growth
        }
        for index in 0..<pieces.byteCount {
            target[index] = UInt8(truncatingIfNeeded: pieces.bytes >> UInt64(8 * index))
        }
    }

    /// Joins neighbours of one value, as long as a run can be, in the five steps from `start` in which Redis looks.
    private mutating func joinRuns(from start: Int) {
        var offset = start
        var stepCount = 5
        while offset < byteCount, stepCount > 0 {
            stepCount -= 1
            let run = SparseRun.at(offset, in: memory, byteCount)
            guard run.value > 0, offset + 1 < byteCount else {
                offset += run.byteCount
                continue
            }
            let next = SparseRun.at(offset + 1, in: memory, byteCount)
            guard next.value == run.value, run.length + next.length <= SparseRun.valueLengthMax else {
                offset += 1
                continue
            }
            (memory + offset).update(from: memory + offset + 1, count: byteCount - offset - 1)
            byteCount -= 1
            SparseRun.values(run.value, run.length + next.length).write(to: memory + offset)
        }
    }
}
