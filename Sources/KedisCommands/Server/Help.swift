// HELP of containers: what every one of them writes the same way.

import KedisProtocol
import KedisUtilities

extension ReplyWriter {
    /// The reply of `container HELP`: a heading, `lines`, and the lines about HELP itself.
    mutating func help(_ container: StaticString, _ lines: [StaticString]) {
        array(lines.count + 3)
        raw("+")
        raw(ByteView(container))
        raw(" <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n")
        for line in lines { simple(line) }
        simple("HELP")
        simple("    Prints this help.")
    }
}
