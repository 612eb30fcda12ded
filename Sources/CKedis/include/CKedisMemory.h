// Memory from the system in pages, and the comparison of a bucket's tags. In C because MAP_FAILED is a macro that Swift
// cannot import, and because SIMD16<UInt8> compiles to a loop over lanes (Swift 6.3.1, 2026-11).
#ifndef CKEDIS_MEMORY_H
#define CKEDIS_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

// Fresh zeroed pages, taken from the system when they are touched; NULL when it refuses.
static inline void *kedis_map(size_t byte_count) {
#ifdef MAP_NORESERVE
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
    int flags = MAP_PRIVATE | MAP_ANON;
#endif
    void *address = mmap(NULL, byte_count, PROT_READ | PROT_WRITE, flags, -1, 0);
    return address == MAP_FAILED ? NULL : address;
}

static inline void kedis_unmap(void *address, size_t byte_count) { munmap(address, byte_count); }

// Takes fresh pages from the system now instead of when they are touched.
static inline void kedis_populate(void *address, size_t byte_count) {
#if defined(__linux__)
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
    if (madvise(address, byte_count, MADV_POPULATE_WRITE) == 0) return;
#endif
    for (size_t offset = 0; offset < byte_count; offset += 4096) ((volatile uint8_t *)address)[offset] = 0;
}

// Gives the memory of whole pages back; the addresses stay. Their content is undefined afterwards (zero on Linux).
static inline void kedis_discard(void *address, size_t byte_count) {
#if defined(__linux__)
    madvise(address, byte_count, MADV_DONTNEED);
#else
    madvise(address, byte_count, MADV_FREE);
#endif
}

// Makes huge pages of small ones that are all in use, where the system can; false when it did not.
static inline int kedis_collapse(void *address, size_t byte_count) {
#if defined(__linux__)
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
    return madvise(address, byte_count, MADV_COLLAPSE) == 0;
#else
    (void)address;
    (void)byte_count;
    return 0;
#endif
}

// Stores a word, or `aside` if that is not wanted, without a branch.
static inline void kedis_store_unless(bool is_unwanted, uint64_t word, void *address, uint64_t *aside) {
    uintptr_t mask = (uintptr_t)0 - (uintptr_t)is_unwanted;
    uintptr_t place = ((uintptr_t)address & ~mask) | ((uintptr_t)aside & mask);
    memcpy((void *)place, &word, sizeof word);
}

// The slots 0 to 11 of a bucket (64 bytes, 16-aligned; tags in the first 12) whose tag is `tag`, as a bit mask.
static inline uint32_t kedis_match_tags(const void *bucket, uint8_t tag) {
#if defined(__SSE2__)
    __m128i tags = _mm_load_si128((const __m128i *)bucket);
    __m128i equal = _mm_cmpeq_epi8(tags, _mm_set1_epi8((char)tag));
    return (uint32_t)_mm_movemask_epi8(equal) & 0xFFF;
#elif defined(__ARM_NEON) && defined(__aarch64__)
    static const uint8_t weights[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 0, 0, 0, 0};
    uint8x16_t equal = vceqq_u8(vld1q_u8((const uint8_t *)bucket), vdupq_n_u8(tag));
    uint8x16_t bits = vandq_u8(equal, vld1q_u8(weights));
    return (uint32_t)vaddv_u8(vget_low_u8(bits)) | (uint32_t)vaddv_u8(vget_high_u8(bits)) << 8;
#else
    const uint8_t *tags = (const uint8_t *)bucket;
    uint32_t mask = 0;
    for (int index = 0; index < 12; index++) mask |= (uint32_t)(tags[index] == tag) << index;
    return mask;
#endif
}

// Whether `tag` is among the first `count` of 32 tags.
static inline int kedis_contains_tag(const void *tags, uint32_t count, uint8_t tag) {
#if defined(__SSE2__)
    const __m128i *halves = (const __m128i *)tags;
    __m128i wanted = _mm_set1_epi8((char)tag);
    uint32_t low = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(halves), wanted));
    uint32_t high = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(halves + 1), wanted));
    return ((uint64_t)(low | high << 16) & (((uint64_t)1 << count) - 1)) != 0;
#else
    int found = 0;
    for (uint32_t index = 0; index < count; index++) found |= ((const uint8_t *)tags)[index] == tag;
    return found;
#endif
}

// Whether two runs of bytes are equal: keys are short, and up to 32 bytes a few word comparisons beat a call. Words
// overlap where the count is no multiple of theirs, so that nothing outside of the runs is read.
static inline int kedis_equal(const void *left, const void *right, size_t count) {
    const uint8_t *a = (const uint8_t *)left, *b = (const uint8_t *)right;
    if (count > 32) return memcmp(a, b, count) == 0;
    if (count < 4) {
        if (count == 0) return 1;
        return ((a[0] ^ b[0]) | (a[count >> 1] ^ b[count >> 1]) | (a[count - 1] ^ b[count - 1])) == 0;
    }
    if (count < 8) {
        uint32_t start, end, otherStart, otherEnd;
        memcpy(&start, a, 4);
        memcpy(&otherStart, b, 4);
        memcpy(&end, a + count - 4, 4);
        memcpy(&otherEnd, b + count - 4, 4);
        return ((start ^ otherStart) | (end ^ otherEnd)) == 0;
    }
    uint64_t x, y, difference = 0;
    for (size_t offset = 0; offset + 8 < count; offset += 8) {
        memcpy(&x, a + offset, 8);
        memcpy(&y, b + offset, 8);
        difference |= x ^ y;
    }
    memcpy(&x, a + count - 8, 8);
    memcpy(&y, b + count - 8, 8);
    return (difference | (x ^ y)) == 0;
}

#endif
