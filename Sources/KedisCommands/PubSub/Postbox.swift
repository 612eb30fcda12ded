// What other threads want of the clients of one event loop: messages for them, that they wake up, that they go.
//
//   any thread: post ─▶ [ mail … ] ─▶ ring, when it was empty ─▶ the loop: deliver ─▶ each client's output ─▶ one send
//
// One publication is one piece of mail for a loop, however many of its clients get it. A loop also takes its mail
// before it reads from a client: so whoever was told of something in another way finds here what happened before it.
//
// Ownership: the loop's, or the session's where each has a thread of its own; mail keeps what it names. Threads: `post`
// any, everything else the owner's. Bounds: see `byteCountMax`. Cost: a lock that is held for an append.

import KedisStore
import KedisUtilities
import Synchronization

/// What a client's transport gets from its postbox.
package enum ClientMail {
    /// To be appended to the client's output, which is sent when all mail was delivered.
    case message(Message)
    /// There is an outcome for the client, which waited in a blocking command.
    case wake
    /// The connection is to be closed.
    case close
}

package final class Postbox: Sendable {
    enum Mail: Sendable {
        /// For all members of a branch but one.
        case publication(Message, Branch, except: ClientRecord?)
        case message(Message, ClientRecord)
        case wake(ClientRecord)
        case close(ClientRecord)
        /// The client goes if its user may not listen to all that it listens to any more.
        case closeIfRevoked(ClientRecord)
        /// The branch has missed a publication for want of room: its members go.
        case overflow(Branch)
    }

    private struct State {
        var mail: [Mail] = []
        var byteCount = 0
        /// All mail that ever lay here.
        var postedCount: UInt64 = 0
    }

    /// Several clients share the postbox.
    let isShared: Bool
    private let state = Locked(State())
    private let hasMail = Atomic<Bool>(false)
    private let ringBell: @Sendable () -> Void

    /// Bytes of messages that may lie here. A loop that comes to nothing for so long has clients that miss messages: as
    /// with output beyond its limit they are closed, so that they know.
    private static let byteCountMax = 256 << 20

    /// - Parameter ring: has the owner call ``deliver()`` soon; called by any thread.
    package init(isShared: Bool = false, ring: @escaping @Sendable () -> Void = {}) {
        self.isShared = isShared
        ringBell = ring
    }

    package var isEmpty: Bool { !hasMail.load(ordering: .acquiring) }

    /// Adds to the mail; true when the owner has to be told by ``ring()``, which needs no lock to be held.
    func post(_ mail: Mail) -> Bool {
        state.withLock { state in
            var mail = mail
            switch mail {
            case .publication(let message, let branch, _):
                if state.byteCount + message.byteCount > Self.byteCountMax, !state.mail.isEmpty {
                    guard !branch.isOverflowing.exchange(true, ordering: .relaxed) else { return false }
                    mail = .overflow(branch)
                } else {
                    state.byteCount += message.byteCount
                }
            case .message(let message, let record):
                if state.byteCount + message.byteCount > Self.byteCountMax, !state.mail.isEmpty {
                    guard !record.isKilled.exchange(true, ordering: .relaxed) else { return false }
                    mail = .close(record)
                } else {
                    state.byteCount += message.byteCount
                }
            case .wake, .close, .closeIfRevoked, .overflow: break
            }
            state.mail.append(mail)
            state.postedCount += 1
            return !hasMail.exchange(true, ordering: .releasing)
        }
    }

    /// The number of the next piece of mail. Who subscribes takes it first, and gets no publication before it: not even
    /// one of its own transaction, which lies here until that is over.
    var nextNumber: UInt64 { state.withLock { $0.postedCount } }

    func ring() { ringBell() }

    /// Posts and rings. The caller holds no stripe.
    func send(_ mail: Mail) {
        if post(mail) { ring() }
    }

    /// Delivers what lies here. Owner only; no session of the owner is executing.
    package func deliver() {
        guard !isEmpty else { return }
        let (mail, end) = state.withLock { state in
            let mail = state.mail
            state.mail = []
            state.byteCount = 0
            hasMail.store(false, ordering: .relaxed)
            return (mail, state.postedCount)
        }
        var number = end - UInt64(mail.count)
        for piece in mail {
            deliver(piece, number)
            number += 1
        }
    }

    private func deliver(_ piece: Mail, _ number: UInt64) {
        switch piece {
        case .publication(let message, let branch, let exception):
            branch.forEachMember(at: number) { if $0 !== exception { $0.receive?(.message(message)) } }
        case .message(let message, let record): record.receive?(.message(message))
        case .wake(let record): record.receive?(.wake)
        case .close(let record): record.receive?(.close)
        case .closeIfRevoked(let record):
            guard let subscriptions = record.ownSubscriptions, !subscriptions.areAllowed(by: record.currentUser.rules)
            else { return }
            record.isKilled.store(true, ordering: .relaxed)
            record.receive?(.close)
        case .overflow(let branch):
            branch.isOverflowing.store(false, ordering: .relaxed)
            branch.forEachMember { record in
                record.isKilled.store(true, ordering: .relaxed)
                record.receive?(.close)
            }
        }
    }
}
