// Checksums by the processor's instructions; see CKedisChecksum.h.
//
// CRC-32C: eight bytes a step, one step every three cycles: the latency of the instruction. Three interleaved streams
// would be faster over long runs, which are rare.
//
// CRC-64: bytes are a polynomial over GF(2), and only its remainder counts. 16 bytes that stand D bits before others
// can be added to those when both of their halves are multiplied by a power of x that has the same remainder as the
// distance ("Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel, 2009). Four runs of 16 bytes side by
// side hide the latency of the product. With reflected bits a product comes out multiplied by x once more, so the
// powers are one lower: x^(D+63) for the first half and x^(D-1) for the second.
#include "CKedisChecksum.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
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

// The remainders of x^191 and x^127, to go on by 128 bits, and of x^575 and x^511, to go on by 512.
#define KEDIS_CRC64_NEAR_FIRST 0xd9d7be7d505da32c
#define KEDIS_CRC64_NEAR_SECOND 0x381d0015c96f4444
#define KEDIS_CRC64_FAR_FIRST 0xaf86efb16d9ab4fb
#define KEDIS_CRC64_FAR_SECOND 0xf49784a634f014e4

#if defined(__x86_64__)
#define KEDIS_FOLD_TARGET __attribute__((target("sse4.1,pclmul")))
typedef __m128i kedis_run;

bool kedis_has_carryless_product(void) {
    return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

static inline kedis_run kedis_load_run(const uint8_t *bytes) { return _mm_loadu_si128((const __m128i *)bytes); }

static inline void kedis_store_run(void *bytes, kedis_run run) { _mm_storeu_si128((__m128i *)bytes, run); }

static inline kedis_run kedis_pair(uint64_t first, uint64_t second) {
    return _mm_set_epi64x((long long)second, (long long)first);
}

static inline kedis_run kedis_sum(kedis_run a, kedis_run b) { return _mm_xor_si128(a, b); }

KEDIS_FOLD_TARGET static inline kedis_run kedis_move(kedis_run run, kedis_run powers) {
    return _mm_xor_si128(_mm_clmulepi64_si128(run, powers, 0x00), _mm_clmulepi64_si128(run, powers, 0x11));
}

#elif defined(__aarch64__) && defined(__LITTLE_ENDIAN__) || defined(__aarch64__) && defined(__AARCH64EL__)
#include <arm_neon.h>
#define KEDIS_FOLD_TARGET __attribute__((target("aes")))
typedef uint64x2_t kedis_run;

#ifdef __linux__
bool kedis_has_carryless_product(void) { return (getauxval(AT_HWCAP) & HWCAP_PMULL) != 0; }
#else
// Every 64-bit processor of Apple's has it.
bool kedis_has_carryless_product(void) { return true; }
#endif

static inline kedis_run kedis_load_run(const uint8_t *bytes) { return vreinterpretq_u64_u8(vld1q_u8(bytes)); }

static inline void kedis_store_run(void *bytes, kedis_run run) {
    vst1q_u8((uint8_t *)bytes, vreinterpretq_u8_u64(run));
}

static inline kedis_run kedis_pair(uint64_t first, uint64_t second) {
    return vcombine_u64(vcreate_u64(first), vcreate_u64(second));
}

static inline kedis_run kedis_sum(kedis_run a, kedis_run b) { return veorq_u64(a, b); }

KEDIS_FOLD_TARGET static inline kedis_run kedis_move(kedis_run run, kedis_run powers) {
    poly128_t first = vmull_p64((poly64_t)vgetq_lane_u64(run, 0), (poly64_t)vgetq_lane_u64(powers, 0));
    poly128_t second = vmull_p64((poly64_t)vgetq_lane_u64(run, 1), (poly64_t)vgetq_lane_u64(powers, 1));
    return veorq_u64(vreinterpretq_u64_p128(first), vreinterpretq_u64_p128(second));
}

#else
#define KEDIS_FOLD_TARGET
#define KEDIS_NO_FOLD

bool kedis_has_carryless_product(void) { return false; }

void kedis_crc64_fold(uint64_t state, const void *bytes, size_t count, void *folded) {
    (void)state;
    (void)bytes;
    (void)count;
    (void)folded;
}
#endif

#ifndef KEDIS_NO_FOLD
KEDIS_FOLD_TARGET void kedis_crc64_fold(uint64_t state, const void *bytes, size_t count, void *folded) {
    const uint8_t *next = (const uint8_t *)bytes;
    const kedis_run far_powers = kedis_pair(KEDIS_CRC64_FAR_FIRST, KEDIS_CRC64_FAR_SECOND);
    kedis_run a = kedis_sum(kedis_load_run(next), kedis_pair(state, 0));
    kedis_run b = kedis_load_run(next + 16);
    kedis_run c = kedis_load_run(next + 32);
    kedis_run d = kedis_load_run(next + 48);
    for (next += 64, count -= 64; count >= 64; next += 64, count -= 64) {
        a = kedis_sum(kedis_move(a, far_powers), kedis_load_run(next));
        b = kedis_sum(kedis_move(b, far_powers), kedis_load_run(next + 16));
        c = kedis_sum(kedis_move(c, far_powers), kedis_load_run(next + 32));
        d = kedis_sum(kedis_move(d, far_powers), kedis_load_run(next + 48));
    }
    const kedis_run near_powers = kedis_pair(KEDIS_CRC64_NEAR_FIRST, KEDIS_CRC64_NEAR_SECOND);
    b = kedis_sum(kedis_move(a, near_powers), b);
    c = kedis_sum(kedis_move(b, near_powers), c);
    d = kedis_sum(kedis_move(c, near_powers), d);
    kedis_store_run(folded, d);
}
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
