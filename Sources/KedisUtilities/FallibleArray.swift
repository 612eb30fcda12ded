// An array whose memory may be refused: what a command gathers before it replies, sorts or stores it.
//
// Ownership: owns a flat buffer from malloc (FallibleMemory.swift). Elements are plain bytes, neither retained nor
// destroyed. Cost: append O(1) amortised; sorting takes half as many elements of memory again.

@usableFromInline
package struct FallibleArray<Element: BitwiseCopyable>: ~Copyable {
    @usableFromInline var memory: UnsafeMutablePointer<Element>?
    @usableFromInline var capacity = 0
    @usableFromInline package internal(set) var count = 0

    @inlinable
    package init() {}

    @inlinable
    deinit { deallocateBuffer(memory) }

    @inlinable
    package var elements: UnsafeMutableBufferPointer<Element> {
        UnsafeMutableBufferPointer(start: memory, count: count)
    }

    /// The element at an index below ``count``.
    @inlinable
    package subscript(index: Int) -> Element {
        get { elements[index] }
        set { elements[index] = newValue }
    }

    /// False when memory is refused.
    @inlinable
    package mutating func append(_ element: Element) -> Bool {
        if count == capacity, !growSlowly() { return false }
        guard let memory else { return false }
        (memory + count).initialize(to: element)
        count &+= 1
        return true
    }

    @usableFromInline
    mutating func growSlowly() -> Bool {
        let wanted = max(32, 2 * capacity)
        guard let grown = resizeBuffer(memory, capacity: wanted) else { return false }
        (memory, capacity) = (grown, wanted)
        return true
    }

    /// Keeps the first elements only.
    @inlinable
    package mutating func truncate(to newCount: Int) {
        assert(newCount >= 0 && newCount <= count)
        count = newCount
    }

    /// Sorts stably; false when memory is refused. O(n log n), O(n) where the elements are in order already.
    @inlinable
    package mutating func sort(by precedes: (Element, Element) -> Bool) -> Bool {
        guard count > 1, let memory else { return true }
        guard let spare: UnsafeMutablePointer<Element> = resizeBuffer(nil, capacity: count / 2) else { return false }
        defer { deallocateBuffer(spare) }
        Self.mergeSort(memory, count, spare, precedes)
        return true
    }

    @inlinable
    static func mergeSort(
        _ items: UnsafeMutablePointer<Element>, _ count: Int, _ spare: UnsafeMutablePointer<Element>,
        _ precedes: (Element, Element) -> Bool
    ) {
        guard count > 1 else { return }
        let middle = count / 2
        mergeSort(items, middle, spare, precedes)
        mergeSort(items + middle, count - middle, spare, precedes)
        guard precedes(items[middle], items[middle - 1]) else { return }
        spare.update(from: items, count: middle)
        var (left, right, target) = (0, middle, 0)
        while left < middle {
            if right < count, precedes(items[right], spare[left]) {
                items[target] = items[right]
                right &+= 1
            } else {
                items[target] = spare[left]
                left &+= 1
            }
            target &+= 1
        }
    }
}
