// Memory that malloc keeps for reuse. In C because the platform's C module leaves the header out.
#ifndef CKEDIS_TRIM_H
#define CKEDIS_TRIM_H

#ifndef __APPLE__
#include <malloc.h>
#endif

// Has malloc give back what it keeps, where it can.
static inline void kedis_release_free_memory(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

#endif
