// Which arguments nobody may read afterwards: passwords, in what SLOWLOG keeps and MONITOR shows.
//
// By command, as Redis does it: AUTH all, HELLO the two behind AUTH, ACL SETUSER everything behind the subcommand,
// CONFIG SET the values of directives that hold secrets. Only looked at on slow paths.

import KedisProtocol
import KedisUtilities

struct Redaction {
    static let text: StaticString = "(redacted)"

    private enum Rule {
        case none
        /// Everything from this argument on.
        case from(Int)
        /// The two behind a word, looked for from this argument on.
        case helloCredentials
        case secretDirectives
    }

    private let rule: Rule
    private let arguments: ArgumentList

    init(_ entry: UnsafePointer<CommandEntry>, _ arguments: ArgumentList) {
        self.arguments = arguments
        let name = entry.pointee.fullName
        rule =
            if name == "auth" {
                .from(1)
            } else if name == "hello" {
                .helloCredentials
            } else if name == "acl|setuser" {
                .from(2)
            } else if name == "config|set" {
                .secretDirectives
            } else {
                .none
            }
    }

    /// Whether the argument at `index` is hidden.
    func hides(_ index: Int) -> Bool {
        switch rule {
        case .none: false
        case .from(let first): index >= first
        case .helloCredentials: credentials?.contains(index) ?? false
        case .secretDirectives: index >= 3 && index % 2 == 1 && Self.isSecret(arguments[index - 1])
        }
    }

    /// User and password of `HELLO version AUTH user password`; options may stand before.
    private var credentials: Range<Int>? {
        var index = 2
        while index + 2 < arguments.count {
            if arguments[index].equalsIgnoringCase("AUTH") { return index + 1..<index + 3 }
            index += arguments[index].equalsIgnoringCase("SETNAME") ? 2 : 1
        }
        return nil
    }

    private static func isSecret(_ directive: ByteView) -> Bool {
        secretDirectives.contains { directive.equalsIgnoringCase(ByteView($0)) }
    }

    private static let secretDirectives: [StaticString] = [
        "requirepass", "masterauth", "masteruser", "tls-key-file-pass", "tls-client-key-file-pass",
    ]
}
