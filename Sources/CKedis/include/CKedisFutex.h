// Waiting on a memory word. Swift cannot call the variadic `syscall`, and the standard library's Mutex has no form
// that locks a set of stripes.
#ifndef CKEDIS_FUTEX_H
#define CKEDIS_FUTEX_H

#include <stdint.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Sleeps while `*word == expected`, until woken. May return without reason: callers look again.
static inline void kedis_futex_wait(void *word, uint32_t expected) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, (void *)0, (void *)0, 0);
}

// The same for at most so many nanoseconds.
static inline void kedis_futex_wait_for(void *word, uint32_t expected, uint64_t nanoseconds) {
    struct timespec limit = {(time_t)(nanoseconds / 1000000000), (long)(nanoseconds % 1000000000)};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &limit, (void *)0, 0);
}

// Wakes one sleeper on `word`.
static inline void kedis_futex_wake_one(void *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, (void *)0, (void *)0, 0);
}
#else
#include <os/os_sync_wait_on_address.h>

static inline void kedis_futex_wait(void *word, uint32_t expected) {
    os_sync_wait_on_address(word, expected, sizeof(uint32_t), OS_SYNC_WAIT_ON_ADDRESS_NONE);
}

static inline void kedis_futex_wait_for(void *word, uint32_t expected, uint64_t nanoseconds) {
    os_sync_wait_on_address_with_timeout(
        word, expected, sizeof(uint32_t), OS_SYNC_WAIT_ON_ADDRESS_NONE, OS_CLOCK_MACH_ABSOLUTE_TIME, nanoseconds);
}

static inline void kedis_futex_wake_one(void *word) {
    os_sync_wake_by_address_any(word, sizeof(uint32_t), OS_SYNC_WAKE_BY_ADDRESS_NONE);
}
#endif

// A hint to the processor that this is a spin loop; Swift has no such instruction.
static inline void kedis_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
