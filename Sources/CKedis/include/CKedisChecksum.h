// The processor's instruction for CRC-32C. In C because Swift has no such instruction and no way to compile one
// function for more than the baseline of the platform.
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

#endif
