// MEMORY DOCTOR: what is odd about the use of memory, in sentences that say what helps.
//
// A table of findings, each a condition on the report and a text. Thresholds are those of Redis's doctor where it has
// the same finding.

import KedisProtocol
import KedisStore
import KedisUtilities

enum MemoryDoctor {
    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        var text = advice(MemoryReport(call.engine, held: call.keyspace.held))
        text.withUTF8 { reply.verbatim("txt", ByteView(UnsafeRawBufferPointer($0))) }
    }

    /// Below this there is nothing that could be said.
    private static let smallByteCount = 5 << 20
    private static let notableByteCount = 10 << 20

    static func advice(_ report: MemoryReport) -> String {
        guard report.used >= smallByteCount || report.limit > 0 && report.used > report.limit else {
            return """
                Nothing to examine: this instance is empty or is using very little memory. Ask again when there is \
                data in it.

                """
        }
        let found = findings.compactMap { $0(report) }
        guard !found.isEmpty else { return "The use of memory shows no problem.\n" }
        return "The use of memory shows \(found.count == 1 ? "this" : "these \(found.count) things"):\n\n"
            + found.map { " * \($0)\n" }.joined(separator: "\n")
    }

    private static let findings: [@Sendable (MemoryReport) -> String?] = [
        limit, volatilePolicy, systemMemory, peak, fragmentation, freeCells, processOverhead, clients, pending,
    ]

    private static func limit(_ report: MemoryReport) -> String? {
        guard report.limit > 0, Double(report.used) > 0.95 * Double(report.limit) else { return nil }
        let share = "\(humanByteCount(report.used)) of \(humanByteCount(report.limit)) (maxmemory) are in use"
        return report.policy == .noEviction
            ? "Limit: \(share), and with the policy noeviction commands that need memory are refused beyond it. "
                + "Raise maxmemory, delete keys, or choose a policy that evicts."
            : "Limit: \(share), so keys are evicted by \(report.policy.name). That is as configured; evicted_keys in "
                + "INFO stats tells how many."
    }

    private static func volatilePolicy(_ report: MemoryReport) -> String? {
        guard report.limit > 0, report.policy.isVolatile, report.statistics.keyCount > 0,
            report.statistics.deadlineCount == 0
        else { return nil }
        return "Policy: \(report.policy.name) evicts only keys with a deadline, and no key has one: at the limit, "
            + "commands that need memory will be refused. Set deadlines, or choose an allkeys policy."
    }

    private static func systemMemory(_ report: MemoryReport) -> String? {
        guard report.systemByteCount > 0 else { return nil }
        if report.limit > report.systemByteCount {
            return "System: maxmemory is \(humanByteCount(report.limit)), the machine has "
                + "\(humanByteCount(report.systemByteCount)). The limit cannot be reached before memory is exhausted."
        }
        guard report.limit == 0, Double(report.resident) > 0.75 * Double(report.systemByteCount) else { return nil }
        return "System: the process takes \(humanByteCount(report.resident)) of "
            + "\(humanByteCount(report.systemByteCount)), and there is no limit. Set maxmemory."
    }

    private static func peak(_ report: MemoryReport) -> String? {
        guard Double(report.peak) > 1.5 * Double(report.used) else { return nil }
        return "Peak: \(humanByteCount(report.peak)) were in use at one time, \(humanByteCount(report.used)) are now. "
            + "What is not needed is given back in the background; MEMORY PURGE gives back what is left."
    }

    private static func fragmentation(_ report: MemoryReport) -> String? {
        // The process itself takes some 20 MB, whatever it holds: that is not fragmentation.
        guard report.fragmentation > 1.4, report.resident - report.used > 4 * notableByteCount else { return nil }
        return "Fragmentation: the process takes \(formatFixed(report.fragmentation, 2)) times what the data needs. "
            + "After many deletions that passes while memory is given back in the background."
    }

    private static func freeCells(_ report: MemoryReport) -> String? {
        let free = report.statistics.freeCellByteCount
        guard Double(free) > 0.25 * Double(report.used), free > notableByteCount else { return nil }
        return "Free cells: \(humanByteCount(free)) lie between cells in use. New keys will take them, and the "
            + "defragmentation in the background empties slabs that are mostly free."
    }

    private static func processOverhead(_ report: MemoryReport) -> String? {
        let extra = report.resident - report.allocatorResident
        guard report.processOverhead > 1.5, extra > 4 * notableByteCount else { return nil }
        return "Process: \(humanByteCount(extra)) belong to no key: buffers of clients, a snapshot that is being "
            + "written, or what malloc keeps. MEMORY PURGE gives back the last of these."
    }

    private static func clients(_ report: MemoryReport) -> String? {
        guard report.clientCount > 0, report.clientByteCount / report.clientCount > 200 << 10 else { return nil }
        return "Clients: \(humanByteCount(report.clientByteCount)) wait in buffers of \(report.clientCount) clients. "
            + "CLIENT LIST shows whose (qbuf and omem); client-output-buffer-limit closes those who do not read."
    }

    private static func pending(_ report: MemoryReport) -> String? {
        guard report.statistics.pendingByteCount > 5 * notableByteCount else { return nil }
        return "Background: \(humanByteCount(report.statistics.pendingByteCount)) of removed values are still to be "
            + "given back."
    }
}
