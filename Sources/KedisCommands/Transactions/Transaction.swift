// The commands of a transaction while they are collected: copies of their arguments, with what the plan needs.
//
// Ownership: the client's, from MULTI to EXEC or DISCARD. Threads: the session's. Bounds: the bytes of all arguments
// together by `client-query-buffer-limit`. Cost: the bytes, 16 a range, 24 a command.

import KedisProtocol
import KedisUtilities

package final class Transaction {
    struct Item {
        let entry: UnsafePointer<CommandEntry>
        let firstArgument: Int
        let argumentCount: Int
    }

    private(set) var items: [Item] = []
    private var bytes = InputBuffer()
    private var ranges = ArgumentBuffer()
    /// A command could not be collected: EXEC will refuse.
    var isAborted = false

    var byteCount: Int { bytes.count }

    /// What it takes.
    var allocatedByteCount: Int {
        bytes.capacity + ranges.allocatedByteCount + items.capacity * MemoryLayout<Item>.stride
    }

    /// Appends a command; false when memory is exhausted.
    func append(_ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) -> Bool {
        // The array cannot refuse.
        guard mayAllocate(byteCount: 2 * (items.capacity + 16) * MemoryLayout<Item>.stride) else { return false }
        let first = ranges.count
        for index in 0..<arguments.count {
            let argument = arguments[index]
            let range = ArgumentRange(offset: bytes.count, count: argument.count)
            guard bytes.append(argument), ranges.append(range) else { return false }
        }
        items.append(Item(entry: entry, firstArgument: first, argumentCount: arguments.count))
        return true
    }

    /// The arguments of a command: valid until the next one is appended.
    func arguments(of item: Item) -> ArgumentList {
        ranges.list(from: item.firstArgument, count: item.argumentCount, base: bytes.view.base)
    }
}
