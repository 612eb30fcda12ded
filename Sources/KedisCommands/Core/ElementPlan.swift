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
        batch.elements.begin(hashedKeys, in: store, databaseIndex: client.pointee.databaseIndex)
        var generator = client.pointee.random
        var (isWrite, endCount) = (false, 0)
        for index in 0..<batch.count where !batch.elements.isFull {
            let item = batch.items[index]
            guard item.entry.pointee.elements != .none, item.keyCount == 1 else { continue }
            if item.entry.pointee.flags.contains(.write) { isWrite = true }
            switch item.entry.pointee.elements {
            case .none: break
            case .arguments(let last, let step):
                let list = arguments.list(from: item.firstArgument, count: item.argumentCount, base: item.base)
                var position = list.count &- last
                while position >= 2, !batch.elements.isFull {
                    batch.elements.add(list[position], keyIndex: item.firstKey, seed: store.seed)
                    position &-= step
                }
            case .random:
                batch.elements.addDraw(keyIndex: item.firstKey, using: &generator)
            case .lowest, .highest:
                batch.elements.addEnd(
                    endCount, isLowest: item.entry.pointee.elements == .lowest, keyIndex: item.firstKey,
                    seed: store.seed)
                endCount += 1
            }
        }
        batch.elements.run(isWrite: isWrite)
    }
}
