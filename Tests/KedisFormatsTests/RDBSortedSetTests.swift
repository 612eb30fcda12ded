// Goal: sorted sets are read in all the forms that Redis up to 7.2 wrote, come back as they were written, and damage in
// them is an error or a sane set, never a trap.

import KedisFormats
import KedisStore
import KedisTestSupport
import KedisUtilities
import Testing

@Suite("RDB: sorted sets")
struct RDBSortedSetTests {
    private static let elements: [(String, Double)] = [
        ("low", -.infinity), ("12", -3.25), ("a", 0), ("b", 0.1), ("c", 3), ("-7", 1e300), ("top", .infinity),
    ]

    private static func string(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    /// Each form with the same elements, the type first; in the order given.
    private static func forms(_ elements: [(String, Double)]) -> [[UInt8]] {
        let count = UInt8(elements.count)
        let texts = elements.flatMap { member, score -> [UInt8] in
            string(member)
                + (score.isNaN ? [253] : score == .infinity ? [254] : score == -.infinity ? [255] : string("\(score)"))
        }
        let binary = elements.flatMap { member, score in
            string(member) + withUnsafeBytes(of: score.bitPattern.littleEndian, Array.init)
        }
        let words = elements.flatMap { [$0.0, "\($0.1)"] }
        // Entries as short strings, in both packed forms.
        let run = words.flatMap { [0x80 | UInt8($0.utf8.count)] + Array($0.utf8) + [UInt8($0.utf8.count + 1)] }
        let listpack = [UInt8(run.count + 7), 0, 0, 0, UInt8(words.count), 0] + run + [0xFF]
        var (entries, previous): ([UInt8], Int) = ([], 0)
        for word in words {
            entries += [UInt8(previous), UInt8(word.utf8.count)] + Array(word.utf8)
            previous = word.utf8.count + 2
        }
        let ziplist =
            [UInt8(entries.count + 11), 0, 0, 0, UInt8(10 + entries.count - previous), 0, 0, 0]
            + [UInt8(words.count), 0] + entries + [0xFF]
        let lengths = { (bytes: [UInt8]) in [0x40 | UInt8(bytes.count >> 8), UInt8(bytes.count & 0xFF)] + bytes }
        return [[3, count] + texts, [5, count] + binary, [12] + lengths(ziplist), [17] + lengths(listpack)]
    }

    /// Loads a type with its body as RESTORE does and returns the elements.
    private static func load(_ body: [UInt8], _ limits: SortedSetLimits = SortedSetLimits()) throws -> [(String, Double)]? {
        let store = Store(databaseCount: 1, seed: HashSeed(1, 2))
        store.lock(.all)
        defer { store.unlock(.all) }
        let keyspace = store.keyspace(0, nowMilliseconds: 1000, held: .all)
        let payload = withFixedChecksum(body + [10, 0] + [UInt8](repeating: 0, count: 8))
        var result: [(String, Double)]?
        try Array("z".utf8).withUnsafeBytes { name in
            try payload.withUnsafeBytes { bytes in
                let key = store.key(ByteView(name))
                var reader = RDBReader(payload: ByteView(bytes))
                let value = try reader.readPayloadValue()
                try reader.load(value, as: key, in: keyspace, limits: LoadLimits(sortedSet: limits))
                guard let entry = keyspace.peek(key), entry.type == .sortedSet else { return }
                entry.sortedSet.checkInvariants()
                result = []
                entry.sortedSet.forEach(in: 0..<entry.sortedSet.count) { member, score in
                    result?.append((member.withBytes { $0.text }, score))
                    return true
                }
            }
        }
        return result
    }

    @Test("All forms are read, and put in order where they are not", arguments: [128, 3])
    func forms(countMax: Int) throws {
        let limits = SortedSetLimits(countMax: countMax)
        for form in Self.forms(Self.elements) + Self.forms(Self.elements.reversed()) {
            let loaded = try #require(try Self.load(form, limits))
            #expect(loaded.map(\.0) == Self.elements.map(\.0) && loaded.map(\.1) == Self.elements.map(\.1))
        }
    }

    @Test("A member that is there twice, a score that is no number, and no elements are errors")
    func refused() {
        let twice = Self.forms([("a", 1), ("b", 2), ("a", 3)])
        let notANumber = Self.forms([("a", 1), ("b", .nan)])
        for form in twice + notANumber + [[3, 0], [5, 0]] {
            #expect(throws: RDBError.self) { _ = try Self.load(form) }
        }
    }

    @Test("Damaged sorted sets are errors or sorted sets, whatever the form")
    func damage() throws {
        var generator = RandomGenerator.forTest("damaged sorted sets")
        let forms = Self.forms(Self.elements)
        for _ in 0..<reducedWhenSanitized(20_000) {
            var bytes = forms[generator.next(below: forms.count)]
            for _ in 0..<1 + generator.next(below: 3) {
                bytes[1 + generator.next(below: bytes.count - 1)] = UInt8(truncatingIfNeeded: generator.next())
            }
            _ = try? Self.load(bytes)
        }
    }
}
