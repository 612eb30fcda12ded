// EXPLAIN: the way of a command through parser, table, admission, plan, store, effects and reply.
//
// It calls the stage functions that a session calls (RequestParser.next, resolve, admit, plan, runHandler,
// applyEffects), so it shows what happens and cannot drift from it. EXPLAIN runs nothing; EXPLAIN ANALYZE runs the
// command and measures each stage. The answer is a map, one entry a stage, which the shell draws
// (KedisShell/ExplanationRenderer.swift). Costs nothing when not used.

import KedisProtocol
import KedisStore
import KedisUtilities

enum ExplainCommand {
    static let spec = CommandSpec(
        "EXPLAIN",
        summary: "Shows the way of a command through the engine; with ANALYZE, runs it and measures each stage.",
        since: "1.0.0", group: .server, complexity: "O(1) for each key, plus the command itself with ANALYZE",
        arity: -2,
        flags: [.loading, .stale, .noScript, .skipSlowLog, .noMulti], categories: ["slow"], locks: .none,
        arguments: [
            .token("ANALYZE", optional: true),
            ArgumentSpec("command", .string),
            ArgumentSpec("arg", .string, isOptional: true, isMultiple: true),
        ],
        replies: [.map("a stage and what it saw and decided, in the order of the way")], handler: run
    )

    static func run(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let isAnalyzing = call.arguments.count > 2 && call.arguments[1].equalsIgnoringCase("ANALYZE")
        let subject = call.arguments.dropFirst(isAnalyzing ? 2 : 1)
        if isAnalyzing, subject[0].equalsIgnoringCase("EXPLAIN") {
            throw .literal("ERR EXPLAIN cannot be analyzed")
        }
        var explanation = Explanation(subject: subject, call: call, version: reply.version)
        explanation.replyByteCountMax = reply.byteCountMax
        explanation.walk(isAnalyzing: isAnalyzing, client: call.client, engine: call.engine)
        if isAnalyzing, let denial = explanation.denial, let entry = explanation.entry {
            call.noteDenial(denial, .topLevel, of: entry, subject)
        }
        // The command may have changed the protocol (HELLO): the whole answer is in the one that it left.
        reply.version = explanation.version
        explanation.write(to: &reply, isAnalyzing: isAnalyzing)
    }
}

/// What the stages saw, collected first and written afterwards.
struct Explanation: ~Copyable {
    let subject: ArgumentList
    let keyspace: Keyspace
    var version: ProtocolVersion
    /// The request as a client would send it alone.
    var request: [UInt8] = []
    var argumentRanges: [ArgumentRange] = []
    var entry: UnsafePointer<CommandEntry>?
    /// Why the command would not run, and the stage that says so.
    var refusal: CommandError?
    /// The client's user has no permission.
    var denial: AccessDenial?
    var checks: [(check: AdmissionCheck, isRefusing: Bool)] = []
    var stripes = StripeSet()
    var keys = KeyBuffer()
    var inspections: [KeyInspection] = []
    var effects = Effects()
    /// Clients that waited for what the command has made ready.
    var servedCount = 0
    var reply: ReplyWriter
    /// What the command's own reply may grow to, in bytes.
    var replyByteCountMax = Int.max
    var timings: [(stage: StaticString, nanoseconds: UInt64)] = []

    init(subject: ArgumentList, call: borrowing CommandCall, version: ProtocolVersion) {
        self.subject = subject
        keyspace = call.keyspace
        self.version = version
        reply = ReplyWriter(version: version)
    }

    /// Goes through the stages in their order, up to the one that refuses.
    mutating func walk(isAnalyzing: Bool, client: UnsafeMutablePointer<ClientState>, engine: Engine) {
        let clock = engine.clock
        var before = clock.monotonicNanoseconds()
        func lap(_ timings: inout [(stage: StaticString, nanoseconds: UInt64)], _ stage: StaticString) {
            let now = clock.monotonicNanoseconds()
            timings.append((stage, now &- before))
            before = clock.monotonicNanoseconds()
        }
        encodeRequest()
        before = clock.monotonicNanoseconds()
        parse()
        lap(&timings, "parser")
        do throws(CommandError) {
            let found = try resolve(subject, in: engine.table.names)
            entry = found
            lap(&timings, "table")
            let conditions = engine.conditions.union(client.pointee.conditions)
            let decision = admit(found, subject, of: client, under: conditions)
            lap(&timings, "admission")
            if case .denied(let denial)? = decision { self.denial = denial }
            let isDenied = denial != nil
            checks = AdmissionCheck.table.map { check in
                let isRefusing = check.isAboutPermissions ? isDenied : check.refuses(found.pointee.flags)
                return (check, conditions.contains(check.condition) && isRefusing)
            }
            if let decision { throw decision.error(found) }
            before = clock.monotonicNanoseconds()
            stripes = try KedisCommands.plan(found, subject, in: engine.store.handle, into: &keys)
            lap(&timings, "plan")
            if isAnalyzing {
                before = clock.monotonicNanoseconds()
                engine.store.lock(stripes)
                let observer = engine.interest.current.isEmpty || stripes.isEmpty ? nil : EffectObserver(engine, client)
                if engine.interest.current.hasJournal { observer?.scribe = EffectScribe() }
                defer { observer?.scribe?.release() }
                if let observer {
                    let planned = UnsafeBufferPointer(start: keys.base, count: keys.count)
                    if engine.interest.current.hasWaiters {
                        stripes = engine.lockForWaitersSlowly(planned, held: stripes)
                    }
                    observer.interest = engine.interest.current
                }
                lap(&timings, "lock")
                execute(found, client: client, engine: engine, observer)
                before = clock.monotonicNanoseconds()
                observer?.scribe?.commit(
                    to: engine.journal, milliseconds: keyspace.nowMilliseconds, held: stripes)
                engine.store.unlock(stripes)
                lap(&timings, "unlock")
                observer?.services.wakeServed()
                if let observer { observer.services.serveDeferred(engine, observer) }
            }
            inspectKeys(in: engine.store, databaseIndex: client.pointee.databaseIndex)
        } catch {
            refusal = error
        }
    }

    private mutating func encodeRequest() {
        func append(_ type: UInt8, _ value: Int) {
            request.append(type)
            request.append(contentsOf: String(value).utf8)
            request.append(contentsOf: [0x0D, 0x0A])
        }
        append(0x2A, subject.count)
        for index in 0..<subject.count {
            append(0x24, subject[index].count)
            request.append(contentsOf: subject[index].buffer)
            request.append(contentsOf: [0x0D, 0x0A])
        }
    }

    private mutating func parse() {
        var parser = RequestParser()
        var buffer = ArgumentBuffer()
        request.withUnsafeBytes { bytes in
            let input = ByteView(bytes)
            guard case .request(_, let count) = parser.next(input, into: &buffer) else { return }
            let list = buffer.list(from: 0, count: count, base: input.base)
            argumentRanges = (0..<min(count, Explanation.shownArgumentCountMax)).map { index in
                ArgumentRange(offset: list[index].base - input.base, count: list[index].count)
            }
        }
    }

    /// More arguments and keys than these are counted, not shown.
    static let shownArgumentCountMax = 32

    /// Handler and effects, as a session runs them, the reply going into a writer of its own.
    private mutating func execute(
        _ entry: UnsafePointer<CommandEntry>, client: UnsafeMutablePointer<ClientState>, engine: Engine,
        _ observer: EffectObserver?
    ) {
        var held = engine.store.keyspace(
            client.pointee.databaseIndex, nowMilliseconds: keyspace.nowMilliseconds, held: stripes
        )
        held.leavesAccessClock = client.pointee.leavesAccessClock
        var call = CommandCall(
            arguments: subject, keyspace: held, keyBase: UnsafePointer(keys.base), keyCount: keys.count, entry: entry,
            client: client, engine: Unmanaged.passUnretained(engine)
        )
        call.effects.record()
        if let observer {
            call.effects.observe(observer)
            call.effects.scribe = observer.scribe
        }
        // A command that would wait is explained as one that may not.
        let deniedBlocking = client.pointee.deniesBlocking
        client.pointee.deniesBlocking = true
        defer { client.pointee.deniesBlocking = deniedBlocking }
        reply.byteCountMax = replyByteCountMax
        let began = engine.clock.monotonicNanoseconds()
        let outcome = runHandler(&call, &reply)
        let ran = engine.clock.monotonicNanoseconds()
        applyEffects(&call)
        if let observer {
            observer.scribe?.note(call, hasFailed: outcome == .failed)
            observer.services.serve(engine, observer, held: stripes, nowMilliseconds: keyspace.nowMilliseconds)
            servedCount = observer.services.servedCount
        }
        let applied = engine.clock.monotonicNanoseconds()
        timings.append(("execute", ran &- began))
        timings.append(("effects", applied &- ran))
        if let overflow = reply.overflow {
            reply.removeAll()
            switch overflow {
            case .limit: reply.error("ERR the reply is larger than client-output-buffer-limit allows")
            case .memory: reply.commandError(.outOfMemory)
            }
        }
        effects = call.effects
        version = reply.version
    }

    /// Looks at the entries of the keys, each under its own stripe's lock.
    private mutating func inspectKeys(in store: Store, databaseIndex: Int) {
        for index in 0..<min(keys.count, Explanation.shownArgumentCountMax) {
            let key = keys.base[index]
            var stripe = StripeSet()
            stripe.insert(key.stripeIndex)
            store.lock(stripe)
            let held = store.keyspace(databaseIndex, nowMilliseconds: keyspace.nowMilliseconds, held: stripe)
            inspections.append(held.inspect(key))
            store.unlock(stripe)
        }
    }
}
