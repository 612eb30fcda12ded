// The keys and values of the benchmarks: 16 bytes each, four that tell what they are and twelve digits.

import KedisStore
import KedisUtilities

/// What a key or a value begins with.
enum Prefix: UInt32 {
    case key = 0x3a79_656b  // "key:"
    case missing = 0x3a6c_696e  // "nil:"
    case new = 0x3a77_656e  // "new:"
    case value = 0x3a6c_6176  // "val:", so that no value is an integer
}

let itemByteCount = 16

/// Writes the 16 bytes of item `index`.
@inline(__always)
func writeItem(_ prefix: Prefix, _ index: Int, to target: UnsafeMutablePointer<UInt8>) {
    UnsafeMutableRawPointer(target).storeBytes(of: prefix.rawValue.littleEndian, as: UInt32.self)
    writeDigits(index, to: target + 4, count: itemByteCount - 4)
}

/// Writes the last `count` digits of a number, with zeroes before them.
@inline(__always)
func writeDigits(_ number: Int, to target: UnsafeMutablePointer<UInt8>, count: Int) {
    var rest = UInt64(number)
    var position = count - 1
    while position >= 0 {
        target[position] = 0x30 + UInt8(truncatingIfNeeded: rest % 10)
        rest /= 10
        position -= 1
    }
}

func itemArray(_ prefix: Prefix, _ index: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: itemByteCount) { buffer, count in
        if let base = buffer.baseAddress { writeItem(prefix, index, to: base) }
        count = itemByteCount
    }
}

/// Items side by side, in the order in which they will be used. Owns its memory.
final class ItemBuffer: @unchecked Sendable {
    // Sendable: never changed after init.

    let count: Int
    private let base: UnsafeMutablePointer<UInt8>

    init(_ prefix: Prefix, _ indices: [Int]) {
        count = indices.count
        base = .allocate(capacity: max(1, indices.count) * itemByteCount)
        for (position, index) in indices.enumerated() { writeItem(prefix, index, to: base + position * itemByteCount) }
    }

    deinit { base.deallocate() }

    @inline(__always)
    subscript(position: Int) -> ByteView { ByteView(base: base + position * itemByteCount, count: itemByteCount) }
}

/// Room for the item that is made just before it is used.
final class ItemScratch {
    private let base = UnsafeMutablePointer<UInt8>.allocate(capacity: 2 * itemByteCount)

    deinit { base.deallocate() }

    @inline(__always)
    func key(_ index: Int, _ prefix: Prefix = .key) -> ByteView {
        writeItem(prefix, index, to: base)
        return ByteView(base: base, count: itemByteCount)
    }

    @inline(__always)
    func value(_ index: Int) -> ByteView {
        writeItem(.value, index, to: base + itemByteCount)
        return ByteView(base: base + itemByteCount, count: itemByteCount)
    }
}

func makeStore() -> Store { Store(seed: HashSeed(systemEntropy(), systemEntropy())) }

extension StoreHandle {
    /// What a handler does around a key: hash, lock its stripe, work, unlock.
    @inline(__always)
    func withKey<Result>(_ bytes: ByteView, now: Int64, _ body: (Keyspace, Key) -> Result) -> Result {
        let key = Key(bytes, seed: seed)
        var stripes = StripeSet()
        stripes.insert(key.stripeIndex)
        lock(stripes)
        let result = body(keyspace(0, nowMilliseconds: now, held: stripes), key)
        unlock(stripes)
        return result
    }

    /// False when the store refused.
    @inline(__always)
    func set(_ key: ByteView, _ value: ByteView, now: Int64, deadline: DeadlineUpdate = .clear) -> Bool {
        withKey(key, now: now) { keyspace, key in
            do throws(StoreError) { try keyspace.setString(key, value, deadline: deadline) } catch { return false }
            return true
        }
    }
}

/// The first byte of an entry's value: it is read, like a reply would.
@inline(__always)
func firstByte(_ entry: Entry?) -> UInt64 {
    guard let entry, case .bytes(let value) = entry.string else { return 0 }
    return UInt64(value[0])
}

/// Keeps the compiler from leaving out the work behind `value`.
@inline(never)
func use(_ value: UInt64) {
    if value == 0x6b65_6469_7300_0001 { print("") }
}

/// Lets the background finish what it has to do, for at most `seconds`; false when there was more.
@discardableResult
func settle(_ store: Store, seconds: UInt64 = 120) -> Bool {
    let end = monotonicNanoseconds() + seconds * 1_000_000_000
    while store.maintain(nowMilliseconds: wallClockMilliseconds()) {
        guard monotonicNanoseconds() < end else { return false }
    }
    return true
}
