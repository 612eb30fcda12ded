// docs/commands says what the specs say, docs/configuration.md what the table of directives says. KEDIS_WRITE_DOCS=1 writes the pages (scripts/generate-command-docs), without it they are compared.

import KedisCommands
import KedisTestSupport
import Testing

@Suite("Pages of commands")
struct CommandDocsTests {
    private static let folder = "\(TestFiles.packageRoot)/docs/commands"

    @Test("The pages are those that the specs give")
    func pagesAreUpToDate() throws {
        let pages = CommandPages.make(allCommandSpecs)
        if TestFiles.environment("KEDIS_WRITE_DOCS") == "1" {
            for (name, text) in pages { _ = TestFiles.write(text, to: "\(Self.folder)/\(name)") }
        }
        for (name, text) in pages.sorted(by: { $0.key < $1.key }) {
            let written = TestFiles.read("\(Self.folder)/\(name)").map { String(decoding: $0, as: UTF8.self) }
            #expect(written == text, "docs/commands/\(name) is out of date: run scripts/generate-command-docs")
        }
        let names = TestFiles.list(below: Self.folder, suffix: ".md").compactMap { $0.split(separator: "/").last.map(String.init) }
        #expect(Set(names) == Set(pages.keys), "a page of a group that is gone")
    }

    @Test("The page of the configuration is the one that the directives give")
    func configurationIsUpToDate() {
        let path = "\(TestFiles.packageRoot)/docs/configuration.md"
        let text = ConfigurationPage.make(Configuration.specs)
        if TestFiles.environment("KEDIS_WRITE_DOCS") == "1" { _ = TestFiles.write(text, to: path) }
        let written = TestFiles.read(path).map { String(decoding: $0, as: UTF8.self) }
        #expect(written == text, "docs/configuration.md is out of date: run scripts/generate-command-docs")
    }

    @Test("What the page calls missing is missing")
    func missingDirectives() {
        let configuration = Configuration()
        for name in ConfigurationPage.missing.flatMap(\.names) where name != "appendonly yes" {
            #expect(configuration.spec(name) == nil, "\(name) exists")
        }
    }
}
