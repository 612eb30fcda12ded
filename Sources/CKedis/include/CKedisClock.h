// The processor's own clock: a counter that every thread reads without a system call or a lock. Swift has no name for
// these instructions. A counter counts here only if it ticks at one rate whatever the processor's frequency is, and on
// while the processor sleeps.
#ifndef CKEDIS_CLOCK_H
#define CKEDIS_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

// Whether there is such a counter.
static inline bool kedis_has_cycle_counter(void) {
#if defined(__x86_64__)
    unsigned int a = 0, b = 0, c = 0, d = 0;
    // Leaf 0x80000007, bit 8 of EDX: the time stamp counter is invariant.
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & (1u << 8)) != 0;
#elif defined(__aarch64__)
    return true;
#else
    return false;
#endif
}

// The counter now; 0 where there is none. Not ordered with the instructions around it: for times from tens of
// nanoseconds on.
static inline uint64_t kedis_cycle_counter(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return 0;
#endif
}

#endif
