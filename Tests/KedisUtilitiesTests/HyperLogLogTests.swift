import KedisUtilities
import Testing

/// Goal: the registers, their two forms and the estimate are right on their own; that the bytes are those of Redis is
/// checked against it in KedisCommandsTests. Method: known hashes, a model of 16384 plain registers, and the error over
/// many elements.
@Suite struct HyperLogLogTests {
    /// Computed with a second implementation, in Python, from the published definition.
    @Test(arguments: [
        ("", 0xd8df_ea65_85bc_9732), ("a", 0x53d2_470a_9b43_b1a7), ("abc", 0x77ec_90ae_b374_e502),
        ("12345678", 0x95eb_b863_8913_2953), ("123456789", 0x2175_32cb_09f2_a44d),
        ("The quick brown fox jumps over the lazy dog", 0x5160_6c5c_5b56_1ace),
    ] as [(String, UInt64)])
    func murmurHash(text: String, hash: UInt64) {
        #expect(withView(text) { murmurHash64A($0, seed: 0xadc8_3b19) } == hash)
    }

    @Test func observations() {
        let hash: UInt64 = 0x95eb_b863_8913_2953
        let observation = withView("12345678") { HyperLogLog.Observation($0) }
        #expect(observation.index == Int(hash & 16383))
        #expect(Int(observation.rank) == (hash >> 14).trailingZeroBitCount + 1)
    }

    private static let count = HyperLogLog.registerCount

    private func withEditor<Result>(
        sparseByteCountMax: Int, _ bytes: [UInt8]? = nil, _ body: (inout HyperLogLogEditor) throws -> Result
    ) rethrows -> Result {
        let capacity = HyperLogLogEditor.capacity(for: bytes?.count ?? 0, sparseByteCountMax: sparseByteCountMax)
        return try withUnsafeTemporaryAllocation(of: UInt8.self, capacity: capacity) { memory in
            func edit(_ view: ByteView?) throws -> Result {
                var editor = HyperLogLogEditor(view, in: memory, sparseByteCountMax: sparseByteCountMax)
                return try body(&editor)
            }
            guard let bytes else { return try edit(nil) }
            return try withView(bytes) { try edit($0) }
        }
    }

    private func registers(_ view: ByteView) -> [UInt8]? {
        HyperLogLog.withRegisters(of: view) { Array(UnsafeBufferPointer(start: $0, count: Self.count)) }
    }

    /// Sparse, dense and the way between them hold what a plain array holds, and say the same of every change.
    @Test(arguments: [0, 19, 100, 3000, HyperLogLog.sparseByteCountMax, .max])
    func registersFollowTheModel(sparseByteCountMax: Int) {
        var generator = makeGenerator("registers up to \(sparseByteCountMax) bytes")
        var model = [UInt8](repeating: 0, count: Self.count)
        withEditor(sparseByteCountMax: sparseByteCountMax) { editor in
            // A part of the registers only, so that neighbours meet and runs are joined and split.
            let range = 1 + generator.next(below: 3000)
            for step in 0..<6_000 {
                let index = step % 5 == 0 ? Self.count - 1 - generator.next(below: range) : generator.next(below: range)
                let rank = UInt8(1 + generator.next(below: step == 5_500 ? 51 : 1 + generator.next(below: 32)))
                let change = editor.raise(HyperLogLog.Observation(index: index, rank: rank))
                #expect(change == (model[index] < rank ? .changed : .unchanged))
                model[index] = max(model[index], rank)
                if step % 200 == 0 || step == 5_999 { #expect(registers(editor.view) == model) }
                if !editor.isDense { #expect(editor.byteCount <= max(18, sparseByteCountMax)) }
            }
            let sparse = HyperLogLog.cardinality(of: editor.view)
            let isDense = editor.convertToDense()
            #expect(isDense)
            #expect(registers(editor.view) == model)
            #expect(HyperLogLog.cardinality(of: editor.view) == sparse)
        }
    }

    /// Packing, the merge of this processor and the one in words against registers one by one.
    @Test func denseMerges() {
        var generator = makeGenerator("dense merges")
        var bytes = [UInt8](repeating: 0, count: HyperLogLog.denseByteCount)
        _ = bytes.withUnsafeMutableBufferPointer { HyperLogLog.writeEmpty(to: $0.baseAddress!) }
        for _ in 0..<20 {
            let values = (0..<Self.count).map { _ in UInt8(generator.next(below: 64)) }
            let old = (0..<Self.count).map { _ in UInt8(generator.next(below: 64)) }
            bytes.withUnsafeMutableBufferPointer { HyperLogLog.writeDense(values, to: $0.baseAddress!) }
            withView(bytes) { view in
                #expect((0..<Self.count).allSatisfy { HyperLogLog.denseRegister($0, in: view.base) == values[$0] })
                let expected = zip(old, values).map { max($0, $1) }
                var merged = old
                let isSound = merged.withUnsafeMutableBufferPointer { HyperLogLog.merge(view, into: $0.baseAddress!) }
                #expect(isSound)
                #expect(merged == expected)
                merged = old
                merged.withUnsafeMutableBufferPointer { HyperLogLog.mergeDenseInWords(view, into: $0.baseAddress!) }
                #expect(merged == expected)
            }
        }
    }

    @Test func registersOfDenseOnes() {
        withEditor(sparseByteCountMax: 0) { editor in
            for index in [0, 1, 2, 3, 4, Self.count - 2, Self.count - 1] {
                let observation = HyperLogLog.Observation(index: index, rank: UInt8(51 - index % 7))
                let changes = (editor.raise(observation), editor.raise(observation))
                #expect(changes.0 == .changed && changes.1 == .unchanged)
                #expect(HyperLogLog.denseRegister(index, in: editor.view.base) == observation.rank)
            }
        }
    }

    /// The standard error is 0.81 %: 4 % is five of them.
    @Test(arguments: [0, 1, 10, 1_000, 10_000, 100_000, 1_000_000])
    func estimate(elementCount: Int) {
        var generator = makeGenerator("estimate of \(elementCount)")
        let salt = generator.next()
        withEditor(sparseByteCountMax: 3000) { editor in
            for element in 0..<elementCount {
                let word = salt &+ UInt64(element)
                _ = withUnsafeBytes(of: word) { editor.raise(HyperLogLog.Observation(ByteView($0))) }
            }
            let estimate = HyperLogLog.cardinality(of: editor.view)
            #expect(estimate.map { abs(Double($0) - Double(elementCount)) <= 0.04 * Double(elementCount) + 0.5 } == true)
        }
    }

    @Test func selfTest() { #expect(HyperLogLog.selfTest() == nil) }
}
