// The explanation as a reply: a map with one entry for each stage.
//
//      command    the arguments
//      parser     request (the bytes on the wire), bytes, arguments [{offset, bytes}]
//      table      name, arity, flags, group, keys, handler; or error
//      admission  checks {name: verdict}, decision
//      plan       keys [{key, hash, stripe}], locks, stripes, batch
//      store      [{key, place {…}, entry: nil or {type, encoding, bytes, fields [{field, offset, bytes, hex,
//      meaning}]}}]
//      effects    declared; with ANALYZE: changes, events
//      reply      shapes [{shape, meaning}]; with ANALYZE: actual
//      nanoseconds {stage: time}                    (ANALYZE only)
//
// After a stage that refuses, the stages behind it are left out and `error` has the text.

import KedisProtocol
import KedisStore
import KedisUtilities

extension Explanation {
    func write(to writer: inout ReplyWriter, isAnalyzing: Bool) {
        let isResolved = entry != nil
        let isAdmitted = isResolved && refusal == nil
        var stageCount = 3
        if isResolved { stageCount += 1 }
        if isAdmitted { stageCount += 4 }
        if refusal != nil { stageCount += 1 }
        if isAnalyzing { stageCount += 1 }
        writer.map(stageCount)
        writeCommand(to: &writer)
        writeParser(to: &writer)
        writeTable(to: &writer)
        if let entry {
            writeAdmission(to: &writer)
            if isAdmitted {
                writePlan(entry, to: &writer)
                writeStore(to: &writer)
                writeEffects(entry, to: &writer, isAnalyzing: isAnalyzing)
                writeReply(entry, to: &writer, isAnalyzing: isAnalyzing)
            }
        }
        if let refusal {
            writer.bulk("error")
            writer.bulk(text: refusal.text)
        }
        if isAnalyzing { writeTimings(to: &writer) }
    }

    private func writeCommand(to writer: inout ReplyWriter) {
        writer.bulk("command")
        let shown = min(subject.count, Explanation.shownArgumentCountMax)
        writer.array(shown)
        for index in 0..<shown { writer.bulk(shortened(subject[index])) }
    }

    private func writeParser(to writer: inout ReplyWriter) {
        writer.bulk("parser")
        writer.map(3)
        writer.bulk("request")
        request.withUnsafeBytes { writer.bulk(shortened(ByteView($0))) }
        writer.bulk("bytes")
        writer.integer(request.count)
        writer.bulk("arguments")
        writer.array(argumentRanges.count)
        for range in argumentRanges {
            writer.map(2)
            writer.bulk("offset")
            writer.integer(range.offset)
            writer.bulk("bytes")
            writer.integer(range.count)
        }
    }

    private func writeTable(to writer: inout ReplyWriter) {
        writer.bulk("table")
        guard let entry else {
            writer.map(1)
            writer.bulk("found")
            writer.bulk("nothing")
            return
        }
        writer.map(4)
        writer.bulk("name")
        writer.bulk(entry.pointee.fullName)
        writer.bulk("arity")
        writer.integer(entry.pointee.arity)
        writer.bulk("flags")
        let flags = CommandFlags.names.filter { entry.pointee.flags.contains($0.flag) }
        writer.array(flags.count)
        for flag in flags { writer.bulk(ByteView(flag.name)) }
        writer.bulk("group")
        writer.bulk(text: entry.pointee.spec.group.rawValue)
    }

    private func writeAdmission(to writer: inout ReplyWriter) {
        writer.bulk("admission")
        writer.map(2)
        writer.bulk("checks")
        writer.map(checks.count)
        for item in checks {
            writer.bulk(ByteView(item.check.name))
            writer.bulk(item.isRefusing ? "refused" : "passed")
        }
        writer.bulk("decision")
        writer.bulk(checks.contains { $0.isRefusing } ? "refused" : "admitted")
    }

    private func writePlan(_ entry: UnsafePointer<CommandEntry>, to writer: inout ReplyWriter) {
        writer.bulk("plan")
        writer.map(4)
        writer.bulk("keys")
        let shown = min(keys.count, Explanation.shownArgumentCountMax)
        writer.array(shown)
        for index in 0..<shown {
            let key = keys.base[index]
            writer.map(3)
            writer.bulk("key")
            writer.bulk(shortened(key.bytes))
            writer.bulk("hash")
            writer.bulk(text: "0x" + hexadecimal(key.hash))
            writer.bulk("stripe")
            writer.integer(key.stripeIndex)
        }
        writer.bulk("locks")
        switch entry.pointee.locks {
        case .keys: writer.bulk("the stripes of the keys")
        case .allStripes: writer.bulk("all stripes")
        case .allStripesWhen:
            writer.bulk(stripes == .all ? "all stripes, for keys that the data names" : "the stripes of the keys")
        case .none: writer.bulk("none before the handler")
        }
        writer.bulk("stripes")
        writer.array(stripes == .all ? 0 : stripes.count)
        if stripes != .all {
            var rest = stripes.mask
            while rest != 0 {
                writer.integer(rest.trailingZeroBitCount)
                rest &= rest &- 1
            }
        }
        writer.bulk("batch")
        writer.bulk(entry.pointee.isBatchable ? "shares a plan with pipelined neighbours" : "alone")
    }

    private func writeStore(to writer: inout ReplyWriter) {
        writer.bulk("store")
        writer.array(inspections.count)
        for (index, inspection) in inspections.enumerated() {
            writer.map(3)
            writer.bulk("key")
            writer.bulk(shortened(keys.base[index].bytes))
            writer.bulk("place")
            writer.map(inspection.place.count)
            for fact in inspection.place {
                writer.bulk(text: fact.name)
                writer.bulk(text: fact.value)
            }
            writer.bulk("entry")
            if let entry = inspection.entry { write(entry, to: &writer) } else { writer.null() }
        }
    }

    private func write(_ entry: EntryInspection, to writer: inout ReplyWriter) {
        writer.map(4)
        writer.bulk("type")
        writer.bulk(text: entry.type)
        writer.bulk("encoding")
        writer.bulk(text: entry.encoding)
        writer.bulk("bytes")
        writer.integer(entry.allocatedByteCount)
        writer.bulk("fields")
        writer.array(entry.fields.count)
        for field in entry.fields {
            writer.map(5)
            writer.bulk("field")
            writer.bulk(text: field.name)
            writer.bulk("offset")
            writer.integer(field.offset)
            writer.bulk("bytes")
            writer.integer(field.byteCount)
            writer.bulk("hex")
            writer.bulk(text: field.bytes.map(hexadecimal).joined(separator: " "))
            writer.bulk("meaning")
            writer.bulk(text: field.meaning)
        }
    }

    private func writeEffects(_ entry: UnsafePointer<CommandEntry>, to writer: inout ReplyWriter, isAnalyzing: Bool) {
        writer.bulk("effects")
        let isBlocking = entry.pointee.flags.contains(.blocking)
        writer.map((isAnalyzing ? 3 : 1) + (isBlocking ? 1 : 0) + (servedCount > 0 ? 1 : 0))
        writer.bulk("declared")
        writer.bulk(entry.pointee.flags.contains(.write) ? "may change its keys" : "changes no key")
        if isBlocking {
            writer.bulk("waiting")
            writer.bulk(
                isAnalyzing
                    ? "not here: a client would wait for its keys, this answers at once" : "may wait for its keys")
        }
        guard isAnalyzing else { return }
        if servedCount > 0 {
            writer.bulk("clients served")
            writer.integer(servedCount)
        }
        writer.bulk("changes")
        writer.integer(effects.changeCount)
        writer.bulk("events")
        let events = effects.recorder?.events ?? []
        writer.array(events.count)
        for event in events {
            writer.map(3)
            writer.bulk("event")
            writer.bulk(ByteView(event.name))
            writer.bulk("key")
            event.key.withUnsafeBytes { writer.bulk(shortened(ByteView($0))) }
            writer.bulk("database")
            writer.integer(event.databaseIndex)
        }
    }

    private func writeReply(_ entry: UnsafePointer<CommandEntry>, to writer: inout ReplyWriter, isAnalyzing: Bool) {
        writer.bulk("reply")
        writer.map(isAnalyzing ? 2 : 1)
        writer.bulk("shapes")
        writer.array(entry.pointee.spec.replies.count)
        for shape in entry.pointee.spec.replies {
            writer.map(2)
            writer.bulk("shape")
            writer.bulk(text: shape.shape.rawValue)
            writer.bulk("meaning")
            writer.bulk(text: shape.meaning)
        }
        guard isAnalyzing else { return }
        writer.bulk("actual")
        if reply.isEmpty { writer.null() } else { writer.raw(reply.bytes) }
    }

    private func writeTimings(to writer: inout ReplyWriter) {
        writer.bulk("nanoseconds")
        writer.map(timings.count)
        for timing in timings {
            writer.bulk(ByteView(timing.stage))
            writer.integer(Int64(truncatingIfNeeded: timing.nanoseconds))
        }
    }

    /// The first bytes of something that may be long.
    private func shortened(_ bytes: ByteView) -> ByteView { bytes[0..<min(bytes.count, 512)] }
}

extension CommandError {
    /// The text of the error, for people.
    var text: String {
        switch self {
        case .literal(let literal): ByteView(literal).text
        case .text(let bytes): String(decoding: bytes, as: UTF8.self)
        case .blocked: "the client waits"
        }
    }
}

private func hexadecimal<Integer: FixedWidthInteger & UnsignedInteger>(_ value: Integer) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: Integer.bitWidth / 4 - digits.count) + digits
}
