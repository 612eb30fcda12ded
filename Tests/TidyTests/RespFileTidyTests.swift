// The text tests of commands are well formed: they parse, nothing in them is left to be recorded, each has its place.

import KedisTestSupport
import Testing

@Suite("Text tests are tidy")
struct RespFileTidyTests {
    private static let folder = "\(TestFiles.packageRoot)/Tests/commands"
    private static let paths = TestFiles.list(below: folder, suffix: ".resp")

    @Test("Every file parses, has requests and replies, and is named after its command", arguments: paths)
    func parses(path: String) throws {
        let file = try RespFile(path: path)
        let name = path.split(separator: "/").last.map(String.init)
        #expect(name == file.command.lowercased() + ".resp")
        #expect(file.command == file.command.uppercased())
        var requestCount = 0
        for case .request(let request) in file.steps {
            requestCount += 1
            #expect(request.expected != nil, "\(path):\(request.line): no reply is written down")
        }
        #expect(requestCount > 0)
    }

    @Test("There are files, and no command has two of them")
    func namesAreUnique() {
        let names = Self.paths.compactMap { $0.split(separator: "/").last }
        #expect(names.count > 50)
        #expect(Set(names).count == names.count)
    }

    @Test("Mistakes in a file are errors with the line", arguments: [
        ("> GET a", 1), ("# command: GET\n< :1", 2), ("# command: GET\n> GET \"a", 2), ("# command: GET\n> GET a\n< *2\n< :1", 5),
        ("# command: GET\n> GET a\n< :x", 3), ("# command: GET\n> GET a\n< what", 3), ("# command: GET\n! nonsense", 2),
        ("# command: GET\n! resp2\n", 3), ("# command: GET\nGET a", 2), ("# command: GET\n! kedis-only\n> GET a", 2),
        ("# command: GET\n> GET a\n< $ unquoted text", 3), ("# command: GET\n> GET a\n< :5..1", 3), ("", 1),
    ])
    func mistakes(text: String, line: Int) {
        do {
            _ = try RespFile(path: "x", text: text)
            Issue.record("no error for \(text)")
        } catch let error as RespFileError {
            #expect(error.line == line, "\(error)")
        } catch {
            Issue.record("\(error)")
        }
    }
}
