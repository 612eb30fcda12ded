// Cutting a damaged journal where it cannot be read: what is before stays, what is behind is kept beside it.
//
// Only ever asked for by a person. Each step is a rename, or a file that takes another's place whole; whichever is the
// last one before a crash, the journal is as damaged as before or less, and a second repair goes on. Segments behind
// the damage go aside from the last one on, so that none is left that pretends to follow the damaged one. Nobody
// else may use the directory meanwhile.

import KedisUtilities

/// What a repair did.
package struct JournalRepair: Equatable, Sendable {
    /// What it met, in order.
    package internal(set) var damages: [JournalDamage] = []
    /// The files that hold what was taken out.
    package internal(set) var cutPaths: [String] = []
    /// The journal as it is now.
    package internal(set) var check = JournalCheck()
}

/// Cuts the journal in `directory` at its first damage, and again until a check finds none. Damage that no cut mends
/// (the beginning of the journal is missing) is thrown. `needsBase` as in a recovery.
package func repairJournal(
    directory path: String, needsBase: Bool = true, fileSystem: FileSystem = .system
) throws(JournalError) -> JournalRepair {
    var repair = JournalRepair()
    do {
        // A repair before this one may have crashed with names that are not on disk.
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(path) }
    } catch {
        throw .system(error)
    }
    while true {
        repair.check = try checkJournal(directory: path, needsBase: needsBase, fileSystem: fileSystem)
        guard let damage = repair.check.damage else { return repair }
        // A cut that does not help, or leads to the same place, would be repeated for ever.
        guard !repair.damages.contains(damage) else { throw .damaged(damage) }
        repair.damages.append(damage)
        let repairer = JournalRepairer(directory: path, fileSystem: fileSystem)
        do throws(SystemError) {
            try repairer.mend(damage, hindersStart: !repair.check.canStart, &repair.cutPaths)
        } catch {
            throw repairer.failure ?? .system(error)
        }
    }
}

private final class JournalRepairer {
    private let directory: String
    private let fileSystem: FileSystem
    /// An error that is not one of a system call.
    private(set) var failure: JournalError?

    init(directory: String, fileSystem: FileSystem) {
        self.directory = directory
        self.fileSystem = fileSystem
    }

    func mend(_ damage: JournalDamage, hindersStart: Bool, _ cutPaths: inout [String]) throws(SystemError) {
        guard hindersStart else { return try moveAside(damage.path, &cutPaths) }
        switch damage.kind {
        case .header, .foreign: try moveAside(from: damage.path, isIncluded: true, &cutPaths)
        case .record, .missingRecords:
            try moveAside(from: damage.path, isIncluded: false, &cutPaths)
            try cut(damage, &cutPaths)
        case .missingSegment:
            guard damage.canBeCut else { throw fail(.damaged(damage)) }
            // What is cut off is the mark that says that there is more.
            try cut(damage, &cutPaths)
        case .missingBase: throw fail(.damaged(damage))
        }
    }

    private func fail(_ error: JournalError) -> SystemError {
        failure = error
        return .unreadable(directory)
    }

    /// Moves the segments behind `path` aside, the last one first, and that one too if it is included.
    private func moveAside(
        from path: String, isIncluded: Bool, _ cutPaths: inout [String]
    ) throws(SystemError) {
        let segments: [JournalDirectory.File]
        do throws(JournalError) {
            segments = try JournalDirectory(directory, fileSystem).segments
        } catch {
            throw fail(error)
        }
        for segment in segments.reversed() {
            if segment.path == path, !isIncluded { return }
            try moveAside(segment.path, &cutPaths)
            if segment.path == path { return }
        }
    }

    private func moveAside(_ path: String, _ cutPaths: inout [String]) throws(SystemError) {
        let aside = try unusedPath(path)
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.rename(path, aside) }
        try fileSystem.retrying { () throws(SystemError) in try fileSystem.synchronizeDirectory(directory) }
        cutPaths.append(aside)
    }

    /// Keeps what is before the damage in the segment, and what is from there on beside it.
    private func cut(_ damage: JournalDamage, _ cutPaths: inout [String]) throws(SystemError) {
        do throws(JournalError) {
            var reader = try SegmentReader(path: damage.path, fileSystem: fileSystem)
            var header = try reader.readHeader()
            if try reader.byteCount(from: damage.offset) > 0 {
                let aside = try unusedPathOrError(damage.path)
                try write(&reader, damage.offset..<reader.byteCount, behind: [], to: aside)
                cutPaths.append(aside)
            }
            // It must not go on saying that what is gone now was on disk.
            header.durable = min(header.durable, damage.sequence &- 1)
            try write(&reader, SegmentHeader.byteCount..<damage.offset, behind: header.bytes, to: damage.path)
        } catch {
            throw fail(error)
        }
    }

    private func write(
        _ reader: inout SegmentReader, _ range: Range<Int>, behind start: [UInt8], to path: String
    ) throws(JournalError) {
        let file: ReplacementFile
        do {
            file = try ReplacementFile(replacing: path, suffix: "kjl", fileSystem: fileSystem)
        } catch {
            throw .system(error)
        }
        _ = start.withUnsafeBytes { file.write(ByteView($0)) }
        var offset = range.lowerBound
        while offset < range.upperBound, file.failure == nil {
            let count = min(SegmentReader.windowByteCount, range.upperBound - offset)
            do {
                _ = file.write(try reader.view(offset, count))
            } catch {
                file.discard()
                throw error
            }
            offset += count
        }
        do {
            try file.commit()
        } catch {
            throw .system(error)
        }
    }

    private func unusedPathOrError(_ path: String) throws(JournalError) -> String {
        do {
            return try unusedPath(path)
        } catch {
            throw .system(error)
        }
    }

    /// `path.cut`, or with a number behind it.
    private func unusedPath(_ path: String) throws(SystemError) -> String {
        let names = try fileSystem.retrying { () throws(SystemError) in try fileSystem.names(directory) }
        let taken = Set(names)
        let name = (path.split(separator: "/").last.map(String.init) ?? path) + ".cut"
        if !taken.contains(name) { return "\(directory)/\(name)" }
        for number in 2... where !taken.contains("\(name)-\(number)") { return "\(directory)/\(name)-\(number)" }
        return "\(directory)/\(name)"
    }
}
