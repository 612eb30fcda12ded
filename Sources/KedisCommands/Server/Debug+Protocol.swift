// DEBUG PROTOCOL: a reply of each type, for the tests of clients.

import KedisProtocol
import KedisUtilities

extension DebugCommand {
    static func protocolSample(_ call: inout CommandCall, _ reply: inout ReplyWriter) throws(CommandError) {
        let type = call.arguments[2]
        let isThird = reply.version == .resp3
        switch type.text.lowercased() {
        case "string": reply.bulk("Hello World")
        case "integer": reply.integer(12345)
        case "double": reply.double(3.141)
        case "null": reply.null()
        case "true": reply.boolean(true)
        case "false": reply.boolean(false)
        case "verbatim": reply.verbatim("txt", "This is a verbatim\nstring")
        case "bignum":
            let digits: ByteView = "1234567999999999999999999999999999999"
            if isThird { reply.raw("(1234567999999999999999999999999999999\r\n") } else { reply.bulk(digits) }
        case "array":
            reply.array(3)
            for number in 0..<3 { reply.integer(number) }
        case "set":
            reply.set(3)
            for number in 0..<3 { reply.integer(number) }
        case "map":
            reply.map(3)
            for number in 0..<3 {
                reply.integer(number)
                reply.boolean(number == 1)
            }
        case "attrib":
            if isThird {
                reply.raw("|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n")
            }
            reply.bulk("Some real reply following the attribute")
        case "push":
            guard isThird else { throw .literal("ERR RESP2 is not supported by this command") }
            reply.push(2)
            reply.bulk("server-cpu-usage")
            reply.integer(42)
            // A push is no answer, so one follows.
            reply.bulk("Some real reply following the push reply")
        default:
            throw .literal(
                """
                ERR Wrong protocol type name. Please use one of the following: \
                string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false
                """
            )
        }
    }
}
