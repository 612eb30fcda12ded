// Goal: every shape of reply has the bytes that the RESP2 and RESP3 specifications give it, whatever was written before.

import KedisProtocol
import KedisUtilities
import Testing

private struct Shape: Sendable {
    let name: String
    let second: String
    let third: String
    let write: @Sendable (inout ReplyWriter) -> Void

    init(_ name: String, _ second: String, _ third: String? = nil, _ write: @escaping @Sendable (inout ReplyWriter) -> Void) {
        self.name = name
        self.second = second
        self.third = third ?? second
        self.write = write
    }
}

private let shapes: [Shape] = [
    Shape("ok", "+OK\r\n") { $0.ok() },
    Shape("simple", "+Background saving started\r\n") { $0.simple("Background saving started") },
    Shape("error", "-ERR no\r\n") { $0.error("ERR no") },
    Shape("error with line breaks", "-ERR a  b\r\n") { $0.error("ERR a\r\nb") },
    Shape("error with line breaks at its end", "-ERR a\r\n") { $0.error("ERR a\r\n") },
    Shape("integer 0", ":0\r\n") { $0.integer(0) },
    Shape("integer 9", ":9\r\n") { $0.integer(9) },
    Shape("integer 10", ":10\r\n") { $0.integer(10) },
    Shape("integer -1", ":-1\r\n") { $0.integer(-1) },
    Shape("largest integer", ":9223372036854775807\r\n") { $0.integer(Int64.max) },
    Shape("smallest integer", ":-9223372036854775808\r\n") { $0.integer(Int64.min) },
    Shape("empty bulk", "$0\r\n\r\n") { $0.bulk("") },
    Shape("bulk", "$5\r\na\r\nb\0\r\n") { $0.bulk("a\r\nb\0") },
    Shape("bulk of text", "$3\r\nä!\r\n") { $0.bulk(text: "ä!") },
    Shape("bulk of a digit", "$1\r\n7\r\n") { $0.bulk(integer: 7) },
    Shape("bulk of an integer", "$20\r\n-9223372036854775808\r\n") { $0.bulk(integer: .min) },
    Shape("null", "$-1\r\n", "_\r\n") { $0.null() },
    Shape("null array", "*-1\r\n", "_\r\n") { $0.nullArray() },
    Shape("array", "*12\r\n") { $0.array(12) },
    Shape("map", "*6\r\n", "%3\r\n") { $0.map(3) },
    Shape("set", "*3\r\n", "~3\r\n") { $0.set(3) },
    Shape("push", "*3\r\n", ">3\r\n") { $0.push(3) },
    Shape("true", ":1\r\n", "#t\r\n") { $0.boolean(true) },
    Shape("false", ":0\r\n", "#f\r\n") { $0.boolean(false) },
    Shape("double", "$3\r\n1.5\r\n", ",1.5\r\n") { $0.double(1.5) },
    Shape("whole double", "$1\r\n3\r\n", ",3\r\n") { $0.double(3) },
    Shape("infinite double", "$4\r\n-inf\r\n", ",-inf\r\n") { $0.double(-.infinity) },
    Shape("verbatim", "$4\r\na\r\nb\r\n", "=8\r\ntxt:a\r\nb\r\n") { $0.verbatim("txt", "a\r\nb") },
    Shape("raw", "+RAW\r\n") { $0.raw("+RAW\r\n") },
    Shape("array whose length comes last", "*2\r\n:1\r\n$1\r\na\r\n") { writer in
        let start = writer.count
        writer.integer(1)
        writer.bulk("a")
        writer.insertArrayHeader(at: start, elementCount: 2)
    },
    Shape("empty array whose length comes last", "*0\r\n") { writer in
        writer.insertArrayHeader(at: writer.count, elementCount: 0)
    },
    Shape("reply that was taken back", "+OK\r\n") { writer in
        let start = writer.count
        writer.bulk("thrown away")
        writer.truncate(to: start)
        writer.ok()
    },
]

/// What `body` writes.
private func written(_ version: ProtocolVersion, _ body: (inout ReplyWriter) -> Void) -> [UInt8] {
    var writer = ReplyWriter(version: version)
    body(&writer)
    return writer.bytes.bytes
}

@Suite("The writer of replies")
struct ReplyWriterTests {
    @Test("Every shape has its bytes in both protocols", arguments: shapes.indices)
    func bytes(index: Int) {
        let shape = shapes[index]
        #expect(String(decoding: written(.resp2, shape.write), as: UTF8.self) == shape.second, "\(shape.name)")
        #expect(String(decoding: written(.resp3, shape.write), as: UTF8.self) == shape.third, "\(shape.name)")
    }

    @Test("Shapes that follow each other are the shapes joined, however far the buffer has to grow")
    func joined() {
        for version in [ProtocolVersion.resp2, .resp3] {
            let once = shapes.flatMap { written(version, $0.write) }
            let often = written(version) { writer in
                for _ in 0..<200 { for shape in shapes { shape.write(&writer) } }
            }
            #expect(often == Array(repeatElement(once, count: 200).joined()))
        }
    }

    @Test("Bulk strings of every length around the buffer's sizes are whole")
    func lengths() {
        for count in [1, 9, 10, 99, 100, 989, 990, 991, 1_000, 1_013, 1_014, 1_015, 1_024, 65_536, 1 << 20] {
            let value = [UInt8](repeating: 0x61, count: count)
            let reply = written(.resp2) { writer in value.withUnsafeBytes { writer.bulk(ByteView($0)) } }
            #expect(reply == Array("$\(count)\r\n".utf8) + value + [0x0D, 0x0A])
        }
    }

    @Test("A writer that was emptied starts afresh, after a large reply too")
    func emptied() {
        var writer = ReplyWriter(version: .resp2)
        let value = [UInt8](repeating: 0x61, count: 1 << 20)
        value.withUnsafeBytes { writer.bulk(ByteView($0)) }
        writer.removeAll()
        let isEmpty = writer.isEmpty
        #expect(isEmpty)
        writer.ok()
        #expect(writer.bytes.bytes == Array("+OK\r\n".utf8))
    }

    @Test("A reply that memory is refused for is thrown away, lines still fit, and an emptied writer works again")
    func refused() {
        var writer = ReplyWriter(version: .resp2)
        writer.ok()
        // More than any address space: nothing of the view is read.
        writer.bulk(ByteView(base: ByteView.nowhere, count: 1 << 56))
        let (overflow, count) = (writer.overflow, writer.count)
        #expect(overflow == .memory && count == 0)
        writer.insertArrayHeader(at: 5, elementCount: 1)
        for number in 0..<10_000 { writer.integer(number) }
        let isBounded = writer.count <= 1024
        #expect(isBounded)
        writer.removeAll()
        let isReset = !writer.hasOverflowed
        #expect(isReset)
        let value = [UInt8](repeating: 0x61, count: 100_000)
        value.withUnsafeBytes { writer.bulk(ByteView($0)) }
        #expect(writer.bytes.bytes == Array("$100000\r\n".utf8) + value + [0x0D, 0x0A])
    }

    @Test("Integers of every number of digits are what String makes of them")
    func integers() {
        var value: Int64 = 1
        while true {
            for near in [value - 1, value, -value, 1 - value] {
                #expect(written(.resp2) { $0.integer(near) } == Array(":\(near)\r\n".utf8))
                let digits = "\(near)"
                #expect(written(.resp2) { $0.bulk(integer: near) } == Array("$\(digits.utf8.count)\r\n\(digits)\r\n".utf8))
            }
            let (next, overflow) = value.multipliedReportingOverflow(by: 10)
            if overflow { return }
            value = next
        }
    }
}
