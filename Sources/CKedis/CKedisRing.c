// Rings of requests. A queued request is visible to the kernel with the next call, as the tail is stored there.
#ifdef __linux__

#define _GNU_SOURCE
#include "CKedisRing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#if __has_include(<linux/io_uring.h>)
#include <linux/io_uring.h>
#endif

#if defined(IORING_SETUP_DEFER_TASKRUN) && defined(IORING_RECV_MULTISHOT) && defined(SYS_io_uring_setup)

// The argument of a wait, with the shortest time of one for several completions, which Linux has from 6.12 on.
struct wait_argument {
    uint64_t signals;
    uint32_t signals_byte_count, gathering_microseconds;
    uint64_t limit;
};
#ifndef IORING_FEAT_MIN_TIMEOUT
#define IORING_FEAT_MIN_TIMEOUT (1U << 15)
#endif
_Static_assert(sizeof(struct wait_argument) == sizeof(struct io_uring_getevents_arg), "as the system has it");

struct kedis_ring {
    int descriptor;
    bool gathers;
    // Requests: `tail` is ours, the kernel moves `*kernel_head`.
    uint32_t *kernel_head, *kernel_tail;
    uint32_t tail, submitted, request_mask, request_count;
    struct io_uring_sqe *requests;
    // Completions: the kernel moves `*completion_tail`.
    uint32_t *completion_head, *completion_tail;
    uint32_t completion_mask;
    struct io_uring_cqe *completions;
    // Buffers: a ring of those that are free, and their memory.
    struct io_uring_buf_ring *free_buffers;
    char *buffers;
    uint32_t buffer_count, buffer_byte_count;
    uint16_t buffer_tail;
    // What was mapped.
    void *rings;
    size_t rings_byte_count, requests_byte_count, free_buffers_byte_count, buffers_byte_count;
};

static void *map(size_t byte_count, int flags, int descriptor, int64_t offset) {
    void *memory = mmap(NULL, byte_count, PROT_READ | PROT_WRITE, flags, descriptor, offset);
    return memory == MAP_FAILED ? NULL : memory;
}

static bool map_rings(kedis_ring *ring, const struct io_uring_params *params) {
    if (!(params->features & IORING_FEAT_SINGLE_MMAP)) return errno = ENOSYS, false;
    size_t requests_end = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
    size_t completions_end = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    ring->rings_byte_count = requests_end > completions_end ? requests_end : completions_end;
    ring->rings = map(ring->rings_byte_count, MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQ_RING);
    ring->requests_byte_count = params->sq_entries * sizeof(struct io_uring_sqe);
    ring->requests = map(ring->requests_byte_count, MAP_SHARED | MAP_POPULATE, ring->descriptor, IORING_OFF_SQES);
    if (ring->rings == NULL || ring->requests == NULL) return false;
    char *base = ring->rings;
    ring->kernel_head = (uint32_t *)(base + params->sq_off.head);
    ring->kernel_tail = (uint32_t *)(base + params->sq_off.tail);
    ring->request_count = params->sq_entries;
    ring->request_mask = params->sq_entries - 1;
    // Requests are taken in the order of their places, always.
    uint32_t *places = (uint32_t *)(base + params->sq_off.array);
    for (uint32_t index = 0; index < params->sq_entries; index++) places[index] = index;
    ring->completion_head = (uint32_t *)(base + params->cq_off.head);
    ring->completion_tail = (uint32_t *)(base + params->cq_off.tail);
    ring->completion_mask = params->cq_entries - 1;
    ring->completions = (struct io_uring_cqe *)(base + params->cq_off.cqes);
    return true;
}

// A line of the cache more than a buffer: a power of two would put the beginnings of all of them into the same sets.
static size_t buffer_stride(const kedis_ring *ring) { return (size_t)ring->buffer_byte_count + 64; }

static bool make_buffers(kedis_ring *ring, uint32_t count, uint32_t byte_count) {
    ring->buffer_count = count;
    ring->buffer_byte_count = byte_count;
    ring->free_buffers_byte_count = count * sizeof(struct io_uring_buf);
    ring->free_buffers = map(ring->free_buffers_byte_count, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ring->buffers_byte_count = count * buffer_stride(ring);
    ring->buffers = map(ring->buffers_byte_count, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ring->free_buffers == NULL || ring->buffers == NULL) return false;
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)ring->free_buffers, .ring_entries = count, .bgid = 0,
    };
    long result = syscall(SYS_io_uring_register, ring->descriptor, IORING_REGISTER_PBUF_RING, &registration, 1);
    if (result != 0) return false;
    for (uint32_t index = 0; index < count; index++) kedis_ring_give_back(ring, (int32_t)index);
    return true;
}

kedis_ring *kedis_ring_make(uint32_t request_count, uint32_t buffer_count, uint32_t buffer_byte_count) {
    kedis_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) return NULL;
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL
            | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * (request_count > buffer_count ? request_count : buffer_count),
    };
    ring->descriptor = (int)syscall(SYS_io_uring_setup, request_count, &params);
    // Completions that find no room wait in the kernel; waits have a limit of time.
    uint32_t needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    bool is_good = ring->descriptor >= 0;
    ring->gathers = (params.features & IORING_FEAT_MIN_TIMEOUT) != 0;
    if (is_good && (params.features & needed) != needed) is_good = (errno = ENOSYS, false);
    if (is_good && map_rings(ring, &params) && make_buffers(ring, buffer_count, buffer_byte_count)) return ring;
    int code = errno;
    kedis_ring_free(ring);
    errno = code;
    return NULL;
}

void kedis_ring_free(kedis_ring *ring) {
    if (ring->descriptor >= 0) close(ring->descriptor);
    if (ring->rings != NULL) munmap(ring->rings, ring->rings_byte_count);
    if (ring->requests != NULL) munmap(ring->requests, ring->requests_byte_count);
    if (ring->free_buffers != NULL) munmap(ring->free_buffers, ring->free_buffers_byte_count);
    if (ring->buffers != NULL) munmap(ring->buffers, ring->buffers_byte_count);
    free(ring);
}

bool kedis_ring_has_room(const kedis_ring *ring) {
    return ring->tail - __atomic_load_n(ring->kernel_head, __ATOMIC_ACQUIRE) < ring->request_count;
}

bool kedis_ring_is_pending(const kedis_ring *ring) { return ring->submitted != ring->tail; }

static struct io_uring_sqe *take(kedis_ring *ring, uint8_t operation, int descriptor, uint64_t token) {
    struct io_uring_sqe *request = &ring->requests[ring->tail++ & ring->request_mask];
    memset(request, 0, sizeof *request);
    request->opcode = operation;
    request->fd = descriptor;
    request->user_data = token;
    return request;
}

void kedis_ring_send(kedis_ring *ring, int descriptor, const void *bytes, uint32_t byte_count, uint64_t token) {
    struct io_uring_sqe *request = take(ring, IORING_OP_SEND, descriptor, token);
    request->addr = (uint64_t)(uintptr_t)bytes;
    request->len = byte_count;
    request->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
}

void kedis_ring_receive(kedis_ring *ring, int descriptor, uint64_t token) {
    struct io_uring_sqe *request = take(ring, IORING_OP_RECV, descriptor, token);
    request->ioprio = IORING_RECV_MULTISHOT;
    request->flags = IOSQE_BUFFER_SELECT;
    request->buf_group = 0;
}

void kedis_ring_poll(kedis_ring *ring, int descriptor, uint64_t token) {
    struct io_uring_sqe *request = take(ring, IORING_OP_POLL_ADD, descriptor, token);
    request->len = IORING_POLL_ADD_MULTI;
    request->poll32_events = 1;
}

void kedis_ring_cancel(kedis_ring *ring, uint64_t token) {
    struct io_uring_sqe *request = take(ring, IORING_OP_ASYNC_CANCEL, -1, 0);
    request->addr = token;
    request->user_data = ~(uint64_t)0;
}

static bool enter(kedis_ring *ring, uint32_t completion_count_min, uint32_t flags, const void *argument, size_t size) {
    __atomic_store_n(ring->kernel_tail, ring->tail, __ATOMIC_RELEASE);
    uint32_t count = ring->tail - ring->submitted;
    long result = syscall(SYS_io_uring_enter, ring->descriptor, count, completion_count_min, flags, argument, size);
    ring->submitted = __atomic_load_n(ring->kernel_head, __ATOMIC_ACQUIRE);
    return result >= 0;
}

static bool wait_for(
    kedis_ring *ring, uint32_t completion_count, uint32_t gathering_microseconds, int64_t nanoseconds) {
    struct { int64_t seconds, nanoseconds; } limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    struct wait_argument argument = {
        .limit = nanoseconds < 0 ? 0 : (uint64_t)(uintptr_t)&limit, .gathering_microseconds = gathering_microseconds,
    };
    uint32_t flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    return enter(ring, completion_count, flags, &argument, sizeof argument);
}

bool kedis_ring_enter(kedis_ring *ring, uint32_t completion_count_min, int64_t nanoseconds) {
    return wait_for(ring, completion_count_min, 0, nanoseconds);
}

bool kedis_ring_gather(kedis_ring *ring, uint32_t completion_count, uint64_t gathering, int64_t nanoseconds) {
    if (nanoseconds >= 0 && gathering > (uint64_t)nanoseconds) gathering = (uint64_t)nanoseconds;
    if (ring->gathers) return wait_for(ring, completion_count, (uint32_t)(gathering / 1000), nanoseconds);
    // Older systems take two calls.
    bool is_taken = wait_for(ring, completion_count, 0, (int64_t)gathering);
    return kedis_ring_completion_count(ring) > 0 ? is_taken : wait_for(ring, 1, 0, nanoseconds);
}

bool kedis_ring_submit(kedis_ring *ring) { return enter(ring, 0, 0, NULL, 0); }

uint32_t kedis_ring_completion_count(kedis_ring *ring) {
    return __atomic_load_n(ring->completion_tail, __ATOMIC_ACQUIRE) - *ring->completion_head;
}

struct kedis_completion kedis_ring_completion(const kedis_ring *ring, uint32_t index) {
    uint32_t place = (*ring->completion_head + index) & ring->completion_mask;
    const struct io_uring_cqe *completion = &ring->completions[place];
    uint32_t flags = completion->flags;
    return (struct kedis_completion){
        .token = completion->user_data,
        .result = completion->res,
        .buffer = flags & IORING_CQE_F_BUFFER ? (int32_t)(flags >> IORING_CQE_BUFFER_SHIFT) : -1,
        .has_more = (flags & IORING_CQE_F_MORE) != 0,
    };
}

void kedis_ring_remove_completions(kedis_ring *ring, uint32_t count) {
    __atomic_store_n(ring->completion_head, *ring->completion_head + count, __ATOMIC_RELEASE);
}

void *kedis_ring_buffer(const kedis_ring *ring, int32_t buffer) {
    return ring->buffers + (size_t)buffer * buffer_stride(ring);
}

void kedis_ring_give_back(kedis_ring *ring, int32_t buffer) {
    struct io_uring_buf *place = &ring->free_buffers->bufs[ring->buffer_tail & (ring->buffer_count - 1)];
    place->addr = (uint64_t)(uintptr_t)kedis_ring_buffer(ring, buffer);
    place->len = ring->buffer_byte_count;
    place->bid = (uint16_t)buffer;
    __atomic_store_n(&ring->free_buffers->tail, ++ring->buffer_tail, __ATOMIC_RELEASE);
}

#else

kedis_ring *kedis_ring_make(uint32_t request_count, uint32_t buffer_count, uint32_t buffer_byte_count) {
    return errno = ENOSYS, NULL;
}

// Nobody has a ring.
void kedis_ring_free(kedis_ring *ring) {}
bool kedis_ring_has_room(const kedis_ring *ring) { return false; }
bool kedis_ring_is_pending(const kedis_ring *ring) { return false; }
void kedis_ring_send(kedis_ring *ring, int descriptor, const void *bytes, uint32_t byte_count, uint64_t token) {}
void kedis_ring_receive(kedis_ring *ring, int descriptor, uint64_t token) {}
void kedis_ring_poll(kedis_ring *ring, int descriptor, uint64_t token) {}
void kedis_ring_cancel(kedis_ring *ring, uint64_t token) {}
bool kedis_ring_enter(kedis_ring *ring, uint32_t completion_count_min, int64_t nanoseconds) { return false; }
bool kedis_ring_gather(kedis_ring *ring, uint32_t completion_count, uint64_t gathering, int64_t nanoseconds) {
    return false;
}
bool kedis_ring_submit(kedis_ring *ring) { return false; }
uint32_t kedis_ring_completion_count(kedis_ring *ring) { return 0; }
struct kedis_completion kedis_ring_completion(const kedis_ring *ring, uint32_t index) {
    return (struct kedis_completion){0};
}
void kedis_ring_remove_completions(kedis_ring *ring, uint32_t count) {}
void *kedis_ring_buffer(const kedis_ring *ring, int32_t buffer) { return NULL; }
void kedis_ring_give_back(kedis_ring *ring, int32_t buffer) {}

#endif
#endif
