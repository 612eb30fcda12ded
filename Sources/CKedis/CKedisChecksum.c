// CRC-32C by the processor's instruction; see CKedisChecksum.h. Eight bytes a step, one step every three cycles: the
// latency of the instruction. Three interleaved streams would be faster over long runs, which are rare.
#include "CKedisChecksum.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define KEDIS_CRC_TARGET __attribute__((target("sse4.2")))
#define KEDIS_CRC_WORD(state, word) ((uint32_t)_mm_crc32_u64(state, word))
#define KEDIS_CRC_BYTE(state, byte) _mm_crc32_u8(state, byte)

bool kedis_has_crc32c(void) { return __builtin_cpu_supports("sse4.2"); }

#elif defined(__aarch64__)
// The builtins of the compiler instead of <arm_acle.h>, which hides its functions without the extension.
#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>

bool kedis_has_crc32c(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#else
// Every 64-bit processor of Apple's has it.
bool kedis_has_crc32c(void) { return true; }
#endif
#define KEDIS_CRC_TARGET __attribute__((target("crc")))
#define KEDIS_CRC_WORD(state, word) __builtin_arm_crc32cd(state, word)
#define KEDIS_CRC_BYTE(state, byte) __builtin_arm_crc32cb(state, byte)

#else
#define KEDIS_CRC_TARGET
#define KEDIS_CRC_WORD(state, word) (state)
#define KEDIS_CRC_BYTE(state, byte) (state)

bool kedis_has_crc32c(void) { return false; }
#endif

KEDIS_CRC_TARGET uint32_t kedis_crc32c(uint32_t state, const void *bytes, size_t count) {
    const uint8_t *next = (const uint8_t *)bytes;
    for (; count >= 8; next += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        state = KEDIS_CRC_WORD(state, word);
    }
    for (; count > 0; next++, count--) state = KEDIS_CRC_BYTE(state, *next);
    return state;
}
