// The processor's instructions for CRC-32C and for CRC-64. In C because Swift has no such instructions and no way to
// compile one function for more than the baseline of the platform.
#ifndef CKEDIS_CHECKSUM_H
#define CKEDIS_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Whether this processor has it. Asked once, by whoever chooses between it and tables.
bool kedis_has_crc32c(void);

// Continues a CRC-32C over `count` bytes: `state` is the register itself, neither inverted before nor after. Only where
// kedis_has_crc32c() says so; elsewhere it returns `state`.
uint32_t kedis_crc32c(uint32_t state, const void *bytes, size_t count);

// Whether this processor multiplies without carries. Asked once.
bool kedis_has_carryless_product(void);

// What is folded in one step.
enum { kedis_crc64_step = 64 };

// Folds `count` bytes, a multiple of kedis_crc64_step and not 0, into 16 that have the same remainder in CRC-64 (Jones,
// reflected) as the register `state` followed by them. Only where kedis_has_carryless_product() says so.
void kedis_crc64_fold(uint64_t state, const void *bytes, size_t count, void *folded);

#endif
