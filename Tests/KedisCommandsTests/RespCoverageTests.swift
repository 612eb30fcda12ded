// The text tests send what there is to send: each subcommand of a command, and each option that its spec names.

import KedisCommands
import KedisTestSupport
import Testing

@Suite("What the text tests of commands send")
struct RespCoverageTests {
    private static let paths = Dictionary(
        RespCase.everyFile.map { ($0.name, $0.path) }, uniquingKeysWith: { first, _ in first })

    @Test("A file sends its command, each subcommand, and each option by its word", arguments: SpecCase.all)
    func everythingIsSent(specCase: SpecCase) throws {
        let path = try #require(Self.paths[(specCase.container ?? specCase.spec).name.lowercased()], "no file")
        #expect(Self.unsent(specCase, in: try RespFile(path: path)) == [], "never sent by \(path)")
    }

    @Test("A word that is not sent is found")
    func missingWordsAreFound() throws {
        let specCase = try #require(SpecCase.all.first { $0.spec.name == "GETEX" })
        let file = try RespFile(path: "getex.resp", text: "# command: GETEX\n\n> GETEX key ex 1\n< +OK\n> SET key PX\n")
        #expect(Self.unsent(specCase, in: file) == ["PX", "EXAT", "PXAT", "PERSIST"])
        let none = try RespFile(path: "getex.resp", text: "# command: GETEX\n\n> SET a b\n< +OK\n")
        #expect(Self.unsent(specCase, in: none) == ["GETEX"])
    }

    /// The words of a command that no request of a file has, or the command itself when there is no request.
    private static func unsent(_ specCase: SpecCase, in file: RespFile) -> [String] {
        let names = [specCase.container?.name, specCase.spec.name].compactMap(\.self)
        let requests = file.steps.compactMap { step -> [String]? in
            guard case .request(let request) = step, case .arguments(let words) = request.payload else { return nil }
            return words.map { String(decoding: $0, as: UTF8.self).uppercased() }
        }
        .filter { $0.starts(with: names) }
        guard !requests.isEmpty else { return [names.joined(separator: " ")] }
        let sent = Set(requests.flatMap { $0.dropFirst(names.count) })
        let words = specCase.spec.arguments.flatMap(\.flattened).compactMap(\.token)
        return words.filter { !$0.isEmpty && !sent.contains($0.uppercased()) }
    }
}
