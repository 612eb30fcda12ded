// The memory of this process and of the machine, as the system tells it.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#else
import Darwin
#endif

/// The memory of the process that is in RAM, in bytes; 0 where the system does not say.
package func residentByteCount() -> Int {
    let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return 0 }
    defer { close(descriptor) }
    return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { room in
        let count = read(descriptor, room.baseAddress, room.count)
        guard count > 0 else { return 0 }
        let fields = String(decoding: UnsafeRawBufferPointer(rebasing: room[0..<count]), as: UTF8.self).split(
            separator: " ")
        return fields.count > 1 ? (Int(fields[1]) ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE))) : 0
    }
}

/// The memory of the machine in bytes; 0 where the system does not say.
package func systemMemoryByteCount() -> Int {
    let pageCount = max(0, sysconf(Int32(_SC_PHYS_PAGES))), pageByteCount = max(0, sysconf(Int32(_SC_PAGESIZE)))
    return pageCount &* pageByteCount
}

/// The facts of INFO memory that only the process knows; fields have Redis's names.
package func memoryInformation() -> [(field: String, value: String)] {
    [
        ("used_memory_rss", String(residentByteCount())), ("total_system_memory", String(systemMemoryByteCount())),
        ("mem_allocator", "libc"),
    ]
}
