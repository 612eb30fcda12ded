// One element pushed to a list or popped from it, in one call: what queues and stacks do all day.
//
// The key is looked up once, and where the outermost chunk of a deque has what is needed, that is all. Everything else
// goes through an editor. The functions are mutating so that the keyspace is not copied for the call: they change
// nothing of it. Cost: O(1), amortised.

package import KedisUtilities

/// What a push or a pop has found.
package enum ListChange {
    case none
    case wrongType
    /// The list has so many elements now.
    case done(count: Int)
}

extension Keyspace {
    /// Puts a value at an end of the list at `key`, if there is one: sets the access clock.
    /// - Parameter setting: `list-max-listpack-size`, see ``PackLimit``.
    package mutating func push(
        _ value: ByteView, to key: Key, atHead: Bool, setting: Int
    ) throws(StoreError) -> ListChange {
        switch editCell(key, .list) {
        case .none: return .none
        case .wrongType: return .wrongType
        case .cell(let target):
            let limit = PackLimit(setting: setting)
            if let deque = target.cell.deque, deque.pushIntoRoom(packedValue(value), atHead: atHead, limit) {
                return .done(count: deque.count)
            }
            return .done(count: try pushSlowly(value, ListEditor(target, limit), atHead: atHead))
        }
    }

    @inline(never)
    private func pushSlowly(_ value: ByteView, _ editor: ListEditor, atHead: Bool) throws(StoreError) -> Int {
        var editor = editor
        try editor.push(1, atHead: atHead) { _ in value }
        return editor.count
    }

    /// Takes the outermost element of the list at `key`, after `body` has seen it, and the key with the last one: sets
    /// the access clock.
    /// - Parameter setting: `list-max-listpack-size`, see ``PackLimit``.
    package mutating func pop(
        from key: Key, atHead: Bool, setting: Int, _ body: (StringValue) -> Void
    ) throws(StoreError) -> ListChange {
        switch editCell(key, .list) {
        case .none: return .none
        case .wrongType: return .wrongType
        case .cell(let target):
            // A list of one chunk may go back into its cell.
            if let deque = target.cell.deque, deque.chunkCount > 1, deque.popFromChunk(atHead: atHead, body) {
                return .done(count: deque.count)
            }
            let editor = ListEditor(target, PackLimit(setting: setting))
            return .done(count: try popSlowly(editor, atHead: atHead, body))
        }
    }

    @inline(never)
    private func popSlowly(
        _ editor: ListEditor, atHead: Bool, _ body: (StringValue) -> Void
    ) throws(StoreError) -> Int {
        var editor = editor
        let countLeft = editor.count - 1
        try editor.pop(atHead: atHead, body)
        return countLeft
    }
}
