/* SPDX-License-Identifier: Apache-2.0 */
/* What Python sees of the C library; cffi checks every line of it against carom.h and native.h. */

#define CAROM_METHOD_NAME_MAX 103
#define CAROM_SERVICE_NAME_MAX 63
#define CAROM_DESCRIPTION_MAX 16383

struct carom_client;
struct carom_call;
struct carom_worker;
struct carom_request;
struct carom_host;
struct carom_observer;
typedef void carom_handler(void *context, struct carom_request *request);

const char *carom_version(void);
const char *carom_status_name(int status);
const char *carom_strerror(int error);
const char *carom_error_detail(void);
int64_t carom_now_ns(void);
int carom_service_folder(char *path, size_t capacity_bytes);

struct carom_client_options {
    size_t size;
    uint32_t slots;
    uint64_t request_block_bytes;
    uint64_t reply_block_bytes;
    uint64_t resident_bytes;
    int64_t spin_ns;
    bool no_spin;
    uint32_t retry_attempts;
    uint32_t retry_statuses;
    int64_t retry_pause_ns;
    int64_t retry_pause_most_ns;
    int64_t reconnect_timeout_ns;
};
int carom_client_open(const char *service, int64_t timeout_ns,
                      const struct carom_client_options *options, struct carom_client **client);
void carom_client_close(struct carom_client *client);
int carom_client_method(struct carom_client *client, const char *name);
struct carom_client_statistics {
    uint64_t reconnects;
    uint64_t retries;
    int64_t connected_ns;
    bool connected;
};
int carom_client_statistics(struct carom_client *client,
                            struct carom_client_statistics *statistics);
const void *carom_call_reply(struct carom_call *call, size_t *length_bytes);
struct carom_cause {
    const char *type;
    const char *message;
};
struct carom_error {
    int status;
    int32_t worker;
    int64_t time_ns;
    const char *type;
    const char *message;
    const char *traceback;
    uint32_t cause_count;
    const struct carom_cause *causes;
};
int carom_call_error(struct carom_call *call, struct carom_error *error);
void carom_call_end(struct carom_call *call);

struct carom_method {
    const char *name;
    carom_handler *handler;
    void *context;
    unsigned flags;
};
#define CAROM_IDEMPOTENT 1
struct carom_worker_options {
    size_t size;
    int64_t spin_ns;
    bool no_spin;
    bool stand_in;
};
int carom_worker_open(const char *service, const struct carom_method *methods, size_t method_count,
                      int64_t timeout_ns, const struct carom_worker_options *options,
                      struct carom_worker **worker);
void carom_worker_close(struct carom_worker *worker);
int carom_worker_id(const struct carom_worker *worker);
int carom_worker_running(const struct carom_worker *worker, int64_t *since_ns);
void carom_worker_stop(struct carom_worker *worker);

struct carom_peer {
    int32_t id;
    int pid;
    unsigned int uid;
};

struct carom_host_options {
    size_t size;
    uint32_t max_clients;
    uint32_t max_workers;
    uint32_t max_slots;
    uint64_t max_block_bytes;
    const unsigned int *allowed_uids;
    size_t allowed_uid_count;
    const char *quarantine_folder;
    int event_fd;
};
int carom_host_open(const char *service, const struct carom_host_options *options,
                    struct carom_host **host);
int carom_host_run(struct carom_host *host);
void carom_host_stop(struct carom_host *host);
int carom_host_wait_ready(struct carom_host *host, uint32_t workers, int64_t timeout_ns);
void carom_host_close(struct carom_host *host);
void carom_host_note_end(struct carom_host *host, int pid, const char *text);
int carom_host_dismiss(struct carom_host *host, int pid);
struct carom_waiting {
    uint64_t calls;
    int64_t oldest_ns;
};
void carom_host_waiting(struct carom_host *host, struct carom_waiting *waiting);
enum carom_service_state {
    CAROM_STARTING,
    CAROM_READY,
    CAROM_STOPPING,
    CAROM_DEGRADED,
    CAROM_FAILING,
    CAROM_DRAINING,
};
int carom_host_describe(struct carom_host *host, enum carom_service_state state, const char *text);

struct carom_service_info {
    char name[64];
    int state;
    int host_pid;
    uint32_t method_count;
    uint32_t worker_count;
    uint32_t client_count;
    int64_t started_ns;
};
struct carom_worker_info {
    struct carom_peer peer;
    int64_t joined_ns;
    uint64_t calls;
    uint64_t errors;
    uint64_t expired;
    uint64_t busy_ns;
    uint64_t handler_p50_ns;
    uint64_t handler_p99_ns;
    int32_t running_method;
    int64_t running_since_ns;
};
struct carom_client_info {
    struct carom_peer peer;
    int64_t joined_ns;
};
int carom_observer_open(const char *service, struct carom_observer **observer);
void carom_observer_close(struct carom_observer *observer);
int carom_observer_service(struct carom_observer *observer, struct carom_service_info *info);
int carom_observer_workers(struct carom_observer *observer, struct carom_worker_info *infos,
                           size_t capacity);
int carom_observer_clients(struct carom_observer *observer, struct carom_client_info *infos,
                           size_t capacity);
int carom_observer_description(struct carom_observer *observer, char *text, size_t capacity_bytes);
const char *carom_observer_method(struct carom_observer *observer, uint32_t method);

int carom_py_setup(uintptr_t names, uintptr_t support, uintptr_t builtins);
int carom_py_serve(struct carom_worker *worker, uintptr_t handlers, uintptr_t raised);
struct carom_py_calling {
    struct carom_call *call;
    ...;
};
int carom_py_call(struct carom_client *client, int method, const void *data, size_t length_bytes,
                  int64_t timeout_ns, struct carom_py_calling *calling);
int carom_py_stop_on_sigterm(struct carom_worker *worker, bool stops);
void carom_py_close_worker(struct carom_worker *worker);
int carom_py_interrupt(struct carom_worker *worker, int method, int64_t since_ns,
                       uintptr_t exception);
int carom_py_die_with(int parent);
int carom_py_refuse(struct carom_worker *worker, const char *reason);
int carom_py_become_subreaper(void);

#define CAROM_PY_LOAD_BUCKETS 3712
struct carom_py_load_plan {
    int method;
    const void *data;
    size_t data_bytes;
    uint32_t depth;
    int64_t timeout_ns;
    int64_t begin_ns;
    int64_t measure_ns;
    int64_t end_ns;
    uint64_t calls;
    double interval_ns;
};
struct carom_py_load_error {
    uint64_t count;
    int64_t first_ns;
    char first[320];
};
struct carom_py_load_report {
    int64_t end_ns;
    uint64_t timely;
    uint64_t reply_bytes;
    uint64_t unfinished;
    uint64_t unsent;
    uint64_t delayed;
    int64_t late_max_ns;
    int64_t behind_ns;
    uint64_t total_ns[2];
    int64_t max_ns[2];
    bool full;
    bool lost;
    char lost_text[320];
    struct carom_py_load_error errors[17];
};
struct carom_py_load;
struct carom_py_load *carom_py_load_new(struct carom_client *client,
                                        const struct carom_py_load_plan *plan);
void carom_py_load_free(struct carom_py_load *load);
void carom_py_load_run(struct carom_py_load *load);
void carom_py_load_stop(struct carom_py_load *load);
void carom_py_load_counts(struct carom_py_load *load, bool failed, uint64_t *counts);
uint64_t carom_py_load_bucket_last(uint32_t index);
const struct carom_py_load_report *carom_py_load_report(const struct carom_py_load *load);
