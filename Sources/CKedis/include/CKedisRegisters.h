// Registers of six bits, packed: 16384 of them are a dense HyperLogLog. In C because vectors whose instruction set is
// found at run time cannot be said in Swift. Values are below 64; register i begins at bit 6 * i, lowest bits first.
#ifndef CKEDIS_REGISTERS_H
#define CKEDIS_REGISTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    kedis_register_count = 16384,
    kedis_packed_byte_count = 12288,
};

// Raises each of 16384 bytes to the register of the same index: eight registers, six bytes, at a time in a word. For
// processors without the vectors below.
static inline void kedis_registers_merge_words(uint8_t *registers, const uint8_t *packed) {
    const uint64_t tops = 0x8080808080808080u;
    for (size_t index = 0; index < kedis_register_count; index += 8, packed += 6) {
        uint64_t old;
        uint32_t low;
        uint16_t high;
        memcpy(&old, registers + index, sizeof old);
        memcpy(&low, packed, sizeof low);
        memcpy(&high, packed + 4, sizeof high);
        uint64_t value = (uint64_t)high << 32 | low;
        value = (value & 0xffffff) | (value & 0xffffff000000u) << 8;
        value = (value & 0xfff00000fff) | (value & 0xfff00000fff000u) << 4;
        value = (value & 0x3f003f003f003fu) | (value & 0xfc00fc00fc00fc0u) << 2;
        // A top bit stays where the old byte is not the smaller one; the bytes themselves have none.
        uint64_t kept = (((old | tops) - value) & tops) >> 7;
        kept *= 0xff;
        value = (old & kept) | (value & ~kept);
        memcpy(registers + index, &value, sizeof value);
    }
}

#if defined(__x86_64__) || defined(__aarch64__)
typedef uint8_t kedis_bytes16 __attribute__((vector_size(16)));
typedef uint8_t kedis_bytes32 __attribute__((vector_size(32)));
typedef uint32_t kedis_words8 __attribute__((vector_size(32)));

// The same, 32 registers at a time: each three bytes are spread to a word of their own, and their four registers to its
// bytes. The two halves are read so that nothing beyond the packed bytes is.
static inline __attribute__((always_inline)) void kedis_registers_merge_vectors(
    uint8_t *registers, const uint8_t *packed
) {
    for (size_t index = 0; index < kedis_register_count; index += 32, packed += 24) {
        kedis_bytes16 low, high;
        kedis_bytes32 old;
        memcpy(&low, packed, sizeof low);
        memcpy(&high, packed + 8, sizeof high);
        memcpy(&old, registers + index, sizeof old);
        kedis_words8 words = (kedis_words8)__builtin_shufflevector(
            low, high, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1,
            20, 21, 22, -1, 23, 24, 25, -1, 26, 27, 28, -1, 29, 30, 31, -1);
        words = (words & 0xfff) | (words & 0xfff000) << 4;
        words = (words & 0x3f003f) | (words & 0xfc00fc0) << 2;
        kedis_bytes32 merged = __builtin_elementwise_max(old, (kedis_bytes32)words);
        memcpy(registers + index, &merged, sizeof merged);
    }
}
#endif

#ifdef __x86_64__
// The byte shuffle needs more than the SSE2 that every x86-64 has.
static inline __attribute__((target("avx2"))) void kedis_registers_merge_avx2(
    uint8_t *registers, const uint8_t *packed
) {
    kedis_registers_merge_vectors(registers, packed);
}
#endif

// Raises each of 16384 bytes to the register of the same index among 12288 packed bytes.
static inline void kedis_registers_merge(uint8_t *registers, const uint8_t *packed) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return kedis_registers_merge_avx2(registers, packed);
    kedis_registers_merge_words(registers, packed);
#elif defined(__aarch64__)
    // NEON is part of the architecture: each vector becomes two of its own.
    kedis_registers_merge_vectors(registers, packed);
#else
    kedis_registers_merge_words(registers, packed);
#endif
}

// Packs 16384 bytes below 64 into 12288 bytes: eight at a time in a word, the way back from above.
static inline void kedis_registers_pack(uint8_t *packed, const uint8_t *registers) {
    for (size_t index = 0; index < kedis_register_count; index += 8, packed += 6) {
        uint64_t value;
        memcpy(&value, registers + index, sizeof value);
        value = (value & 0x3f003f003f003fu) | (value & 0x3f003f003f003f00u) >> 2;
        value = (value & 0xfff00000fffu) | (value & 0xfff00000fff0000u) >> 4;
        value = (value & 0xffffff) | (value & 0xffffff00000000u) >> 8;
        uint32_t low = (uint32_t)value;
        uint16_t high = (uint16_t)(value >> 32);
        memcpy(packed, &low, sizeof low);
        memcpy(packed + 4, &high, sizeof high);
    }
}

#endif
