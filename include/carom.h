/* SPDX-License-Identifier: Apache-2.0
 *
 * carom.h - the whole public C API of carom, and its manual.
 *
 * carom lets a native program call functions in warm worker processes (Python or C) through shared
 * memory. A request is written once, read in place by a worker, and answered the same way. While
 * both sides are awake a call makes no system call.
 *
 *   service   a named set of methods, reached through one Unix socket
 *   host      the process (or thread) that owns a service; never on the path of a call
 *   client    makes calls; owns one lane of shared memory per connection
 *   worker    executes calls; maps every lane of its service
 *   call      one request in flight, together with the memory of its request and of its reply
 *
 * Return values. Functions return 0 or a count on success and a negative errno on a local failure;
 * carom_strerror() explains the number, carom_error_detail() says what exactly went wrong in the
 * last failing call of this thread. The outcome of a call that reached a worker is a status: 0 is
 * CAROM_OK, 1 to 16 are the canonical codes of gRPC (grpc/doc/statuscodes.md).
 *
 * Times. Every time is in nanoseconds of CLOCK_MONOTONIC. A timeout is relative, CAROM_FOREVER
 * means none; a deadline is absolute, INT64_MAX means none. Timeouts of 200 ms and more may last up
 * to 10 ms longer than asked, never shorter: reading the exact clock would cost a call 15 ns.
 *
 * What may overlap (rows against columns; "own" = only on different objects, "yes" = freely):
 *
 *                       same client   same call   same worker   same request   same host
 *   carom_client_open/   no            -           -             -              -
 *     close
 *   carom_client_*,      yes           -           -             -              -
 *     carom_call_begin,
 *     carom_invoke
 *   carom_call_*         yes           own (a)     -             -              -
 *   carom_worker_*       -             -           own (b)       -              -
 *   carom_request_*      -             -           own           own            -
 *   carom_host_*         -             -           -             -              own (c)
 *
 *   (a) carom_call_cancel may overlap everything on its call except carom_call_end.
 *   (b) carom_worker_stop may be called from any thread and from a signal handler.
 *   (c) carom_host_run on one thread may overlap carom_host_stop (also from a signal handler),
 *       _wait_ready, _note_end, _dismiss, _waiting and _describe on others, and these each other.
 *
 * Caveats: how it breaks.
 *   - Pointers into a call die with carom_call_end, pointers into a request with
 *     carom_request_reply / carom_request_fail. Copy what you keep.
 *   - A client, worker or host opened before fork() must not be used in the child: every function
 *     returns -ECHILD there. Open a new one. The child may drop it with the close function. What
 *     makes a child without fork() (clone(2), _Fork(3)) does not tell the library: such a child has
 *     no memory of a lane, and a call there ends it.
 *   - Deadlines are times of one clock: peers in different time namespaces do not understand each
 *     other's. Different PID, mount, network and user namespaces are all right.
 *   - A worker executes one call at a time per struct carom_worker. A handler that never returns
 *     occupies it; deadlines free the caller, not the worker.
 *   - At most once: a call that a worker began is never begun again, unless its method was declared
 *     idempotent. If the worker dies the call ends with CAROM_UNAVAILABLE; whether its side effects
 *     happened is unknown.
 *   - Only processes of the host's own uid, or of an uid it allows, may connect.
 *   - Where there is no memfd_create (a seccomp filter, a kernel before 3.17) the memory is in
 *     /dev/shm, which must have room for what is in use. Opening fails with -ENOSPC without;
 *     but a process that writes more than 4 KiB of a request or reply when it is full is killed by
 *     SIGBUS.
 */
#ifndef CAROM_H
#define CAROM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CAROM_VERSION_MAJOR 0
#define CAROM_VERSION_MINOR 1
#define CAROM_VERSION_PATCH 0

#if defined(CAROM_BUILD)
#define CAROM_API __attribute__((visibility("default")))
#else
#define CAROM_API
#endif

/** Timeout that never expires. */
#define CAROM_FOREVER ((int64_t)-1)
/** Longest method name, without its final NUL. */
#define CAROM_METHOD_NAME_MAX 103
/** Longest service name (not path), without its final NUL. */
#define CAROM_SERVICE_NAME_MAX 63

/** Outcome of a call: the canonical status codes of gRPC. */
enum carom_status {
    CAROM_OK = 0,
    CAROM_CANCELLED = 1,
    CAROM_UNKNOWN = 2,
    CAROM_INVALID_ARGUMENT = 3,
    CAROM_DEADLINE_EXCEEDED = 4,
    CAROM_NOT_FOUND = 5,
    CAROM_ALREADY_EXISTS = 6,
    CAROM_PERMISSION_DENIED = 7,
    CAROM_RESOURCE_EXHAUSTED = 8,
    CAROM_FAILED_PRECONDITION = 9,
    CAROM_ABORTED = 10,
    CAROM_OUT_OF_RANGE = 11,
    CAROM_UNIMPLEMENTED = 12,
    CAROM_INTERNAL = 13,
    CAROM_UNAVAILABLE = 14,
    CAROM_DATA_LOSS = 15,
    CAROM_UNAUTHENTICATED = 16,
};

struct carom_client;
struct carom_call;
struct carom_worker;
struct carom_request;
struct carom_host;
struct carom_observer;
struct carom_pool;

/* ---------------------------------------------------------------- general */

/** Version of the library that is linked, "0.1.0". Compare with CAROM_VERSION_*. */
CAROM_API const char *carom_version(void);

/** Name of a status code: "UNAVAILABLE"; "UNKNOWN" for numbers that are none. Static storage. Any
 *  thread. */
CAROM_API const char *carom_status_name(int status);

/** One sentence that tells a person what a negative errno of this library means and what to do.
 *  Static storage (strerror's for numbers carom does not use). Any thread. */
CAROM_API const char *carom_strerror(int error);

/** What exactly went wrong in this thread's last carom function that failed: names the service,
 *  the method, the sizes. For a remote error of carom_invoke: "type: message". Never NULL; ""
 *  before any failure. Valid until the next carom call of the same thread. */
CAROM_API const char *carom_error_detail(void);

/** CLOCK_MONOTONIC now, in nanoseconds: the clock of every deadline in this API. */
CAROM_API int64_t carom_now_ns(void);

/** Folder where services are found by name: $CAROM_DIR, else $XDG_RUNTIME_DIR/carom, else
 *  /tmp/carom-<uid>. Writes a NUL-terminated path. Does not create it.
 *  Returns 0 or -ENAMETOOLONG. */
CAROM_API int carom_service_folder(char *path, size_t capacity_bytes);

/* ---------------------------------------------------------------- client */

/** Options of carom_client_open. Zero the struct and set size = sizeof(struct ...); 0 in a field
 *  means its default. The host refuses what is beyond its limits. */
struct carom_client_options {
    size_t size;
    uint32_t slots;               /**< calls in flight; power of two, default 256 */
    uint64_t request_block_bytes; /**< largest request; default 64 MiB of address space */
    uint64_t reply_block_bytes;   /**< largest reply; default 64 MiB of address space */
    uint64_t resident_bytes;      /**< memory kept for reuse after large calls; default 256 MiB */
    int64_t spin_ns; /**< longest spin; default what a wake-up costs. Shorter ones are learned */
    bool no_spin;    /**< sleep at once instead of spinning */
    /* Calls of methods that the service declared idempotent are made again when they end with one
     * of these statuses, never past their deadline. Before the first repetition there is no pause
     * when a worker died, because another one takes the call. */
    uint32_t retry_attempts; /**< how often a call is made at most; default 3, 1 never repeats */
    uint32_t retry_statuses; /**< bit 1 << status; default 1 << CAROM_UNAVAILABLE */
    int64_t retry_pause_ns;  /**< longest pause before the second attempt, default 5 ms; it
                                       doubles with each, and is drawn at random from 0 to that */
    int64_t retry_pause_most_ns;  /**< default 1 s */
    int64_t reconnect_timeout_ns; /**< how long carom_call_begin looks for a service that went away;
                                       default 5 s, negative: never reconnects */
};

/** Connects to a service. Its workers need not be ready yet: calls wait for them up to their
 *  deadline. After the host has gone, carom_call_begin connects again by itself.
 *  service     name ("photo"); with a '/' in it, path of the socket; with a '@' in front, the
 *              name of an abstract socket, which has no file
 *  timeout_ns  how long to wait for the service to appear; a host that is there has 250 ms to
 *              answer even if this is less
 *  options     NULL for the defaults
 *  client      receives the client; owned by the caller, ended with carom_client_close
 *  Blocks up to timeout_ns. The client may be shared between threads.
 *  Errors: -ENOENT no such service; -ECONNREFUSED its host is gone; -ETIMEDOUT its host does not
 *  answer; -EACCES this uid is not allowed; -EPROTO another version of carom; -ENOSPC too many
 *  clients; -EINVAL bad option; -EMFILE, -ENOMEM. */
CAROM_API int carom_client_open(const char *service, int64_t timeout_ns,
                                const struct carom_client_options *options,
                                struct carom_client **client);

/** Ends the connection. Every call must have been ended and no other thread may be inside a
 *  function of this client. Running calls are abandoned. NULL is allowed. */
CAROM_API void carom_client_close(struct carom_client *client);

/** Id of a method, to be resolved once and kept for the life of the client, reconnections included.
 *  While no worker has been ready yet every name gets an id; carom_call_begin says if it was wrong.
 *  Returns the id (>= 0), -ENOSYS when the service has no such method (the detail lists those it
 *  has), -EINVAL bad name, -ENOSPC 1024 names are in use. Any thread. Does not block. */
CAROM_API int carom_client_method(struct carom_client *client, const char *name);

/** What happened to a client beside its calls. */
struct carom_client_statistics {
    uint64_t reconnects;  /**< times it connected to a new host */
    uint64_t retries;     /**< attempts beyond the first, of all calls */
    int64_t connected_ns; /**< when the present connection was made */
    bool connected;       /**< as far as it knows */
};
/** Any thread. Does not block. Returns 0 or -ECHILD. */
CAROM_API int carom_client_statistics(struct carom_client *client,
                                      struct carom_client_statistics *statistics);

/** Slots of this client's lane: the most calls that can be in flight. */
CAROM_API uint32_t carom_client_slots(const struct carom_client *client);

/** Flags of carom_call_begin. */
enum {
    CAROM_NOWAIT = 1,        /**< no free slot: return -EAGAIN instead of waiting for one */
    CAROM_NOTIFY = 2,        /**< carom_client_next will return this call when it is done */
    CAROM_INTERRUPTIBLE = 4, /**< a signal ends the waiting of carom_call_begin: -EINTR */
};

/** Begins a call: takes a slot with its request block and its reply block.
 *  method      id from carom_client_method
 *  timeout_ns  for the whole call, from now on; CAROM_FOREVER for none
 *  flags       CAROM_NOWAIT, CAROM_NOTIFY, CAROM_INTERRUPTIBLE, or 0
 *  call        receives the call; must be ended with carom_call_end in every case
 *  Blocks while every slot is in use, while the service starts, and while it is away (see
 *  reconnect_timeout_ns; calls of the lost connection must be ended first), up to the timeout. Any
 *  thread.
 *  Errors: -EAGAIN (CAROM_NOWAIT: would block), -ETIMEDOUT, -EINVAL, -ENOSYS no such method,
 *  -EHOSTDOWN the host is gone, -ESHUTDOWN the service is stopping, -EINTR (CAROM_INTERRUPTIBLE: a
 *  signal arrived, begin again), -ECHILD after fork. With CAROM_NOWAIT a service that went away is
 *  looked for once. */
CAROM_API int carom_call_begin(struct carom_client *client, int method, int64_t timeout_ns,
                               unsigned flags, struct carom_call **call);

/** Memory in which to write the request, before carom_call_submit; aligned to 64 bytes.
 *  capacity_bytes  receives its size; may be NULL. The content is that of an older call.
 *  Valid until carom_call_end; do not write to it after carom_call_submit. */
CAROM_API void *carom_call_request(struct carom_call *call, size_t *capacity_bytes);

/** Hands the request to the workers. Does not block; wakes a worker when all of them sleep.
 *  length_bytes  how much of the request block is used
 *  Errors: -EMSGSIZE longer than the block, -EALREADY submitted before, -ECHILD. */
CAROM_API int carom_call_submit(struct carom_call *call, size_t length_bytes);

/** Waits until the call is done: spins as long as that paid recently, then sleeps.
 *  Returns the status (0 = CAROM_OK, else the worker's error), or -ETIMEDOUT the deadline passed,
 *  -EHOSTDOWN the host died (the call may have run), -ESHUTDOWN it stopped, -EINTR a signal arrived
 *  while it slept (the call goes on: wait again), -EINVAL not submitted, -ECHILD, -EPROTO the peer
 *  wrote nonsense. One thread per call. May be repeated. A call of an idempotent method is made
 *  again as the client's options say (retry_attempts); the wait includes pauses and attempts. */
CAROM_API int carom_call_wait(struct carom_call *call);

/** Like carom_call_wait, but returns -EAGAIN instead of waiting. When an attempt has failed and
 *  there is to be another, it returns -EAGAIN during the pause and makes the attempt after it. */
CAROM_API int carom_call_poll(struct carom_call *call);

/** The reply of a call that ended with CAROM_OK: read-only memory of the lane, valid until
 *  carom_call_end. NULL before that and for any other outcome. */
CAROM_API const void *carom_call_reply(struct carom_call *call, size_t *length_bytes);

/** One link of the chain behind an error: what was raised before it, "caused by". */
struct carom_cause {
    const char *type;
    const char *message;
};
/** Longest chain that is reported; what lies further back is in the traceback. */
#define CAROM_CAUSES_MAX 16

/** What a remote error looks like. Every string is NUL-terminated, never NULL, and lives until
 *  carom_call_end. */
struct carom_error {
    int status;            /**< enum carom_status */
    int32_t worker;        /**< id of the worker that answered, or that died; -1 none */
    int64_t time_ns;       /**< when it failed, nanoseconds of CLOCK_REALTIME; 0 unknown */
    const char *type;      /**< "ValueError"; "carom.WorkerDied" when the worker died; when it was
                                the second that this request killed, "carom.PoisonRequest" */
    const char *message;   /**< the exception's text; for a dead worker how it died */
    const char *traceback; /**< the worker's traceback, "" if none */
    uint32_t cause_count;  /**< direct cause first */
    const struct carom_cause *causes;
};

/** Details of a call that ended with a status other than CAROM_OK.
 *  Returns 0, -EINVAL when the call has no error, or -ENOMEM. */
CAROM_API int carom_call_error(struct carom_call *call, struct carom_error *error);

/** Asks for the call to be dropped. A call that no worker has claimed never runs and ends with
 *  CAROM_CANCELLED; one that runs sees carom_request_cancelled turn true and ends as its handler
 *  decides. Does not block. Returns 0, or -EINVAL if not submitted. */
CAROM_API int carom_call_cancel(struct carom_call *call);

/** Ends a call, whatever its state. One that still runs is abandoned: its slot comes back when the
 *  worker is through with it. After this the pointer is invalid. NULL is allowed. */
CAROM_API void carom_call_end(struct carom_call *call);

/** A pointer of the caller's own, kept with the call until carom_call_end. */
CAROM_API void carom_call_set_data(struct carom_call *call, void *data);
CAROM_API void *carom_call_data(const struct carom_call *call);

/** Waits for any call begun with CAROM_NOTIFY to be done, in the order in which they are found.
 *  call  receives it; use carom_call_poll for its status. Each call is returned once per attempt:
 *        carom_call_poll returns -EAGAIN when it has made an idempotent call again (of these calls
 *        without a pause), and the call is returned once more.
 *  Returns 0, -ETIMEDOUT, -ENODATA when no such call is in flight, -EHOSTDOWN, -ECHILD. */
CAROM_API int carom_client_next(struct carom_client *client, int64_t timeout_ns,
                                struct carom_call **call);

/** One whole call, copied in and out.
 *  reply        where to put the reply; may be NULL when reply_capacity_bytes is 0
 *  reply_bytes  receives the length of the reply; may be NULL
 *  Returns the status as carom_call_wait does (remote error: see carom_error_detail); any error of
 *  carom_call_begin, carom_call_submit and carom_call_wait except -EINTR; or -ENOBUFS when the
 *  reply is larger than reply_capacity_bytes (reply_bytes says how large). A call of an idempotent
 *  method that lost its connection is made again on the next one, within attempts and deadline.
 *  Blocks up to the timeout. Any thread. */
CAROM_API int carom_invoke(struct carom_client *client, int method, const void *request,
                           size_t request_bytes, void *reply, size_t reply_capacity_bytes,
                           size_t *reply_bytes, int64_t timeout_ns);

/* ---------------------------------------------------------------- worker */

/** Executes one call. Must finish it with carom_request_reply or carom_request_fail, once. */
typedef void carom_handler(void *context, struct carom_request *request);

/** A method that a worker serves. */
struct carom_method {
    const char *name;       /**< 1 to CAROM_METHOD_NAME_MAX bytes, UTF-8, no NUL */
    carom_handler *handler; /**< for carom_worker_run; NULL when carom_worker_take is used */
    void *context;          /**< first argument of the handler */
    unsigned flags;         /**< CAROM_IDEMPOTENT or 0 */
};
/** Flag of a method: running it twice does no more harm than once, so clients may repeat it. */
enum { CAROM_IDEMPOTENT = 1 };

/** Options of carom_worker_open; zero the struct and set size. */
struct carom_worker_options {
    size_t size;
    int64_t spin_ns; /**< longest spin; default what a wake-up costs. Shorter ones are learned */
    bool no_spin;    /**< sleep at once instead of spinning */
    bool stand_in;   /**< answers because no other worker can: does not make the service ready */
};

/** Joins a service as a worker.
 *  methods     the methods it serves; copied. carom_request_method gives indexes into this array
 *  timeout_ns  how long to wait for the host to appear
 *  Errors: as carom_client_open; -EEXIST a method is named twice; -EINVAL bad name. */
CAROM_API int carom_worker_open(const char *service, const struct carom_method *methods,
                                size_t method_count, int64_t timeout_ns,
                                const struct carom_worker_options *options,
                                struct carom_worker **worker);

/** Leaves the service. A request taken and not finished is answered CAROM_INTERNAL. */
CAROM_API void carom_worker_close(struct carom_worker *worker);

/** Id of this worker within its service. */
CAROM_API int carom_worker_id(const struct carom_worker *worker);

/** Which call it runs: index of the method in the array given to carom_worker_open, -1 none.
 *  since_ns  receives when it was claimed (CLOCK_MONOTONIC, exact to one clock tick)
 *  Any thread; async-signal-safe. */
CAROM_API int carom_worker_running(const struct carom_worker *worker, int64_t *since_ns);

/** Takes the next call: spins as long as that paid recently, then sleeps.
 *  Expired calls are answered CAROM_DEADLINE_EXCEEDED on the way and never returned.
 *  request  receives the call; finish it before the next take
 *  Returns 0, -ETIMEDOUT, -ESHUTDOWN the service is stopping or carom_worker_stop was called,
 *  -EHOSTDOWN the host died, -EINTR a signal arrived, -EBUSY a request is not finished, -ECHILD. */
CAROM_API int carom_worker_take(struct carom_worker *worker, int64_t timeout_ns,
                                struct carom_request **request);

/** Like carom_worker_take, but never sleeps: spins for at most spin_ns (less when spinning did not
 *  pay recently), then returns -EAGAIN. For callers that must give something up before sleeping,
 *  such as an interpreter lock. */
CAROM_API int carom_worker_poll(struct carom_worker *worker, int64_t spin_ns,
                                struct carom_request **request);

/** Takes calls and gives them to their handlers until the service stops.
 *  Returns 0 after carom_worker_stop or an orderly stop of the service, else as carom_worker_take
 *  (it goes on after -EINTR). */
CAROM_API int carom_worker_run(struct carom_worker *worker);

/** Makes carom_worker_take and carom_worker_run return. Any thread; async-signal-safe. */
CAROM_API void carom_worker_stop(struct carom_worker *worker);

/** Index of the method in the array given to carom_worker_open. */
CAROM_API int carom_request_method(const struct carom_request *request);

/** The request: read-only shared memory, valid until the request is finished. The client can
 *  change it meanwhile: read each byte you decide on once. Aligned to 64 bytes. */
CAROM_API const void *carom_request_data(const struct carom_request *request, size_t *length_bytes);

/** Memory in which to build the reply; valid until the request is finished. Aligned to 64 bytes. */
CAROM_API void *carom_request_reply_block(struct carom_request *request, size_t *capacity_bytes);

/** Finishes with CAROM_OK; the first length_bytes of the reply block are the reply.
 *  Returns 0, or -EMSGSIZE longer than the block (the request is then not finished). */
CAROM_API int carom_request_reply(struct carom_request *request, size_t length_bytes);

/** Finishes with an error.
 *  status   1 to 16; anything else becomes CAROM_UNKNOWN
 *  type, message, traceback  NUL-terminated UTF-8 or NULL; copied, shortened at the end when they
 *           do not fit the reply block. */
CAROM_API void carom_request_fail(struct carom_request *request, int status, const char *type,
                                  const char *message, const char *traceback);

/** As carom_request_fail, with a chain of causes. error->worker is not used; a time of 0 is now. */
CAROM_API void carom_request_fail_with(struct carom_request *request,
                                       const struct carom_error *error);

/** Whether the client has asked to drop this call, or has left. One atomic load. */
CAROM_API bool carom_request_cancelled(const struct carom_request *request);

/** Absolute deadline of the call, INT64_MAX for none. */
CAROM_API int64_t carom_request_deadline(const struct carom_request *request);

/** Who calls, as the kernel told the host. */
struct carom_peer {
    int32_t id; /**< of the client, or of the worker, within the service */
    pid_t pid;  /**< as the host sees it; 0 if it is in a foreign PID namespace */
    uid_t uid;
};
CAROM_API void carom_request_client(const struct carom_request *request, struct carom_peer *peer);

/** Memory of a request that outlives it. */
enum carom_block { CAROM_REQUEST_BLOCK = 0, CAROM_REPLY_BLOCK = 1 };

/** Turns the first length_bytes at the address of a block into private memory of this process, with
 *  the same content, that stays valid after the request is finished; the worker maps the shared
 *  block elsewhere. For pointers that escaped and cannot be taken back. To be called right before
 *  finishing the request; afterwards carom_request_data / _reply_block give the new address of the
 *  shared block. Release the memory with carom_detached_free.
 *  Returns 0, -EINVAL or -ENOMEM. */
CAROM_API int carom_request_detach(struct carom_request *request, enum carom_block block,
                                   size_t length_bytes);

/** Releases memory that carom_request_detach made private, with the same length. Any thread, at any
 *  time, also after the worker was closed. NULL is allowed. */
CAROM_API void carom_detached_free(void *address, size_t length_bytes);

/* ---------------------------------------------------------------- host */

/** Options of carom_host_open; zero the struct and set size. */
struct carom_host_options {
    size_t size;
    uint32_t max_clients;      /**< default and most 1024 */
    uint32_t max_workers;      /**< default and most 256 */
    uint32_t max_slots;        /**< per client; default 4096 */
    uint64_t max_block_bytes;  /**< per request or reply; default 1 GiB */
    const uid_t *allowed_uids; /**< who may connect besides the host's own uid; copied */
    size_t allowed_uid_count;
    const char
        *quarantine_folder; /**< where a request that killed two workers is written; copied */
    int event_fd; /**< a pipe that gets one line per event; 0 none. Written without waiting: what
                       does not fit is lost. Fields are separated by tabs:
                       died WORKER PID CALLS HOW      a worker died, and so many calls with it
                       quarantined METHOD PATH ERROR  a request was written, or why it was not
                       refused PID UID REASON         a peer was not admitted, or a worker cannot
                                                      serve it
                       poisoned CLIENT PID            a client wrote nonsense: disconnected */
};

/** Claims a service name and listens on its socket. A socket left by a killed host is taken over.
 *  Errors: -EADDRINUSE another live host serves this name; -EACCES the folder belongs to somebody
 *  else; -ENAMETOOLONG; -EINVAL bad name or option; -EMFILE, -ENOMEM. */
CAROM_API int carom_host_open(const char *service, const struct carom_host_options *options,
                              struct carom_host **host);

/** Serves peers until carom_host_stop: hands out memory, watches who is alive, cleans up after the
 *  dead. Blocks; run it in a process of its own or on a thread. Returns 0 after carom_host_stop. */
CAROM_API int carom_host_run(struct carom_host *host);

/** Announces the stop to clients and workers and makes carom_host_run return. Any thread;
 *  async-signal-safe. */
CAROM_API void carom_host_stop(struct carom_host *host);

/** Waits until at least `workers` workers are ready. Returns 0, -ETIMEDOUT, -ESHUTDOWN. Needs
 *  carom_host_run on another thread. */
CAROM_API int carom_host_wait_ready(struct carom_host *host, uint32_t workers, int64_t timeout_ns);

/** Closes the socket, removes its file, disconnects every peer. Not while carom_host_run runs. */
CAROM_API void carom_host_close(struct carom_host *host);

/* For whoever keeps the workers of a host alive. All of these: any thread, beside carom_host_run;
 * they wait for the host's present event at most. */

/** Says how a process ended, or why it will, to callers that its end leaves without a reply: "was
 *  killed by SIGKILL: out of memory". To be called before the process is reaped. Without it the
 *  host finds the signal out for children of its own process. text: copied, up to 255 bytes. */
CAROM_API void carom_host_note_end(struct carom_host *host, pid_t pid, const char *text);

/** Asks the workers of a process to leave: they finish the call they run, take no other, and
 *  carom_worker_take returns -ESHUTDOWN. Returns how many workers were asked, or -ENOMEM when one
 *  could not be: ask again. */
CAROM_API int carom_host_dismiss(struct carom_host *host, pid_t pid);

/** Calls that no worker has claimed yet. */
struct carom_waiting {
    uint64_t calls;
    int64_t oldest_ns; /**< how long the first in some ring has been seen there by this function, at
                            least: call it regularly */
};
CAROM_API void carom_host_waiting(struct carom_host *host, struct carom_waiting *waiting);

enum carom_service_state {
    CAROM_STARTING = 0, /**< no worker is ready yet */
    CAROM_READY = 1,
    CAROM_STOPPING = 2, /**< its end has begun: no call begins any more */
    CAROM_DEGRADED = 3, /**< calls are served, by fewer workers than wanted */
    CAROM_FAILING = 4,  /**< workers keep dying: calls are answered CAROM_UNAVAILABLE */
    CAROM_DRAINING = 5, /**< running calls are finished, others answered CAROM_UNAVAILABLE */
};

/** Longest text of carom_host_describe. */
#define CAROM_DESCRIPTION_MAX 16383

/** Says how the service is, for tools (carom_observer_description). Until this is called the state
 *  is CAROM_STARTING or CAROM_READY by the number of workers.
 *  text  copied. Returns 0, -EINVAL bad state, -EMSGSIZE longer than CAROM_DESCRIPTION_MAX. */
CAROM_API int carom_host_describe(struct carom_host *host, enum carom_service_state state,
                                  const char *text);

/* ---------------------------------------------------------------- observer */

struct carom_service_info {
    char name[CAROM_SERVICE_NAME_MAX + 1];
    int state; /**< enum carom_service_state */
    pid_t host_pid; /**< as the host itself sees it */
    uint32_t method_count;
    uint32_t worker_count;
    uint32_t client_count;
    int64_t started_ns; /**< CLOCK_MONOTONIC */
};

struct carom_worker_info {
    struct carom_peer peer;
    int64_t joined_ns;
    uint64_t calls;          /**< finished, whatever the status */
    uint64_t errors;         /**< of those, not CAROM_OK */
    uint64_t expired;        /**< answered CAROM_DEADLINE_EXCEEDED without running */
    uint64_t busy_ns;        /**< time spent in calls */
    uint64_t handler_p50_ns; /**< median of claim to reply, from the histogram (within 20 %) */
    uint64_t handler_p99_ns;
    int32_t running_method;   /**< id of the method it runs, -1 none */
    int64_t running_since_ns; /**< when that call was claimed, CLOCK_MONOTONIC */
};

struct carom_client_info {
    struct carom_peer peer;
    int64_t joined_ns;
};

/** Connects read-only, for tools. Errors as carom_client_open, but waits for no worker. */
CAROM_API int carom_observer_open(const char *service, struct carom_observer **observer);
CAROM_API void carom_observer_close(struct carom_observer *observer);

/** The service as it is now. Fields are read one by one while others write. Returns 0, or
 *  -EHOSTDOWN when the host has gone. */
CAROM_API int carom_observer_service(struct carom_observer *observer,
                                     struct carom_service_info *info);

/** Up to capacity workers (clients); returns how many there are, which may be more. */
CAROM_API int carom_observer_workers(struct carom_observer *observer,
                                     struct carom_worker_info *infos, size_t capacity);
CAROM_API int carom_observer_clients(struct carom_observer *observer,
                                     struct carom_client_info *infos, size_t capacity);

/** The text of carom_host_describe, NUL-terminated, "" if there is none. Returns its length, or
 *  -EAGAIN when it changed all the time, -ENOBUFS when it is longer than the buffer, -EPROTO. */
CAROM_API int carom_observer_description(struct carom_observer *observer, char *text,
                                         size_t capacity_bytes);

/** Name of a method by its id; "" beyond the last one. Valid until carom_observer_close. */
CAROM_API const char *carom_observer_method(struct carom_observer *observer, uint32_t method);

/* ---------------------------------------------------------------- a pool of one's own */

/** Options of carom_launch; zero the struct and set size. */
struct carom_launch_options {
    size_t size;
    const char *python; /**< interpreter that has carom; default $CAROM_PYTHON, else python3. A path
                             is relative to the current folder, a name is looked for in $PATH */
    const char *folder; /**< where the application is found; default the current one */
    const char *const *arguments; /**< further options of `carom serve`, ending in NULL */
    int64_t timeout_ns;           /**< for all workers to be ready; default 60 s */
};

/** Starts a service of this program's own: host and Python workers as child processes, on a private
 *  socket whose name cannot be guessed. They end with carom_pool_close and when this process ends,
 *  however that happens; nothing stays behind. Standard output and error are this program's,
 *  standard input is empty, no other descriptor of this program is passed on. They are a session
 *  of their own, so that Ctrl-C reaches this program alone.
 *  application  "module:service", as for `carom serve`
 *  workers      processes; 0 means 1
 *  options      NULL for the defaults
 *  pool         receives the pool; owned by the caller
 *  Blocks until every worker is ready. Any thread, which may end; the pool does not depend on it.
 *  Errors: -ENOENT no such interpreter or folder; -ENOEXEC the service could not start:
 *  carom_error_detail has Python's traceback (of a very long one the end); -ETIMEDOUT; -EACCES,
 *  -EINVAL, -EMFILE, -ENOMEM. Nothing is left running. */
CAROM_API int carom_launch(const char *application, uint32_t workers,
                           const struct carom_launch_options *options, struct carom_pool **pool);

/** Name of its service, for carom_client_open. Valid until carom_pool_close. */
CAROM_API const char *carom_pool_service(const struct carom_pool *pool);

/** Process id of its supervisor. */
CAROM_API pid_t carom_pool_pid(const struct carom_pool *pool);

/** Ends the service: running calls are finished up to its graceful timeout. Blocks until every
 *  process of it has ended; one that has not 10 s after that time is killed. In a forked child it
 *  frees memory only. NULL is allowed. Different pools may be closed by different threads. */
CAROM_API void carom_pool_close(struct carom_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
