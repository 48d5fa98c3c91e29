/* SPDX-License-Identifier: Apache-2.0
 *
 * layout.h - every byte that two processes share.
 *
 * Includes nothing of ours: all other files stand on this one. Shared structs have fixed width,
 * no pointers and no bitfields; fields are grouped by who writes them, hot groups lie 128 bytes
 * apart (the adjacent-line prefetcher pulls cache lines in pairs), and each offset is asserted. The
 * layout hash made of these numbers goes into the handshake, so two builds that disagree refuse
 * each other instead of corrupting memory.
 *
 * Objects and their writers (design.md, section 2):
 *
 *   lane control   client + workers   submit ring, slots, completion bitmap
 *   lane requests  client             one block per slot; workers map it read-only
 *   lane replies   workers            one block per slot; the client maps it read-only
 *   bell           everyone           which lanes may have work, which workers are parked
 *   directory      host               methods, peers, service state; read-only for all others
 *   statistics     workers            one record per worker; read-only for all others
 *
 * All shared fields are atomics, also those that one process writes before another reads them:
 * a peer may be hostile, and a plain read of memory that is being written would be undefined.
 */
#ifndef CAROM_LAYOUT_H
#define CAROM_LAYOUT_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CAROM__PROTOCOL 1u
#define CAROM__LINE_BYTES 128u
#define CAROM__MAX_LANES 1024u
#define CAROM__MAX_WORKERS 256u
#define CAROM__MAX_METHODS 1024u
#define CAROM__MAX_SLOTS 4096u
#define CAROM__LANE_WORDS (CAROM__MAX_LANES / 64u)
#define CAROM__WORKER_WORDS (CAROM__MAX_WORKERS / 64u)
#define CAROM__METHOD_NAME_BYTES 104u
#define CAROM__SERVICE_NAME_BYTES 64u
#define CAROM__HISTOGRAM_BUCKETS 160u
#define CAROM__DESCRIPTION_BYTES 16384u

/** Submit ring cells per slot. Two would do for live calls alone; four keep room for the cells of
 *  cancelled calls and let the producer look at the consumers' cursor rarely. */
#define CAROM__CELLS_PER_SLOT 4u

/* ------------------------------------------------------------------ slot state word
 *
 * bits 0-2 phase, 3-6 flags, 8-31 generation: the futex word; bits 32-47 worker id, 48-63 worker
 * epoch: the owner. Every transition is one atomic operation on the whole word. */
enum carom__phase {
    CAROM__FREE = 0, /* fresh memory only: afterwards an unused slot is DONE */
    CAROM__SUBMITTED = 1,
    CAROM__RUNNING = 2,
    CAROM__DONE = 3,
};

#define CAROM__PHASE_MASK UINT64_C(0x7)
#define CAROM__WAITER UINT64_C(0x08)    /* client: wake me on this word */
#define CAROM__CANCEL UINT64_C(0x10)    /* client: please stop */
#define CAROM__ABANDONED UINT64_C(0x20) /* client: I have left, the slot returns by notification */
#define CAROM__NOTIFY UINT64_C(0x40)    /* client: set my completion bit when done */
#define CAROM__FLAGS_MASK UINT64_C(0x78)
#define CAROM__GENERATION_SHIFT 8
#define CAROM__GENERATION_MASK UINT32_C(0xffffff)
#define CAROM__OWNER_SHIFT 32
#define CAROM__OWNER_CLIENT UINT32_C(0xffffffff) /* DONE by the client itself: it was cancelled */

/** generation is at most CAROM__GENERATION_MASK. */
static inline uint64_t carom__state(enum carom__phase phase, uint32_t generation, uint32_t owner)
{
    return (uint64_t)phase | (uint64_t)generation << CAROM__GENERATION_SHIFT |
           (uint64_t)owner << CAROM__OWNER_SHIFT;
}

static inline enum carom__phase carom__state_phase(uint64_t state)
{
    return (enum carom__phase)(state & CAROM__PHASE_MASK);
}

static inline uint32_t carom__state_generation(uint64_t state)
{
    return (uint32_t)(state >> CAROM__GENERATION_SHIFT) & CAROM__GENERATION_MASK;
}

static inline uint32_t carom__state_owner(uint64_t state)
{
    return (uint32_t)(state >> CAROM__OWNER_SHIFT);
}

/** Owner half of a state word: which life of which worker. Epochs start at 1 and skip 0xffff, so
 *  no worker is ever mistaken for CAROM__OWNER_CLIENT. */
static inline uint32_t carom__owner(uint32_t worker, uint32_t epoch)
{
    return (worker & 0xffffu) | epoch << 16;
}

/** Method of a call that the client library makes for itself: give back the memory of this slot's
 *  reply block beyond CAROM__KEEP_BYTES. Only a worker can: the client maps replies read-only. */
#define CAROM__METHOD_TRIM UINT32_C(0xffffffff)
/** What a block keeps when memory is given back. */
#define CAROM__KEEP_BYTES (UINT64_C(1) << 20)

/* ------------------------------------------------------------------ submit ring cell
 *
 * bits 0-15 slot, 16-39 generation, 40-63 lap. A cell whose lap is that of the reader's position
 * is published; zeroed memory is lap 0, laps start at 1. */
#define CAROM__CELL_SLOT_MASK UINT32_C(0xffff)
#define CAROM__LAP_MASK UINT32_C(0xffffff)
#define CAROM__LAP_SHIFT 40

/** slot and generation are at most their masks; of the lap its low 24 bits count. */
static inline uint64_t carom__cell(uint64_t lap, uint32_t generation, uint32_t slot)
{
    return (uint64_t)slot | (uint64_t)generation << 16 | lap << CAROM__LAP_SHIFT;
}

/** Whether two cells are of the same lap. */
static inline bool carom__cell_same_lap(uint64_t a, uint64_t b)
{
    return (a ^ b) >> CAROM__LAP_SHIFT == 0;
}

static inline uint32_t carom__cell_slot(uint64_t cell)
{
    return (uint32_t)cell & CAROM__CELL_SLOT_MASK;
}

static inline uint32_t carom__cell_generation(uint64_t cell)
{
    return (uint32_t)(cell >> 16) & CAROM__GENERATION_MASK;
}

static inline uint32_t carom__cell_lap(uint64_t cell)
{
    return (uint32_t)(cell >> CAROM__LAP_SHIFT);
}

/* ------------------------------------------------------------------ lane control */

struct carom__slot {
    /* hot line */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint64_t state; /* w client, worker, host; r all */
    _Atomic int64_t deadline_ns;                        /* w client; r worker */
    _Atomic uint64_t request_bytes;                     /* w client; r worker */
    _Atomic uint64_t reply_bytes;                       /* w worker, host; r client */
    _Atomic uint32_t method;                            /* w client; r worker */
    _Atomic int32_t status;                             /* w worker, host; r client */
    _Atomic uint32_t deaths; /* of workers that ran this request; w host, client resets; r both */
    uint8_t reserved_hot[20];
    /* cold line: W3C trace context and timings will live here */
    uint8_t reserved_cold[64];
};
static_assert(sizeof(struct carom__slot) == 128, "slot");
static_assert(offsetof(struct carom__slot, state) == 0, "slot.state");
static_assert(offsetof(struct carom__slot, deadline_ns) == 8, "slot.deadline_ns");
static_assert(offsetof(struct carom__slot, request_bytes) == 16, "slot.request_bytes");
static_assert(offsetof(struct carom__slot, reply_bytes) == 24, "slot.reply_bytes");
static_assert(offsetof(struct carom__slot, method) == 32, "slot.method");
static_assert(offsetof(struct carom__slot, status) == 36, "slot.status");
static_assert(offsetof(struct carom__slot, deaths) == 40, "slot.deaths");

/** Start of the lane control object; ring cells and slots follow (carom__cells_offset,
 *  carom__slots_offset). */
struct carom__lane_control {
    /* for tools only: every process works from its private copy */
    uint32_t slots;      /* w host */
    uint32_t ring_cells; /* w host */
    uint64_t request_block_bytes;
    uint64_t reply_block_bytes;
    uint8_t reserved0[104];
    _Alignas(CAROM__LINE_BYTES) _Atomic uint64_t head; /* w workers, client when the ring is full */
    uint8_t reserved1[120];
    /* Completion event, a futex word: bit 0 somebody sleeps on it, the rest counts events. */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint32_t event; /* w client, workers, host */
    uint8_t reserved2[124];
    /* Calls with NOTIFY or ABANDONED that are done. */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint64_t
        completed[CAROM__MAX_SLOTS / 64]; /* w workers, host set; client clears */
};
static_assert(offsetof(struct carom__lane_control, head) == 128, "lane.head");
static_assert(offsetof(struct carom__lane_control, event) == 256, "lane.event");
static_assert(offsetof(struct carom__lane_control, completed) == 384, "lane.completed");
static_assert(sizeof(struct carom__lane_control) == 896, "lane_control");

/** Shape of a lane: each process's private copy, the only one used in arithmetic. */
struct carom__geometry {
    uint32_t slots;               /* power of two, 1 to CAROM__MAX_SLOTS */
    uint32_t ring_cells;          /* slots * CAROM__CELLS_PER_SLOT */
    uint64_t request_block_bytes; /* whole pages */
    uint64_t reply_block_bytes;   /* whole pages */
};
static_assert(sizeof(struct carom__geometry) == 24, "geometry travels in messages");

static inline size_t carom__cells_offset(void)
{
    return sizeof(struct carom__lane_control);
}

static inline size_t carom__slots_offset(const struct carom__geometry *geometry)
{
    size_t end = carom__cells_offset() + (size_t)geometry->ring_cells * sizeof(uint64_t);
    return (end + CAROM__LINE_BYTES - 1) / CAROM__LINE_BYTES * CAROM__LINE_BYTES;
}

static inline size_t carom__control_bytes(const struct carom__geometry *geometry)
{
    return carom__slots_offset(geometry) + (size_t)geometry->slots * sizeof(struct carom__slot);
}

/* ------------------------------------------------------------------ blocks
 *
 * Blocks of one lane lie one stride apart: the block and one page more. Without that page, blocks
 * of 64 MiB would all fall into the same sets of the TLB and of the caches, and a lane with many
 * calls in flight would miss on every one. For the same reason a block begins at its own cache line
 * within its first page. No two blocks share a page. */
#define CAROM__PAGE_BYTES UINT64_C(4096)
#define CAROM__BLOCK_COLOURS 64u
#define CAROM__BLOCK_ALIGN 64u

static inline uint64_t carom__block_stride(uint64_t block_bytes)
{
    return block_bytes + CAROM__PAGE_BYTES;
}

static inline uint64_t carom__block_offset(uint32_t slot, uint64_t block_bytes)
{
    return slot * carom__block_stride(block_bytes) +
           (uint64_t)(slot % CAROM__BLOCK_COLOURS) * CAROM__BLOCK_ALIGN;
}

/** What is mapped ahead of the first call: of lane control, and of the block of slot 0, which a new
 *  client uses first. */
#define CAROM__PREFAULT_CONTROL_BYTES (UINT64_C(64) << 10)
#define CAROM__PREFAULT_BLOCK_BYTES UINT64_C(4096)

/** Size of the object that holds the blocks of all slots. */
static inline uint64_t carom__blocks_bytes(uint32_t slots, uint64_t block_bytes)
{
    return slots * carom__block_stride(block_bytes);
}

/* ------------------------------------------------------------------ bell */

/** One worker's park word, alone in its line pair. */
struct carom__park {
    _Alignas(CAROM__LINE_BYTES) _Atomic uint32_t word; /* w who wakes; futex of its worker */
    uint8_t reserved[124];
};
static_assert(sizeof(struct carom__park) == 128, "park");

struct carom__bell {
    /* bit = worker id: asleep, or about to look once more and then sleep. Set by the worker,
     * cleared by who wakes it. */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint64_t parked[CAROM__WORKER_WORDS];
    /* bit = lane id: may have work. Set by its client, cleared by workers before they park. */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint64_t ready[CAROM__LANE_WORDS];
    struct carom__park parks[CAROM__MAX_WORKERS];
};
static_assert(offsetof(struct carom__bell, ready) == 128, "bell.ready");
static_assert(offsetof(struct carom__bell, parks) == 256, "bell.parks");

/* ------------------------------------------------------------------ directory */

struct carom__method_entry {
    char name[CAROM__METHOD_NAME_BYTES]; /* complete before method_count covers it */
    _Atomic uint32_t flags;              /* CAROM_IDEMPOTENT, as the latest worker said */
    uint32_t reserved;
};
static_assert(sizeof(struct carom__method_entry) == 112, "method_entry travels in HELLO");

/** A peer's entry is valid, or it is that of a worker that tools do not count. */
#define CAROM__PRESENT 1u
#define CAROM__PRESENT_STAND_IN 2u

struct carom__peer_entry {
    _Atomic uint32_t present; /* 0, or CAROM__PRESENT* when the fields below are valid */
    _Atomic int32_t pid;
    _Atomic uint32_t uid;
    _Atomic uint32_t epoch; /* workers: half of the owner in state words */
    _Atomic int64_t joined_ns;
};
static_assert(sizeof(struct carom__peer_entry) == 24, "peer_entry");

/** Written by the host alone. */
struct carom__directory {
    /* Futex word, bumped after every change that a peer may wait for: state, workers, lanes. */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint32_t change;
    _Atomic uint32_t state; /* enum carom_service_state */
    _Atomic uint32_t method_count;
    _Atomic uint32_t worker_count;
    _Atomic uint32_t client_count;
    _Atomic int32_t host_pid;
    _Atomic int64_t started_ns;
    _Atomic int64_t wake_ns; /* what waking a sleeper costs on this machine, measured at start */
    uint8_t reserved[88];
    _Alignas(CAROM__LINE_BYTES) char service[CAROM__SERVICE_NAME_BYTES];
    uint8_t reserved1[64];
    struct carom__method_entry methods[CAROM__MAX_METHODS];
    struct carom__peer_entry workers[CAROM__MAX_WORKERS];
    struct carom__peer_entry lanes[CAROM__MAX_LANES];
    /* For tools, a sequence lock: odd while the host writes. Words: every access is atomic. */
    _Alignas(CAROM__LINE_BYTES) _Atomic uint32_t description_version;
    _Atomic uint32_t description_bytes;
    _Atomic uint64_t description[CAROM__DESCRIPTION_BYTES / 8];
};
static_assert(offsetof(struct carom__directory, service) == 128, "directory.service");
static_assert(offsetof(struct carom__directory, methods) == 256, "directory.methods");

/* ------------------------------------------------------------------ statistics */

/** One worker's record: that worker alone writes it, with relaxed stores but for `running`, which
 *  publishes its time. Observers may see the fields of different moments. */
struct carom__worker_stats {
    _Alignas(CAROM__LINE_BYTES) _Atomic uint64_t calls;
    _Atomic uint64_t errors;
    _Atomic uint64_t expired;
    _Atomic uint64_t busy_ns;
    _Atomic uint32_t running; /* id of the method of the call it runs + 1; 0 none */
    uint32_t reserved0;
    _Atomic int64_t running_since_ns; /* when that was claimed; of the clock's last tick */
    uint8_t reserved[80];
    _Atomic uint64_t histogram[CAROM__HISTOGRAM_BUCKETS]; /* of claim to reply; see stats.h */
};
static_assert(offsetof(struct carom__worker_stats, histogram) == 128, "stats.histogram");
static_assert(sizeof(struct carom__worker_stats) == 1408, "worker_stats");

struct carom__statistics {
    struct carom__worker_stats workers[CAROM__MAX_WORKERS];
};

/* ------------------------------------------------------------------ layout hash */

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "carom needs a little-endian machine: the futex word is the low half of the state word"
#endif
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
              "shared memory needs lock-free atomics");

/** FNV-1a over the numbers that two peers must agree on. */
static inline uint64_t carom__layout_hash(void)
{
    const uint64_t numbers[] = {
        CAROM__PROTOCOL,
        CAROM__MAX_LANES,
        CAROM__MAX_WORKERS,
        CAROM__MAX_METHODS,
        CAROM__MAX_SLOTS,
        CAROM__CELLS_PER_SLOT,
        CAROM__BLOCK_COLOURS,
        CAROM__DONE,
        CAROM__WAITER | CAROM__CANCEL | CAROM__ABANDONED | CAROM__NOTIFY,
        sizeof(struct carom__slot),
        offsetof(struct carom__slot, method),
        offsetof(struct carom__slot, deaths),
        sizeof(struct carom__lane_control),
        offsetof(struct carom__lane_control, completed),
        sizeof(struct carom__bell),
        offsetof(struct carom__bell, ready),
        sizeof(struct carom__directory),
        offsetof(struct carom__directory, methods),
        offsetof(struct carom__directory, lanes),
        offsetof(struct carom__directory, description),
        sizeof(struct carom__worker_stats),
        offsetof(struct carom__worker_stats, running_since_ns),
    };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        hash = (hash ^ numbers[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
