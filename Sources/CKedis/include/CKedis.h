// What Swift cannot say, or not fast enough: each function states its reason.
#ifndef CKEDIS_H
#define CKEDIS_H

#include <stddef.h>
#include <stdint.h>

// Swift has no prefetch instruction.
static inline void kedis_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

#endif
