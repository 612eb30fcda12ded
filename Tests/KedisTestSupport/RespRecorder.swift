// Fills in the replies of a `.resp` file: requests that have no `<` lines yet get what the oracle answers.
//
// A draft for the author to review, in RESP3's terms; where the same line cannot describe both protocols' replies, the
// request is written twice, once for each. Lines that are there stay as they are.

import KedisProtocol

package enum RespRecorder {
    /// The text of the file with the missing replies, or nil if none was missing.
    package static func fill(_ path: String, text: String, third: RespTarget, second: RespTarget) throws -> String? {
        let file = try RespFile(path: path, text: text)
        let thirdReplies = try replies(file, third)
        let secondReplies = try replies(file, second)
        guard !thirdReplies.isEmpty || !secondReplies.isEmpty else { return nil }

        var output: [String] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let (third, second) = (thirdReplies[index + 1], secondReplies[index + 1])
            output += lines(String(line), third, second)
        }
        return output.joined(separator: "\n")
    }

    private static func replies(_ file: RespFile, _ target: RespTarget) throws -> [Int: [Reply]] {
        var runner = RespRunner(file, on: target)
        try runner.run()
        for mismatch in runner.mismatches { print("RESP\(target.protocolVersion) \(mismatch)") }
        return runner.recorded
    }

    private static func lines(_ request: String, _ third: [Reply]?, _ second: [Reply]?) -> [String] {
        switch (third, second) {
        case (nil, nil): return [request]
        case (let replies?, nil), (nil, let replies?): return [request] + written(replies)
        case (let third?, let second?):
            if third.count == second.count {
                let merged = zip(third, second).map { $0.merged(withSecond: $1) }
                if serves(merged, second) { return [request] + written(merged) }
            }
            return ["! resp2", request] + written(second) + ["! resp3", request] + written(third)
        }
    }

    private static func written(_ replies: [Reply]) -> [String] {
        replies.isEmpty ? ["< nothing"] : replies.flatMap { $0.respLines() }
    }

    /// Whether expectations written from `merged` accept what the RESP2 connection got.
    private static func serves(_ merged: [Reply], _ second: [Reply]) -> Bool {
        let text = "# command: X\n> X\n" + written(merged).joined(separator: "\n")
        guard let file = try? RespFile(path: "", text: text), case .request(let request)? = file.steps.first,
            let expected = request.expected, expected.count == second.count
        else { return false }
        return zip(expected, second).allSatisfy { $0.matches($1, protocolVersion: 2) }
    }
}
