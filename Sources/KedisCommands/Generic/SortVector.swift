// The elements that SORT sorts, and how.
//
// Every element gets a number of 64 bits that orders it: its score, or the first 8 bytes of its text. Numbers and
// positions are sorted alone, by a radix sort without comparisons; only runs of equal numbers are compared byte by
// byte afterwards. All sorts are stable. Ownership: owns flat buffers whose refusal is an error; elements are borrowed
// views.

import KedisStore
import KedisUtilities

struct SortVector: ~Copyable {
    /// A string: bytes, or a number without a base.
    private struct Element {
        var base: UnsafePointer<UInt8>?
        /// The count of bytes, -1 for none at all; or the number.
        var word: Int

        init(_ value: StringValue?) {
            switch value {
            case .bytes(let bytes): (base, word) = (bytes.base, bytes.count)
            case .integer(let integer): (base, word) = (nil, Int(integer))
            case nil: (base, word) = (ByteView.nowhere, -1)
            }
        }

        var value: StringValue? {
            guard let base else { return .integer(Int64(word)) }
            return word < 0 ? nil : .bytes(ByteView(base: base, count: word))
        }
    }

    /// What is moved about: the number that orders, and the position of the element.
    private struct Item {
        var order: UInt64
        var position: Int
    }

    private var elements: UnsafeMutablePointer<Element>?
    private var items: UnsafeMutablePointer<Item>?
    private(set) var count = 0

    init() {}

    deinit {
        deallocateBuffer(elements)
        deallocateBuffer(items)
    }

    /// The element at a position of the present order.
    subscript(position: Int) -> StringValue {
        guard position < count, let elements else { return .bytes(.empty) }
        return elements[items?[position].position ?? position].value ?? .bytes(.empty)
    }

    /// Takes elements of a value, in its order. Once.
    mutating func load(_ source: SortSource, in range: Range<Int>, isReversed: Bool) throws(CommandError) {
        guard let memory: UnsafeMutablePointer<Element> = resizeBuffer(nil, capacity: max(1, range.count)) else {
            throw .outOfMemory
        }
        elements = memory
        var loaded = 0
        source.forEach(in: range, isReversed: isReversed) { value in
            guard loaded < range.count else { return }
            memory[loaded] = Element(value)
            loaded += 1
        }
        count = loaded
    }

    // MARK: Sorting

    /// Sorts by the elements, or by the `weight` of each; false when one is no number.
    mutating func sort(
        _ options: SortOptions, weight: ((StringValue) -> StringValue?)?
    ) throws(CommandError) -> Bool {
        guard let elements, let items: UnsafeMutablePointer<Item> = resizeBuffer(nil, capacity: max(1, count)) else {
            throw .outOfMemory
        }
        self.items = items
        var weights: UnsafeMutablePointer<Element>?
        defer { deallocateBuffer(weights) }
        if options.isAlphabetic {
            if let weight { weights = try makeWeights(elements, weight) }
            numberByText(items, weights ?? elements)
        } else {
            guard numberByScore(items, elements, weight) else { return false }
        }
        guard let spare: UnsafeMutablePointer<Item> = resizeBuffer(nil, capacity: max(1, count)) else {
            throw .outOfMemory
        }
        defer { deallocateBuffer(spare) }
        if options.isDescending {
            for index in 0..<count { items[index].order = ~items[index].order }
        }
        sortNumbers(items, spare)
        sortTies(items, spare, by: weights ?? elements, isDescending: options.isDescending)
        return true
    }

    private func makeWeights(
        _ elements: UnsafeMutablePointer<Element>, _ weight: (StringValue) -> StringValue?
    ) throws(CommandError) -> UnsafeMutablePointer<Element> {
        guard let weights: UnsafeMutablePointer<Element> = resizeBuffer(nil, capacity: max(1, count)) else {
            throw .outOfMemory
        }
        for position in 0..<count { weights[position] = Element(elements[position].value.flatMap(weight)) }
        return weights
    }

    /// Numbers each item by the first bytes of its text, what is missing and what is empty first.
    private func numberByText(_ items: UnsafeMutablePointer<Item>, _ texts: UnsafeMutablePointer<Element>) {
        for position in 0..<count {
            let order = texts[position].value.map { $0.withBytes { SortVector.prefix(of: $0) } } ?? 0
            items[position] = Item(order: order, position: position)
        }
    }

    private static func prefix(of bytes: ByteView) -> UInt64 {
        if bytes.count >= 8 { return UInt64(bigEndian: UnsafeRawPointer(bytes.base).loadUnaligned(as: UInt64.self)) }
        var order: UInt64 = 0
        for index in 0..<bytes.count { order |= UInt64(bytes[index]) << UInt64(56 &- 8 &* index) }
        return order
    }

    /// Numbers each item by its score; 0 is that of what is missing. False when one is no number.
    private func numberByScore(
        _ items: UnsafeMutablePointer<Item>, _ elements: UnsafeMutablePointer<Element>,
        _ weight: ((StringValue) -> StringValue?)?
    ) -> Bool {
        for position in 0..<count {
            var score = 0.0
            var value = elements[position].value
            if let weight { value = value.flatMap(weight) }
            switch value {
            case .integer(let integer): score = Double(integer)
            case .bytes(let bytes):
                guard let parsed = SortVector.score(bytes) else { return false }
                score = parsed
            case nil: break
            }
            // Adding zero makes the two zeros one.
            let bits = (score + 0).bitPattern
            items[position] = Item(order: bits >> 63 == 0 ? bits | 1 << 63 : ~bits, position: position)
        }
        return true
    }

    /// What C's `strtod` takes bytes for, up to a zero byte; nothing is 0.
    private static func score(_ bytes: ByteView) -> Double? {
        if let score = parseDouble(bytes) { return score }
        var text = bytes[0..<(bytes.firstIndex(of: 0) ?? bytes.count)]
        if text.isEmpty { return 0 }
        while let first = text.buffer.first, first == 0x20 || (0x09...0x0D).contains(first) {
            text = text[1..<text.count]
        }
        return parseDouble(text)
    }

    // MARK: Order

    private static let smallCount = 48

    private func sortNumbers(_ items: UnsafeMutablePointer<Item>, _ spare: UnsafeMutablePointer<Item>) {
        if count > Self.smallCount { return sortByDigits(items, spare) }
        SortVector.mergeSort(items, spare, count) { $0.order < $1.order }
    }

    /// Sorts by one byte after the other, the lowest first; bytes that all numbers share are passed over.
    private func sortByDigits(_ items: UnsafeMutablePointer<Item>, _ spare: UnsafeMutablePointer<Item>) {
        var (from, to) = (items, spare)
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 8 * 256) { histograms in
            histograms.initialize(repeating: 0)
            for index in 0..<count {
                let order = from[index].order
                for digit in 0..<8 {
                    histograms[digit &* 256 &+ Int(truncatingIfNeeded: order >> UInt64(8 &* digit) & 0xFF)] &+= 1
                }
            }
            for digit in 0..<8 {
                let shift = UInt64(8 &* digit)
                let first = Int(truncatingIfNeeded: from[0].order >> shift & 0xFF)
                if histograms[digit &* 256 &+ first] == count { continue }
                var start = 0
                for bucket in digit &* 256..<digit &* 256 &+ 256 {
                    let size = histograms[bucket]
                    histograms[bucket] = start
                    start &+= size
                }
                for index in 0..<count {
                    let item = from[index]
                    let bucket = digit &* 256 &+ Int(truncatingIfNeeded: item.order >> shift & 0xFF)
                    to[histograms[bucket]] = item
                    histograms[bucket] &+= 1
                }
                swap(&from, &to)
            }
        }
        if from != items { items.update(from: from, count: count) }
    }

    /// Sorts each run of equal numbers by the texts.
    private func sortTies(
        _ items: UnsafeMutablePointer<Item>, _ spare: UnsafeMutablePointer<Item>,
        by texts: UnsafeMutablePointer<Element>, isDescending: Bool
    ) {
        var start = 0
        while start < count {
            var end = start + 1
            while end < count, items[end].order == items[start].order { end += 1 }
            if end - start > 1 {
                SortVector.mergeSort(items + start, spare, end - start) { one, other in
                    let (left, right) = (texts[one.position].value, texts[other.position].value)
                    return isDescending ? SortVector.isBefore(right, left) : SortVector.isBefore(left, right)
                }
            }
            start = end
        }
    }

    private static func isBefore(_ left: StringValue?, _ right: StringValue?) -> Bool {
        guard let left, let right else { return left == nil && right != nil }
        return left.withBytes { left in right.withBytes { left < $0 } }
    }

    /// A stable sort that needs a spare place for half of the items. O(n) comparisons when they are sorted already.
    private static func mergeSort(
        _ items: UnsafeMutablePointer<Item>, _ spare: UnsafeMutablePointer<Item>, _ count: Int,
        _ isBefore: (Item, Item) -> Bool
    ) {
        guard count > 8 else { return insertionSort(items, count, isBefore) }
        let middle = count / 2
        mergeSort(items, spare, middle, isBefore)
        mergeSort(items + middle, spare, count - middle, isBefore)
        guard isBefore(items[middle], items[middle - 1]) else { return }
        spare.update(from: items, count: middle)
        var (left, right, target) = (0, middle, 0)
        while left < middle {
            if right < count, isBefore(items[right], spare[left]) {
                items[target] = items[right]
                right += 1
            } else {
                items[target] = spare[left]
                left += 1
            }
            target += 1
        }
    }

    private static func insertionSort(
        _ items: UnsafeMutablePointer<Item>, _ count: Int, _ isBefore: (Item, Item) -> Bool
    ) {
        for index in 1..<max(1, count) {
            let item = items[index]
            var hole = index
            while hole > 0, isBefore(item, items[hole - 1]) {
                items[hole] = items[hole - 1]
                hole -= 1
            }
            items[hole] = item
        }
    }
}

/// Copies of strings, one behind the other.
struct FlatStrings: ~Copyable {
    private var bytes: UnsafeMutablePointer<UInt8>?
    private var ends: UnsafeMutablePointer<Int>?
    private var byteCapacity = 0
    private var capacity = 0
    private var byteCount = 0
    private(set) var count = 0
    /// Whether memory was refused: then what came later is missing.
    private(set) var isExhausted = false

    init() {}

    deinit {
        deallocateBuffer(bytes)
        deallocateBuffer(ends)
    }

    mutating func append(_ string: ByteView) {
        guard !isExhausted, reserve(string.count), let bytes, let ends else { return }
        (bytes + byteCount).update(from: string.base, count: string.count)
        byteCount += string.count
        ends[count] = byteCount
        count += 1
    }

    subscript(index: Int) -> ByteView {
        guard index >= 0, index < count, let bytes, let ends else { return .empty }
        let start = index == 0 ? 0 : ends[index - 1]
        return ByteView(base: bytes + start, count: ends[index] - start)
    }

    private mutating func reserve(_ added: Int) -> Bool {
        if byteCount + added > byteCapacity || bytes == nil {
            let wanted = max(byteCount + added, byteCapacity * 2, 1024)
            guard let grown = resizeBuffer(bytes, capacity: wanted) else { return refuse() }
            bytes = grown
            byteCapacity = wanted
        }
        if count == capacity {
            let wanted = max(64, capacity * 2)
            guard let grown = resizeBuffer(ends, capacity: wanted) else { return refuse() }
            ends = grown
            capacity = wanted
        }
        return true
    }

    private mutating func refuse() -> Bool {
        isExhausted = true
        return false
    }
}
