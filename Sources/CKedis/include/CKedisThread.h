// Threads and processors. In C because the platform's module hides the call.
#ifndef CKEDIS_THREAD_H
#define CKEDIS_THREAD_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

// Binds the calling thread to the processors whose bits are set; false with `errno` when that fails.
static inline bool kedis_bind_thread(const void *bits, size_t byte_count) {
#ifdef __linux__
    return syscall(SYS_sched_setaffinity, 0, byte_count, bits) >= 0;
#else
    (void)bits;
    (void)byte_count;
    errno = ENOSYS;
    return false;
#endif
}

#endif
