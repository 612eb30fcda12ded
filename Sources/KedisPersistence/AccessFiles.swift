// The file of users: read whole, replaced whole. What stands in it is the engine's affair.

import KedisUtilities

/// Longer files are refused.
private let accessFileByteCountMax = 64 << 20

/// All bytes of the file.
package func readAccessFile(_ path: String, fileSystem: FileSystem = .system) -> Result<[UInt8], SystemError> {
    do throws(SystemError) {
        return .success(try fileSystem.readAll(path, byteCountMax: accessFileByteCountMax))
    } catch {
        return .failure(error)
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
