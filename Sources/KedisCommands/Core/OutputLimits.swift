// `client-output-buffer-limit`: how much output may wait for a client of each class.

import KedisUtilities
import Synchronization

package struct OutputLimit: Equatable, Sendable {
    /// Bytes beyond which the client is closed at once; 0 for none.
    package var hardByteCount: Int64
    /// Bytes beyond which it is closed when that lasts for `softSeconds`; 0 for none.
    package var softByteCount: Int64
    package var softSeconds: Int64
}

package struct OutputLimits: Equatable, Sendable {
    static let classNames = ["normal", "slave", "pubsub"]

    /// In the order of `classNames`.
    private(set) var limits: [OutputLimit]

    var normal: OutputLimit { limits[0] }
    var subscriber: OutputLimit { limits[2] }

    /// Reads the normalised form; classes that it lacks have no limits.
    init(_ text: String) {
        limits = Array(
            repeating: OutputLimit(hardByteCount: 0, softByteCount: 0, softSeconds: 0), count: Self.classNames.count
        )
        if let read = try? changed(by: text) { self = read }
    }

    /// These limits with those of `text` in the place of their classes'.
    func changed(by text: String) throws(DirectiveReason) -> OutputLimits {
        let words = words(of: text)
        guard words.count % 4 == 0 else {
            throw DirectiveReason(text: "Wrong number of arguments in buffer limit configuration.")
        }
        var result = self
        for start in stride(from: 0, to: words.count, by: 4) {
            let name = words[start].asciiLowercase
            guard let index = Self.classNames.firstIndex(of: name == "replica" ? "slave" : name) else {
                throw DirectiveReason(text: "Invalid client class specified in buffer limit configuration.")
            }
            guard let hard = words[start + 1].withBytes(parseMemorySize),
                let soft = words[start + 2].withBytes(parseMemorySize),
                let seconds = words[start + 3].withBytes(parseInteger), seconds >= 0, seconds <= Int64(Int32.max)
            else {
                throw DirectiveReason(
                    text: "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                )
            }
            result.limits[index] = OutputLimit(hardByteCount: hard, softByteCount: soft, softSeconds: seconds)
        }
        return result
    }

    var text: String {
        zip(Self.classNames, limits).map { "\($0) \($1.hardByteCount) \($1.softByteCount) \($1.softSeconds)" }
            .joined(separator: " ")
    }
}

/// The limits of a class as checks read them: any thread, at any time.
struct HotOutputLimits: ~Copyable, Sendable {
    private let hardByteCount = Atomic<Int>(0)
    private let softByteCount = Atomic<Int>(0)
    private let softSeconds = Atomic<Int>(0)

    func set(_ limit: OutputLimit) {
        hardByteCount.store(Int(limit.hardByteCount), ordering: .relaxed)
        softByteCount.store(Int(limit.softByteCount), ordering: .relaxed)
        softSeconds.store(Int(limit.softSeconds), ordering: .relaxed)
    }

    var hard: Int { hardByteCount.load(ordering: .relaxed) }

    var soft: (byteCount: Int, seconds: Int) {
        (softByteCount.load(ordering: .relaxed), softSeconds.load(ordering: .relaxed))
    }
}
