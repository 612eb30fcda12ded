// `proc-title-template`: text with variables in braces, which the server fills in for the process list.

package struct TitleTemplate: Sendable {
    package enum Variable: String, CaseIterable, Sendable {
        case title
        case address = "listen-addr"
        case mode = "server-mode"
        case port
        case tlsPort = "tls-port"
        case unixSocket = "unixsocket"
        case configurationFile = "config-file"
    }

    private enum Piece: Sendable {
        case text(String)
        case variable(Variable)
    }

    private var pieces: [Piece] = []

    /// Nil when an opening brace is not closed or a variable is unknown.
    package init?(_ text: String) {
        var rest = text[...]
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}"),
                let variable = Variable(rawValue: String(rest[rest.index(after: open)..<close]))
            else { return nil }
            pieces.append(.text(String(rest[..<open])))
            pieces.append(.variable(variable))
            rest = rest[rest.index(after: close)...]
        }
        pieces.append(.text(String(rest)))
    }

    /// The text with `value` of each variable, without blanks at its end.
    package func filled(_ value: (Variable) -> String) -> String {
        var result = ""
        for piece in pieces {
            switch piece {
            case .text(let text): result += text
            case .variable(let variable): result += value(variable)
            }
        }
        while result.last == " " { result.removeLast() }
        return result
    }
}
