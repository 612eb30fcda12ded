// A session and its user: it holds a snapshot of what the user may do, and takes another one when the generation of the
// access control has moved on.
//
//      one load before a batch ─▶ the same generation: nothing to do
//                              └▶ another one: the user's rules anew; is the user gone? must the client log in?
//
// So a change holds for the next batch of every client. What a client sends behind its own ACL SETUSER is another
// batch.

import KedisProtocol
import KedisStore
import KedisUtilities
import Synchronization

/// Who a client is, as its session knows it.
package struct ClientAccess {
    fileprivate(set) var user: User
    fileprivate(set) var rules: UserRules
    /// Of `rules`: read on the data path without counting references.
    private var freeCommands: UnsafeMutablePointer<UInt64>
    fileprivate(set) var generation: UInt64
    /// It has logged in, or needed not when it came.
    fileprivate(set) var isAuthenticated = false

    init(_ control: AccessControl) {
        generation = control.generation.load(ordering: .acquiring)
        user = control.defaultUser
        rules = user.rules
        freeCommands = rules.freeCommands
    }

    fileprivate mutating func take(_ rules: UserRules) {
        self.rules = rules
        freeCommands = rules.freeCommands
    }

    /// Whether the command may run whatever its arguments are: one bit.
    @inline(__always)
    func mayRunFreely(_ entry: UnsafePointer<CommandEntry>) -> Bool {
        isFree(entry.pointee.identifier, freeCommands)
    }
}

extension ClientState {
    /// Logs the client in.
    mutating func become(_ user: User, of control: AccessControl) {
        access.user = user
        access.isAuthenticated = true
        record.currentUser = user
        follow(control)
    }

    /// Makes the client what a new one is.
    mutating func becomeDefaultUser(of control: AccessControl) {
        access.user = control.defaultUser
        access.isAuthenticated = !control.needsAuthentication
        record.currentUser = control.defaultUser
        follow(control)
    }

    /// Takes what holds now for the client's user.
    @inline(never)
    mutating func follow(_ control: AccessControl) {
        // The generation first: what changes behind it is seen next time.
        access.generation = control.generation.load(ordering: .acquiring)
        guard !access.user.isRemoved.load(ordering: .relaxed) else { return leave(control) }
        access.take(access.user.rules)
        set(.authenticationRequired, to: !access.isAuthenticated && control.needsAuthentication)
        set(.restricted, to: !access.rules.isUnrestricted)
    }

    /// The user is gone, and so is the client: until it is closed it may do no more than one that has yet to log in.
    private mutating func leave(_ control: AccessControl) {
        access.user = control.defaultUser
        access.isAuthenticated = false
        record.currentUser = control.defaultUser
        access.take(control.defaultUser.rules)
        conditions.insert(.authenticationRequired)
        isClosing = true
    }

    private mutating func set(_ condition: AdmissionCondition, to isOn: Bool) {
        if isOn { conditions.insert(condition) } else { conditions.remove(condition) }
    }
}

extension Session {
    /// Before a batch: one load, unless users have changed.
    @inline(__always)
    func followAccess() {
        guard engine.access.generation.load(ordering: .relaxed) != client.pointee.access.generation else { return }
        client.pointee.follow(engine.access)
    }

    @inline(__always)
    var isUnauthenticated: Bool { client.pointee.conditions.contains(.authenticationRequired) }

    /// What the client may send.
    @inline(__always)
    mutating func limitInput() {
        if isUnauthenticated || parser.isUnauthenticated { return limitInputSlowly() }
        parser.limits.bulkByteCountMax = engine.configuration.bulkByteCountMax.load(ordering: .relaxed)
    }

    /// Little before it has logged in.
    @inline(never)
    private mutating func limitInputSlowly() {
        // It need not log in any more, perhaps.
        followAccess()
        parser.isUnauthenticated = isUnauthenticated
        parser.limits = isUnauthenticated ? .unauthenticated : ParserLimits()
        let configured = engine.configuration.bulkByteCountMax.load(ordering: .relaxed)
        let limit = parser.limits.bulkByteCountMax
        parser.limits.bulkByteCountMax = isUnauthenticated ? min(configured, limit) : configured
    }

    /// The reply to a refused command; one without permission is logged.
    @inline(never)
    func note(
        _ refusal: Refusal, of entry: UnsafePointer<CommandEntry>, _ list: ArgumentList
    ) -> CommandError {
        if case .denied(let denial) = refusal {
            let isInTransaction = client.pointee.transaction != nil
            call(of: entry, list).noteDenial(denial, isInTransaction ? .transaction : .topLevel, of: entry, list)
        }
        return refusal.error(entry)
    }

    /// EXEC: whether permission for a command is gone since it was collected, which is its reply then.
    mutating func refusedInTransaction(_ entry: UnsafePointer<CommandEntry>, _ list: ArgumentList) -> Bool {
        guard client.pointee.conditions.contains(.restricted),
            let denial = client.pointee.access.rules.denial(of: entry, list)
        else { return false }
        call(of: entry, list).noteDenial(denial, .transaction, of: entry, list)
        let mark = output.count
        output.commandError(denial.errorInTransaction)
        counters.noteRejection(entry.pointee.identifier)
        countErrorSlowly(at: mark)
        return true
    }

    /// A call that is not executed: what describes its client.
    private func call(of entry: UnsafePointer<CommandEntry>, _ list: ArgumentList) -> CommandCall {
        let keyspace = store.keyspace(
            client.pointee.databaseIndex, nowMilliseconds: engine.clock.wallMilliseconds, held: StripeSet())
        return CommandCall(
            arguments: list, keyspace: keyspace, keyBase: UnsafePointer(keys.base), keyCount: 0, entry: entry,
            client: client, engine: engineReference)
    }
}

extension CommandCall {
    /// Whether the client's user may read keys that no argument names.
    var mayReadAllKeys: Bool {
        !client.pointee.conditions.contains(.restricted)
            || client.pointee.access.rules.allowsReadingAllKeys(with: entry, arguments)
    }

    /// Enters a command without permission in the log.
    func noteDenial(
        _ denial: AccessDenial, _ context: AccessLogContext, of entry: UnsafePointer<CommandEntry>, _ list: ArgumentList
    ) {
        let object = denial.reason == .command ? entry.pointee.fullName : list[denial.argumentIndex]
        note(AccessLogReason(denial.reason), context, object: object, userName: client.pointee.access.user.name)
    }

    /// Enters an attempt to log in.
    func noteFailedLogin(_ name: ByteView) {
        let context: AccessLogContext = client.pointee.transaction == nil ? .topLevel : .transaction
        note(.authentication, context, object: arguments[0], userName: name.bytes)
    }

    private func note(_ reason: AccessLogReason, _ context: AccessLogContext, object: ByteView, userName: [UInt8]) {
        engine.access.log.note(
            AccessLog.Entry(
                reason, context, object: object, userName: userName, client: ClientCommand.line(of: self),
                nowMilliseconds: nowMilliseconds))
    }
}

extension AccessDenial {
    /// The reply to a command. Which key or channel it was is not told: others may have chosen it.
    func error(_ entry: UnsafePointer<CommandEntry>) -> CommandError {
        switch reason {
        case .command:
            .joined("NOPERM this user has no permissions to run the '", entry.pointee.fullName, "' command")
        case .key: .literal("NOPERM this user has no permissions to access one of the keys used as arguments")
        case .channel:
            .literal("NOPERM this user has no permissions to access one of the channels used as arguments")
        }
    }

    /// What ACL DRYRUN says about the request.
    func description(_ entry: UnsafePointer<CommandEntry>, _ request: ArgumentList) -> [UInt8] {
        let (verb, object, kind): (StaticString, ByteView, StaticString) =
            switch reason {
            case .command: ("run", entry.pointee.fullName, "command")
            case .key: ("access", request[argumentIndex], "key")
            case .channel: ("access", request[argumentIndex], "channel")
            }
        return Array("This user has no permissions to \(verb) the '".utf8) + object.buffer + Array("' \(kind)".utf8)
    }

    /// The reply to a command of a transaction.
    var errorInTransaction: CommandError {
        let reason: StaticString =
            switch reason {
            case .command: "no permission to execute the command or subcommand"
            case .key: "no permission to touch the specified keys"
            case .channel: "no permission to access one of the channels used as arguments"
            }
        return .joined(
            """
            NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
            This command is no longer allowed for the following reason: \

            """, ByteView(reason))
    }
}
