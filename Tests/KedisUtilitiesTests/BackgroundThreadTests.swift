// Goal: parts of a work run on the thread that they are asked for, at any depth, and both see what the other wrote.
// Method: nested parts, many times over, that say where they run.

import Testing

@testable import KedisUtilities

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

@Suite("Work in the background")
struct BackgroundThreadTests {
    /// The thread that runs this, as a number.
    private func thread() -> UInt {
        #if canImport(Glibc)
        UInt(pthread_self())
        #else
        UInt(bitPattern: pthread_self())
        #endif
    }

    @Test("Parts run where they are asked for, at any depth")
    func depth() {
        let foreground = thread()
        var order: [Int] = []
        BackgroundThread.with { work in
            for round in 0..<50 {
                order = []
                work.inForeground { order.append(0) }
                work.inBackground {
                    // Where there is no such thread, all is done here.
                    let background = thread()
                    #expect((background != foreground) == work.yields)
                    order.append(1)
                    work.inForeground {
                        #expect(thread() == foreground)
                        #expect(work.isInForeground)
                        order.append(2)
                        work.inBackground {
                            #expect(thread() == background)
                            order.append(3)
                            work.inForeground { order.append(4) }
                            work.inBackground { order.append(5) }
                        }
                        order.append(6)
                    }
                    order.append(7)
                }
                #expect(order == [0, 1, 2, 3, 4, 5, 6, 7], "round \(round)")
            }
            #expect(work.isInForeground)
        }
    }

    @Test("A work that asks for nothing has no thread, and one that does counts what it worked")
    func processorTime() {
        let result = BackgroundThread.with { work in
            #expect(!work.yields)
            #expect(work.processorNanoseconds == 0)
            return 7
        }
        #expect(result == 7)
        BackgroundThread.with { work in
            var sum: UInt64 = 0
            work.inBackground { for number in 0..<1_000_000 as Range<UInt64> { sum ^= number &* number } }
            #expect(sum != 1)
            #expect(work.yields == (work.processorNanoseconds > 0))
        }
    }

    @Test("Many works at once end, whatever thread has a processor")
    func many() async {
        await withTaskGroup(of: Int.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    BackgroundThread.with { work in
                        var count = 0
                        for _ in 0..<20 { work.inBackground { work.inForeground { count += 1 } } }
                        return count
                    }
                }
            }
            for await count in group { #expect(count == 20) }
        }
    }
}
