// The file of users: read whole, replaced whole. What stands in it is the engine's affair.

import KedisUtilities

/// Longer files are refused.
private let accessFileByteCountMax = 64 << 20

/// All bytes of the file.
package func readAccessFile(_ path: String, fileSystem: FileSystem = .system) -> Result<[UInt8], SystemError> {
    do throws(SystemError) {
        let file = try fileSystem.retrying { () throws(SystemError) in try fileSystem.open(path, .read) }
        defer { try? fileSystem.close(file) }
        return .success(try readAll(file, fileSystem))
    } catch {
        return .failure(error)
    }
}

private func readAll(_ file: FileHandle, _ fileSystem: FileSystem) throws(SystemError) -> [UInt8] {
    // Asks whether it is a directory, too.
    _ = try fileSystem.size(file)
    var bytes: [UInt8] = []
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 1)
    defer { room.deallocate() }
    while true {
        let count = try fileSystem.retrying { () throws(SystemError) in try fileSystem.read(file, room) }
        guard count > 0 else { return bytes }
        bytes.append(contentsOf: room[0..<min(count, room.count)])
        guard bytes.count <= accessFileByteCountMax else { throw .tooLarge(file.path) }
    }
}

/// Writes `text` to a temporary file that only its owner can read, and puts it in the place of the file when it is on
/// disk; nil, or what went wrong, and the file is as it was.
package func writeAccessFile(
    _ path: String, _ text: [UInt8], fileSystem: FileSystem = .system
) -> SystemError? {
    do throws(SystemError) {
        let file = try ReplacementFile(replacing: path, suffix: "acl", isPrivate: true, fileSystem: fileSystem)
        _ = text.withUnsafeBytes { file.write(ByteView($0)) }
        try file.commit()
        return nil
    } catch {
        return error
    }
}
