// A ring of requests to the system on Linux (io_uring): many sends, and all receives, with one call. In C because the
// rings are memory that is shared with the kernel, and its records are unions. Without the system's headers, whose
// types would be this module's then; the functions are in CKedisRing.c.
#ifndef CKEDIS_RING_H
#define CKEDIS_RING_H

#ifdef __linux__

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One thread's: it makes the ring and is the only one that uses it.
typedef struct kedis_ring kedis_ring;

// What the system says of a request.
struct kedis_completion {
    uint64_t token;
    // Bytes, or a negative error number.
    int32_t result;
    // The buffer that was received into, -1 without one.
    int32_t buffer;
    // The request goes on: more follow.
    bool has_more;
};

// A ring for so many requests at once (a power of two), with so many buffers (a power of two, up to 32,768) of
// `buffer_byte_count` bytes to receive into. NULL with `errno` where the system has no such rings, or does not
// permit them.
kedis_ring *kedis_ring_make(uint32_t request_count, uint32_t buffer_count, uint32_t buffer_byte_count);
void kedis_ring_free(kedis_ring *ring);

// Whether another request can be queued before the next call of `kedis_ring_enter`.
bool kedis_ring_has_room(const kedis_ring *ring);

// Whether something that was queued was not taken by the system.
bool kedis_ring_is_pending(const kedis_ring *ring);

// Queue a request; there has to be room. What a send sends has to stay until its completion. A send never waits for
// room in the socket. A receive goes on until it ends with a completion that has no more, and takes buffers as bytes
// come. A poll tells each time that there is input. A cancellation ends the request with `token`; of itself it says
// nothing.
void kedis_ring_send(kedis_ring *ring, int descriptor, const void *bytes, uint32_t byte_count, uint64_t token);
void kedis_ring_receive(kedis_ring *ring, int descriptor, uint64_t token);
void kedis_ring_poll(kedis_ring *ring, int descriptor, uint64_t token);
void kedis_ring_cancel(kedis_ring *ring, uint64_t token);

// Hands what was queued to the system, and waits until `completion_count_min` completions are there or so many
// nanoseconds have passed (for ever when they are negative). False with `errno` when the system did not take a thing.
bool kedis_ring_enter(kedis_ring *ring, uint32_t completion_count_min, int64_t nanoseconds);

// The same for one completion, but that it comes back with fewer than `completion_count` only when `gathering`
// nanoseconds have passed.
bool kedis_ring_gather(kedis_ring *ring, uint32_t completion_count, uint64_t gathering, int64_t nanoseconds);

// Hands what was queued to the system; requests that waited for something are not looked at.
bool kedis_ring_submit(kedis_ring *ring);

// Completions that are there, without taking them; the completion at `index`; and `count` of them are done with.
uint32_t kedis_ring_completion_count(kedis_ring *ring);
struct kedis_completion kedis_ring_completion(const kedis_ring *ring, uint32_t index);
void kedis_ring_remove_completions(kedis_ring *ring, uint32_t count);

// The memory of a buffer, and its return once what it has was used.
void *kedis_ring_buffer(const kedis_ring *ring, int32_t buffer);
void kedis_ring_give_back(kedis_ring *ring, int32_t buffer);

#endif
#endif
