// What the benchmarks ask of the C library and the system: calls of malloc, a thread's waits for a processor, resident
// memory.
//
// Linked into the benchmark executable only. Where a system cannot tell, functions answer -1.
#ifndef BENCHMARK_SUPPORT_H
#define BENCHMARK_SUPPORT_H

#include <stdint.h>

// How often the calling thread has called malloc, calloc, realloc, aligned_alloc, memalign or posix_memalign.
int64_t benchmark_allocation_count(void);

// The time that all threads of the process together have spent on processors.
uint64_t benchmark_process_cpu_nanoseconds(void);

// The time that the calling thread has spent on processors.
int64_t benchmark_thread_cpu_nanoseconds(void);

// How long the calling thread could have run but was not given a processor. Time asleep, on a lock for one, is not in
// it.
int64_t benchmark_thread_delay_nanoseconds(void);

// Resident memory of this process. The exact figure walks the page tables; the quick one may be some pages off.
int64_t benchmark_exact_resident_bytes(void);
int64_t benchmark_quick_resident_bytes(void);

// The part of the resident memory that lies in huge pages.
int64_t benchmark_huge_page_bytes(void);

// Lets the calling thread's sleeps end when they should: the system else joins wake-ups within 50 microseconds.
void benchmark_sharpen_timers(void);

// The time that the hypervisor has given to others while this machine wanted to run, all processors together.
int64_t benchmark_stolen_milliseconds(void);

#endif
