// Runs of bytes as runs of bits: how many are set, and AND, OR, XOR and NOT of whole runs. In C because Swift 6.3
// neither chooses code by the processor that it runs on nor makes vectors of a loop over raw memory that may overlap.
#ifndef CKEDIS_BITS_H
#define CKEDIS_BITS_H

#include <stddef.h>
#include <stdint.h>

// The bits that are set in `count` bytes. A function of its own, since the code that uses AVX2 cannot be part of a
// caller that does without.
uint64_t kedis_count_bits(const void *bytes, size_t count);

// `target[i] op= source[i]` for `count` bytes. The runs are apart or the same; any alignment. Not inline: one call is
// for some kilobytes.
void kedis_and_bits(void *target, const void *source, size_t count);
void kedis_or_bits(void *target, const void *source, size_t count);
void kedis_xor_bits(void *target, const void *source, size_t count);

// `target[i] = ~target[i]` for `count` bytes.
void kedis_invert_bits(void *target, size_t count);

#endif
