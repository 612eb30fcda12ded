// Which commands of a pipeline are worth a look at the clock of their own.
//
// Up to 16 pipelined commands share one plan and one pair of readings (Session+Timing.swift). That is fair among
// equals: short requests of commands that touch one place. It is not where one of them may take as long as a thousand
// others.

import KedisProtocol
import KedisUtilities

struct CommandCost: Sendable {
    /// Whatever the request looks like, a call may take long: it reads or writes a range, or makes a string of any
    /// length.
    private let isUneven: Bool

    /// Requests that are longer, in bytes, take time by themselves: many arguments, or a long one.
    private static let evenByteCountMax = 1024
    private static let growingNames: Set<String> = ["SETBIT", "SETRANGE", "BITFIELD"]

    init(_ spec: CommandSpec) {
        let isConstant = spec.complexity.hasPrefix("O(1)")
        isUneven = !spec.flags.contains(.fast) && !isConstant || Self.growingNames.contains(spec.name)
    }

    /// Whether this call may take much longer than those beside it.
    @inline(__always)
    func mayTakeLong(_ arguments: ArgumentList) -> Bool {
        isUneven || arguments.byteCount > Self.evenByteCountMax
    }
}
