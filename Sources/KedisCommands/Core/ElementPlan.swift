// Which elements a command will look for in the collection at its key, so that a batch can load them ahead
// (KedisStore/ElementPrefetch.swift). A hint: where it is wrong, a command takes longer and does the same.
//
// Derived from the arguments of the spec, but for what a spec says itself.

import KedisProtocol
import KedisStore
import KedisUtilities

package enum ElementPlan: Equatable, Sendable {
    case none
    /// Those that arguments name, counted from the end because options stand before them: the last one is `last` from
    /// the end (1 is the last argument), the others `step` before each other.
    case arguments(last: Int, step: Int)
    /// One by chance.
    case random
    /// The outermost of a sorted set.
    case lowest, highest

    /// What the spec says, or what follows from arguments that are called member or field.
    init(_ spec: CommandSpec) {
        guard spec.group != .stream, case .single = KeyPlan(spec.keys) else {
            self = .none
            return
        }
        self = spec.elements ?? ElementPlan(arguments: spec.arguments)
    }

    private init(arguments: [ArgumentSpec]) {
        self = .none
        let given = arguments.filter { !$0.isOptional }
        guard let last = given.last else { return }
        let isRepeated = last.isMultiple
        let words = isRepeated ? (last.arguments.isEmpty ? [last] : last.arguments) : given
        guard let index = words.lastIndex(where: { ["member", "field"].contains($0.name) && $0.token == nil }) else {
            return
        }
        self = .arguments(last: words.count - index, step: isRepeated ? words.count : Int(Int16.max))
    }
}

extension Session {
    /// Starts to load the keys of the batch, and the elements that its commands will look for.
    @inline(never)
    mutating func prefetchElements(of hashedKeys: UnsafeBufferPointer<Key>) {
        let databaseIndex = client.pointee.databaseIndex
        store.prefetchBuckets(hashedKeys, databaseIndex: databaseIndex)
        batch.elements.begin()
        batch.elements.addKeys(hashedKeys, in: store, databaseIndex: databaseIndex)
        addElements(
            of: UnsafeBufferPointer(start: batch.items, count: batch.count), arguments, firstKey: 0, seed: store.seed,
            client, to: &batch.elements)
        batch.elements.run()
    }
}

/// Announces what planned commands will look for: their keys, whose cells are loaded, begin with the one at `firstKey`.
func addElements(
    of items: UnsafeBufferPointer<Batch.Item>, _ arguments: borrowing ArgumentBuffer, firstKey: Int, seed: HashSeed,
    _ client: UnsafeMutablePointer<ClientState>, to elements: inout ElementPrefetch
) {
    var generator = client.pointee.random
    for item in items where !elements.isFull {
        guard item.entry.pointee.elements != .none, item.keyCount == 1 else { continue }
        if item.entry.pointee.flags.contains(.write) { elements.noteWrite() }
        let keyIndex = firstKey &+ item.firstKey
        switch item.entry.pointee.elements {
        case .none: break
        case .arguments(let last, let step):
            let list = arguments.list(from: item.firstArgument, count: item.argumentCount, base: item.base)
            var position = list.count &- last
            while position >= 2, !elements.isFull {
                elements.add(list[position], keyIndex: keyIndex, seed: seed)
                position &-= step
            }
        case .random:
            elements.addDraw(keyIndex: keyIndex, using: &generator)
        case .lowest, .highest:
            elements.addEnd(isLowest: item.entry.pointee.elements == .lowest, keyIndex: keyIndex, seed: seed)
        }
    }
}
