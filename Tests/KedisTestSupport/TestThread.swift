// A thread of a test, which can be waited for.

import KedisUtilities
import Synchronization

package final class TestThread: Sendable {
    private let isOver = Atomic<Bool>(false)

    /// Runs `body` on a new thread.
    package init(_ body: @escaping @Sendable () -> Void) {
        let isStarted = startThread { [self] in
            body()
            isOver.store(true, ordering: .releasing)
        }
        precondition(isStarted, "the system gives no thread")
    }

    /// Waits until `body` has returned.
    package func join() {
        while !isOver.load(ordering: .acquiring) { TestFiles.sleep(milliseconds: 1) }
    }
}
