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

// Gives the calling thread a processor only when no other thread wants it, for good: only who has privileges could take
// that back. False with `errno` when that fails, and with libraries whose threads share a lock to allocate.
static inline bool kedis_yield_to_all_threads(void) {
#if defined(__linux__) && defined(__GLIBC__)
    struct {
        int priority;
    } parameters = {0};
    const int idle = 5;
    return syscall(SYS_sched_setscheduler, 0, idle, &parameters) == 0;
#else
    errno = ENOSYS;
    return false;
#endif
}

#endif
