// The picture that the shell draws of an EXPLAIN reply.

package import KedisProtocol

/// Draws an explanation (a map whose first key is `command`) for a window of `width` columns.
/// - Returns: nil if the reply is no explanation; it is then drawn like any other reply.
package func renderExplanation(_ reply: Reply, width: Int) -> String? {
    nil
}
