// EXPLAIN shows what really happens: it takes every request that the text tests know without running it, and ANALYZE
// answers what the command itself would.

import KedisProtocol
import KedisTestSupport
import Testing

@Suite("EXPLAIN of every request")
struct ExplainTests {
    /// Files whose requests end or silence the connection, change its protocol, count, measure or show calls, or are not
    /// arguments; those of transactions and subscriptions, whose commands are not answered one by one; those whose
    /// clients must log in for EXPLAIN too.
    private static let unsuitable: Set = [
        "ping", "quit", "hello", "reset", "client", "shutdown", "explain", "info", "slowlog", "latency", "monitor",
        "hotkeys", "bigkeys", "acl", "auth",
    ]
    private static let cases = RespCase.registered.filter {
        !unsuitable.contains($0.name) && !["transactions", "pubsub"].contains($0.family) && !blocks($0)
    }

    /// EXPLAIN does not wait, so a file with clients that do goes its own way.
    private static func blocks(_ respCase: RespCase) -> Bool {
        let steps = (try? respCase.file.steps) ?? []
        return steps.contains { step in
            if case .request(let request) = step { return request.isBlocking }
            return false
        }
    }

    @Test("It answers a map for any request, and changes nothing", arguments: RespCase.all, [2, 3])
    func explainsEveryRequest(respCase: RespCase, protocolVersion: Int) throws {
        let target = TestEngine.target(protocolVersion: protocolVersion)
        let peer = try target.connect()
        for case .request(let request) in try RespFile(path: respCase.path).steps {
            guard case .arguments(let arguments) = request.payload, arguments[0].lowercased != "explain" else { continue }
            peer.send(RespRunner.encode([Array("EXPLAIN".utf8)] + arguments))
            let event = peer.receive(0)
            guard case .reply(let reply) = event, reply.value(of: "command") != nil, reply.value(of: "parser") != nil
            else {
                Issue.record("\(respCase.path):\(request.line): \(request.text): \(RespRunner.describe(event))")
                continue
            }
        }
        #expect(try KeyspaceSnapshot(of: target).entries.isEmpty)
    }

    @Test("ANALYZE gives the reply that the files expect of the command itself", arguments: cases, [2, 3])
    func analyzes(respCase: RespCase, protocolVersion: Int) throws {
        var target = TestEngine.target(protocolVersion: protocolVersion)
        let connect = target.connect
        target.connect = { try connect().analyzing() }
        try check(respCase, on: target)
    }
}

extension [UInt8] {
    fileprivate var lowercased: String { String(decoding: self, as: UTF8.self).lowercased() }
}

extension RespPeer {
    /// The same connection with `EXPLAIN ANALYZE` before every request, and the actual reply taken out of the answer.
    fileprivate func analyzing() -> RespPeer {
        var peer = self
        // A request of the file that is an EXPLAIN itself goes through as it is.
        nonisolated(unsafe) var isExplanation = false
        let explanation = Array("\r\n$7\r\nEXPLAIN\r\n".utf8)
        peer.send = { bytes in
            isExplanation = bytes.dropFirst(2).starts(with: explanation)
            if isExplanation { return send(bytes) }
            guard bytes.first == UInt8(ascii: "*"), let end = bytes.firstIndex(of: 0x0D),
                let count = Int(String(decoding: bytes[1..<end], as: UTF8.self))
            else { return send(bytes) }
            send(Array("*\(count + 2)\r\n$7\r\nEXPLAIN\r\n$7\r\nANALYZE".utf8) + bytes[end...])
        }
        peer.receive = { timeoutMilliseconds in
            let event = receive(timeoutMilliseconds)
            guard case .reply(let reply) = event, !isExplanation else { return event }
            if let actual = reply.value(of: "reply")?.value(of: "actual") { return .reply(actual) }
            if case .bulk(let text)? = reply.value(of: "error") {
                // As an error reply, which is one line, says it.
                return .reply(.error(text.map { $0 == 0x0D || $0 == 0x0A ? 0x20 : $0 }))
            }
            return event
        }
        return peer
    }
}

extension Reply {
    /// The value of a key in a map, as RESP3 or RESP2 has it.
    fileprivate func value(of name: String) -> Reply? {
        let key = Reply.bulk(Array(name.utf8))
        switch self {
        case .map(let entries): return entries.first { $0.key == key }?.value
        case .array(let elements):
            return stride(from: 0, to: elements.count - 1, by: 2).first { elements[$0] == key }.map { elements[$0 + 1] }
        default: return nil
        }
    }
}
