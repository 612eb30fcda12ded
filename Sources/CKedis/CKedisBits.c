// Kernels over runs of bits; see CKedisBits.h. Nothing is kept, nothing is allocated, nothing outside the runs is read.
#include "CKedisBits.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

// Eight bytes at a time: the tail of the vector loops, and all of it where there are none. Without a population count
// instruction the compiler adds bits up in parallel.
static uint64_t count_words(const uint8_t *bytes, size_t count) {
    uint64_t sum = 0, word;
    for (; count >= 8; bytes += 8, count -= 8) {
        memcpy(&word, bytes, 8);
        sum += (uint64_t)__builtin_popcountll(word);
    }
    word = 0;
    memcpy(&word, bytes, count);
    return sum + (uint64_t)__builtin_popcountll(word);
}

#if defined(__x86_64__)
// 32 bytes at a time: each half byte looks its count up in a table of 16, as in W. Mula, N. Kurz, D. Lemire, "Faster
// population counts using AVX2 instructions" (2018). Eight vectors add up in bytes (64 at most) before they are
// widened.
__attribute__((target("avx2"))) static uint64_t count_avx2(const uint8_t *bytes, size_t count) {
    const __m256i table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(0x0F);
    __m256i sums = _mm256_setzero_si256();
    for (; count >= 256; bytes += 256, count -= 256) {
        __m256i counts = _mm256_setzero_si256();
        for (int index = 0; index < 8; index++) {
            __m256i vector = _mm256_loadu_si256((const __m256i *)(bytes + 32 * index));
            __m256i high = _mm256_and_si256(_mm256_srli_epi16(vector, 4), low);
            counts = _mm256_add_epi8(counts, _mm256_shuffle_epi8(table, _mm256_and_si256(vector, low)));
            counts = _mm256_add_epi8(counts, _mm256_shuffle_epi8(table, high));
        }
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(counts, _mm256_setzero_si256()));
    }
    uint64_t lanes[4];
    _mm256_storeu_si256((__m256i *)lanes, sums);
    return lanes[0] + lanes[1] + lanes[2] + lanes[3] + count_words(bytes, count);
}
#elif defined(__ARM_NEON) && defined(__aarch64__)
// NEON counts the bits of 16 bytes; eight vectors add up in bytes (64 at most) before they are widened.
static uint64_t count_neon(const uint8_t *bytes, size_t count) {
    uint64_t sum = 0;
    for (; count >= 128; bytes += 128, count -= 128) {
        uint8x16_t counts = vdupq_n_u8(0);
        for (int index = 0; index < 8; index++) counts = vaddq_u8(counts, vcntq_u8(vld1q_u8(bytes + 16 * index)));
        sum += vaddlvq_u8(counts);
    }
    return sum + count_words(bytes, count);
}
#endif

uint64_t kedis_count_bits(const void *bytes, size_t count) {
#if defined(__x86_64__)
    // Asked for each run: it is a load and a test, and short runs do not reach it.
    if (count >= 256 && __builtin_cpu_supports("avx2")) return count_avx2((const uint8_t *)bytes, count);
#elif defined(__ARM_NEON) && defined(__aarch64__)
    if (count >= 128) return count_neon((const uint8_t *)bytes, count);
#endif
    return count_words((const uint8_t *)bytes, count);
}

// 32 bytes at any address: the compiler makes of it what the processor's baseline has (two SSE2 or NEON registers).
// Wider registers would gain nothing, for the operations wait for memory.
typedef uint64_t vector_of_bits __attribute__((vector_size(32), aligned(1), may_alias));

#define KEDIS_COMBINE(name, operator)                                                            \
    void name(void *target, const void *source, size_t count) {                                  \
        uint8_t *left = (uint8_t *)target;                                                       \
        const uint8_t *right = (const uint8_t *)source;                                          \
        size_t index = 0;                                                                        \
        for (; index + 32 <= count; index += 32)                                                 \
            *(vector_of_bits *)(left + index) operator *(const vector_of_bits *)(right + index); \
        for (; index < count; index++) left[index] operator right[index];                        \
    }

KEDIS_COMBINE(kedis_and_bits, &=)
KEDIS_COMBINE(kedis_or_bits, |=)
KEDIS_COMBINE(kedis_xor_bits, ^=)

void kedis_invert_bits(void *target, size_t count) {
    uint8_t *bytes = (uint8_t *)target;
    size_t index = 0;
    for (; index + 32 <= count; index += 32) {
        vector_of_bits *vector = (vector_of_bits *)(bytes + index);
        *vector = ~*vector;
    }
    for (; index < count; index++) bytes[index] = (uint8_t)~bytes[index];
}
