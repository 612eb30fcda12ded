// Whether the tests run under a sanitizer: then they are slow, and the address space is full of shadow memory.

#if canImport(Glibc)
import Glibc
#elseif canImport(Musl)
import Musl
#elseif canImport(Darwin)
import Darwin
#endif

/// True in builds with `--sanitize=address` or `--sanitize=thread`.
package let isSanitized: Bool = {
    ["__asan_init", "__tsan_init"].contains { (name: String) in dlsym(nil, name) != nil }
}()

/// `count`, or a tenth of it under a sanitizer.
package func reducedWhenSanitized(_ count: Int) -> Int { isSanitized ? count / 10 : count }
