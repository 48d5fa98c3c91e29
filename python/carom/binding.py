# SPDX-License-Identifier: Apache-2.0
"""The one module that touches the ffi: C functions in, typed objects and exceptions out.

Names follow include/carom.h, whose text also says which calls may overlap. cffi releases the GIL
during every function of the library, so a thread that waits in C does not keep others waiting.
"""

from __future__ import annotations

import builtins
import errno
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Lock, RLock, get_ident
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakSet

from carom import failure
from carom._native import ffi, lib
from carom.errors import Cause, UnknownMethodError, remote_error
from carom.library import CData
from carom.records import (
    ClientRecord,
    ClientStatistics,
    ServiceRecord,
    State,
    Waiting,
    WorkerRecord,
)
from carom.status import Status

if TYPE_CHECKING:
    from carom.load import Plan, Report

METHOD_NAME_BYTES: int = lib.CAROM_METHOD_NAME_MAX
SERVICE_NAME_BYTES: int = lib.CAROM_SERVICE_NAME_MAX
DESCRIPTION_BYTES: int = lib.CAROM_DESCRIPTION_MAX
FOREVER = -1
IN_THIS_THREAD = 2
PATH_BYTES = 4096

OS_ERRORS: dict[int, type[OSError]] = {
    errno.EHOSTDOWN: ConnectionResetError,
    errno.ESHUTDOWN: ConnectionAbortedError,
    errno.EPROTO: ConnectionError,
}
OTHER_ERRORS: dict[int, type[Exception]] = {
    errno.ENOSYS: UnknownMethodError,
    errno.EINVAL: ValueError,
    errno.EMSGSIZE: ValueError,
    errno.EEXIST: ValueError,
    errno.ENAMETOOLONG: ValueError,
    errno.ENOMEM: MemoryError,
}


def check(result: int) -> int:
    """Passes 0 or a count on; raises what a negative errno of the library means.

    Built-in types where they fit: FileNotFoundError, ConnectionRefusedError, TimeoutError,
    PermissionError and ChildProcessError by errno, the tables above for the rest, else OSError.
    """
    if result >= 0:
        return result
    detail = text(lib.carom_error_detail())
    advice = text(lib.carom_strerror(result))
    message = detail if advice in detail else f"{detail}: {advice}" if detail else advice
    if -result in OTHER_ERRORS:
        raise OTHER_ERRORS[-result](message)
    raise OS_ERRORS.get(-result, OSError)(-result, message)


def text(string: CData) -> str:
    """A C string as str; a peer may have written anything into it."""
    return ffi.string(string).decode("utf-8", "replace")


def c_string(name: str) -> bytes:
    """A name for C; refuses what C would cut short."""
    encoded = os.fsencode(name)
    if b"\0" in encoded:
        raise ValueError(f"{name!r} contains a NUL character")
    return encoded


SPIN_MOST_S = 3600.0
PAUSE_MOST_S = 86400.0
NEVER = -1


def nanoseconds(timeout: float | None) -> int:
    """Seconds, or None for ever, as the timeout of a C function."""
    if timeout is None or timeout == math.inf:
        return FOREVER
    if not timeout >= 0:
        raise ValueError(f"a timeout is at least 0 seconds, not {timeout}")
    return min(int(timeout * 1e9), 2**63 - 1)


def version() -> str:
    """Version of the C library inside."""
    return text(lib.carom_version())


def service_folder() -> Path:
    """Where services are found by name; need not exist."""
    path = ffi.new("char[]", PATH_BYTES)
    check(lib.carom_service_folder(path, PATH_BYTES))
    return Path(os.fsdecode(ffi.string(path)))


_making_types = Lock()


def native_types() -> dict[str, Any]:
    """The Python types that are made in C, by name. Any thread; the first makes them."""
    with _making_types:
        return _made_types()


@cache
def _made_types() -> dict[str, Any]:
    names: dict[str, Any] = {}
    outcome = lib.carom_py_setup(id(names), id(failure), id(builtins))
    if outcome == -errno.ENOTSUP:
        raise ImportError("a worker runs in the main interpreter of a process, not in another one")
    if outcome != 0:
        raise ImportError("carom._native cannot make its types; the reason stands above")
    return names


def die_with(parent: int) -> bool:
    """Has the kernel kill this process when `parent` dies; False when it has died already."""
    result = lib.carom_py_die_with(parent)
    if result == -errno.ESRCH:
        return False
    check(result)
    return True


def become_subreaper() -> None:
    """Descendants of this process that lose their parent become its children."""
    check(lib.carom_py_become_subreaper())


def forget_sigterm() -> None:
    """In a forked child: SIGTERM ends it, whatever it did to the parent's workers."""
    lib.carom_py_stop_on_sigterm(ffi.NULL, False)


class Handle:
    """One object of the C library, closed once: by close() or when this is collected.

    Other threads may use it meanwhile, by in_use(): then the last of them closes it. A signal
    handler may use it while this thread does.
    """

    closed_text = "this was closed"

    def __init__(self, pointer: CData, close: Callable[[CData], None]) -> None:
        self._owned = ffi.gc(pointer, close)
        self._closed = False
        self.after_fork()
        handles.add(self)

    def after_fork(self) -> None:
        """In the child, too, where the threads that used it are not."""
        self._lock = RLock()
        self._users = 0

    @property
    def _pointer(self) -> CData:
        if self._owned is None:
            raise ValueError(self.closed_text)
        return self._owned

    @contextmanager
    def in_use(self) -> Iterator[CData]:
        """The object itself; close() waits for the end of this."""
        self._enter()
        try:
            yield self._pointer
        finally:
            self._leave()

    def close(self) -> None:
        """Frees it, or lets the last user do it. Everything else raises ValueError from now on."""
        with self._lock:
            idle = self._users == 0
            self._closed = True
        if idle:
            self._free()

    def _enter(self) -> None:
        with self._lock:
            if self._closed:
                raise ValueError(self.closed_text)
            self._users += 1

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._closed and self._users == 0
        if last:
            self._free()

    def _free(self) -> None:
        owned, self._owned = self._owned, None
        if owned is not None:
            ffi.release(owned)


handles: WeakSet[Handle] = WeakSet()


def free_locks() -> None:
    """In a forked child: a lock that another thread held would be held for ever."""
    for handle in list(handles):
        handle.after_fork()


os.register_at_fork(after_in_child=free_locks)


def spin_options(spin: bool | float) -> dict[str, int]:
    """How an options struct says it; ValueError for a time that is none."""
    if isinstance(spin, bool):
        return {"no_spin": not spin}
    if not 0 < spin <= SPIN_MOST_S:
        raise ValueError(f"spin must be True, False or seconds up to {SPIN_MOST_S:g}, not {spin!r}")
    return {"spin_ns": nanoseconds(spin)}


def retry_options(
    attempts: int,
    statuses: Collection[Status],
    pause: float,
    pause_most: float,
    reconnect_timeout: float | None,
) -> dict[str, int]:
    """How an options struct says when a call is made again; ValueError for what cannot be."""
    if not 1 <= attempts < 2**32:
        raise ValueError(f"retry_attempts counts the first attempt: at least 1, not {attempts}")
    wrong = [status for status in statuses if not 1 <= status <= max(Status)]
    if wrong:
        raise ValueError(f"retry_statuses has {wrong[0]!r}, which is no status of an error")
    if not 0 <= pause <= PAUSE_MOST_S:
        raise ValueError(f"retry_pause is 0 to {PAUSE_MOST_S:g} seconds, not {pause}")
    if not pause <= pause_most <= PAUSE_MOST_S:
        raise ValueError(
            f"retry_pause_most is retry_pause ({pause:g}) to {PAUSE_MOST_S:g} seconds, "
            f"not {pause_most}"
        )
    if reconnect_timeout is not None and not reconnect_timeout >= 0:
        raise ValueError(f"reconnect_timeout is at least 0 seconds, not {reconnect_timeout}")
    if not statuses:
        attempts = 1
    reconnect_ns = nanoseconds(reconnect_timeout)
    return {
        "retry_attempts": attempts,
        "retry_statuses": sum(1 << status for status in {*statuses}),
        "retry_pause_ns": max(nanoseconds(pause), 1),  # 0 would mean the default
        "retry_pause_most_ns": max(nanoseconds(pause_most), 1),
        "reconnect_timeout_ns": {FOREVER: 2**63 - 1, 0: NEVER}.get(reconnect_ns, reconnect_ns),
    }


class ClientHandle(Handle):
    """struct carom_client. Thread-safe, close() included: the last call in flight closes it."""

    closed_text = "this client is closed: connect again"

    def __init__(
        self,
        service: str,
        timeout: float | None,
        *,
        spin: bool | float = True,
        **options: int,
    ) -> None:
        fields = {**options, **spin_options(spin)}
        asked = ffi.new("struct carom_client_options *", fields)
        asked.size = ffi.sizeof("struct carom_client_options")
        slot = ffi.new("struct carom_client **")
        check(lib.carom_client_open(c_string(service), nanoseconds(timeout), asked, slot))
        super().__init__(slot[0], lib.carom_client_close)

    def method(self, name: str) -> int:
        """Id of a method, the same for the life of the connection."""
        with self.in_use() as client:
            return check(lib.carom_client_method(client, c_string(name)))

    def statistics(self) -> ClientStatistics:
        """Reconnections, retries."""
        found = ffi.new("struct carom_client_statistics *")
        with self.in_use() as client:
            check(lib.carom_client_statistics(client, found))
        return ClientStatistics(
            reconnects=found.reconnects,
            retries=found.retries,
            connected_ns=found.connected_ns,
            connected=found.connected,
        )

    def call(self, method: int, data: object, timeout_ns: int) -> bytes:
        """One whole call. Raises RemoteError, or what `check` makes of a local failure."""
        request = ffi.from_buffer(data)
        calling = ffi.new("struct carom_py_calling *")
        self._enter()
        try:
            outcome = -errno.EINTR
            while outcome == -errno.EINTR:  # between two rounds Python's signal handlers run
                outcome = lib.carom_py_call(
                    self._pointer, method, request, len(request), timeout_ns, calling
                )
            if outcome != 0:
                raise_outcome(outcome, calling.call)
            length = ffi.new("size_t *")
            reply = lib.carom_call_reply(calling.call, length)
            return bytes(ffi.buffer(reply, length[0]))
        finally:
            lib.carom_call_end(calling.call)
            self._leave()


def raise_outcome(outcome: int, call: CData) -> NoReturn:
    """Raises for a call that did not end with OK: a status, or a negative errno."""
    check(outcome)
    error = ffi.new("struct carom_error *")
    check(lib.carom_call_error(call, error))
    raise remote_error(
        Status(error.status) if 0 < error.status <= max(Status) else Status.UNKNOWN,
        text(error.type),
        text(error.message),
        text(error.traceback),
        error.worker,
        time=error.time_ns / 1e9 if error.time_ns > 0 else None,
        causes=tuple(
            Cause(text(error.causes[i].type), text(error.causes[i].message))
            for i in range(error.cause_count)
        ),
    )


class WorkerHandle(Handle):
    """struct carom_worker. One thread serves; stop() and close() may come from any.

    methods   names, with whether the method is idempotent
    stand_in  answers because no other worker can; does not make the service ready
    """

    def __init__(
        self,
        service: str,
        methods: Mapping[str, bool],
        timeout: float | None,
        *,
        spin: bool | float,
        stand_in: bool = False,
    ) -> None:
        names = [ffi.new("char[]", c_string(name)) for name in methods]
        flags = [lib.CAROM_IDEMPOTENT if idempotent else 0 for idempotent in methods.values()]
        rows = [{"name": name, "flags": flag} for name, flag in zip(names, flags, strict=True)]
        table = ffi.new("struct carom_method[]", rows)
        size = ffi.sizeof("struct carom_worker_options")
        options = ffi.new("struct carom_worker_options *", {"size": size, **spin_options(spin)})
        options.stand_in = stand_in
        slot = ffi.new("struct carom_worker **")
        waited_ns = nanoseconds(timeout)
        check(lib.carom_worker_open(c_string(service), table, len(names), waited_ns, options, slot))
        self._server: int | None = None
        super().__init__(slot[0], lib.carom_py_close_worker)
        self.id = lib.carom_worker_id(self._pointer)

    def after_fork(self) -> None:
        super().after_fork()
        if self._server != get_ident():
            self._server = None
            self._serving = Lock()

    def serve(self, handlers: tuple[tuple[str, object, bool], ...]) -> None:
        """Runs calls until stopped; (name, function, takes_context) in the order of methods."""
        native_types()
        raised: list[BaseException] = []
        self._not_from_handler()
        with self._serving:
            self._server = get_ident()
            try:
                outcome = lib.carom_py_serve(self._pointer, id(handlers), id(raised))
            finally:
                self._server = None
        if raised:
            raise raised[0]
        if outcome != -errno.ESHUTDOWN:
            check(outcome)

    def refuse(self, reason: str) -> None:
        """Answers every call with UNAVAILABLE until stopped, or until the service ends."""
        with self._serving:
            lib.carom_py_refuse(self._pointer, reason.encode("utf-8", "replace"))

    def running(self) -> tuple[int, int] | None:
        """Index of the method of the call it runs and when that was claimed; None: it waits."""
        since_ns = ffi.new("int64_t *")
        with self.in_use() as worker:
            method = lib.carom_worker_running(worker, since_ns)
        return (method, since_ns[0]) if method >= 0 else None

    def interrupt(self, running: tuple[int, int], exception: type[BaseException]) -> bool:
        """Raises in the handler of that call of running(), if it still runs, in its thread.

        True: that is the calling thread, which must raise the exception itself.
        """
        with self.in_use() as worker:
            return lib.carom_py_interrupt(worker, *running, id(exception)) == IN_THIS_THREAD

    def stop(self) -> None:
        """Makes serve() return after the call it runs."""
        with suppress(ValueError), self.in_use() as worker:
            lib.carom_worker_stop(worker)

    def stop_on_sigterm(self) -> None:
        """From now on SIGTERM to this process means stop(). Undone by close()."""
        with self.in_use() as worker:
            check(lib.carom_py_stop_on_sigterm(worker, True))

    def close(self) -> None:
        """Leaves the service, after the call that another thread may be running."""
        self._not_from_handler()
        self.stop()
        with self._serving:
            super().close()

    def abandon(self) -> None:
        """Forgets it without a system call, for when its file descriptors belong to others now."""
        lib.carom_py_stop_on_sigterm(self._pointer, False)
        self._owned = ffi.gc(self._owned, None)

    def _not_from_handler(self) -> None:
        if self._server == get_ident():
            raise RuntimeError("a handler can only stop() its own worker")


class HostHandle(Handle):
    """struct carom_host. run() on one thread; stop() and wait_ready() from any other.

    close() removes the socket and disconnects every peer; not while run() runs.
    """

    def __init__(
        self,
        service: str,
        allowed_uids: Sequence[int],
        *,
        quarantine: str | None = None,
        event_fd: int = 0,
        **limits: int,
    ) -> None:
        uids = ffi.new("unsigned int[]", list(allowed_uids))
        folder = ffi.NULL if quarantine is None else ffi.new("char[]", c_string(quarantine))
        options = ffi.new("struct carom_host_options *", limits)
        options.size = ffi.sizeof("struct carom_host_options")
        options.quarantine_folder = folder
        options.event_fd = event_fd
        options.allowed_uids = uids
        options.allowed_uid_count = len(allowed_uids)
        slot = ffi.new("struct carom_host **")
        check(lib.carom_host_open(c_string(service), options, slot))
        super().__init__(slot[0], lib.carom_host_close)

    def run(self) -> None:
        """Serves peers until stop()."""
        check(lib.carom_host_run(self._pointer))

    def stop(self) -> None:
        """Tells clients and workers, and makes run() return."""
        with self.in_use() as host:
            lib.carom_host_stop(host)

    def wait_ready(self, workers: int, timeout: float | None) -> None:
        """Until so many workers are ready; TimeoutError, ConnectionAbortedError when stopped."""
        with self.in_use() as host:
            check(lib.carom_host_wait_ready(host, workers, nanoseconds(timeout)))

    def note_end(self, pid: int, reason: str) -> None:
        """Before a process is reaped, or killed: what its callers are told."""
        with self.in_use() as host:
            lib.carom_host_note_end(host, pid, reason.encode("utf-8", "replace"))

    def dismiss(self, pid: int) -> int:
        """Asks the workers of a process to leave after their call; how many there are."""
        with self.in_use() as host:
            return check(lib.carom_host_dismiss(host, pid))

    def waiting(self) -> Waiting:
        """Calls that no worker has claimed yet."""
        found = ffi.new("struct carom_waiting *")
        with self.in_use() as host:
            lib.carom_host_waiting(host, found)
        return Waiting(found.calls, found.oldest_ns)

    def describe(self, state: State, description: str) -> None:
        """For tools; ValueError when it is longer than DESCRIPTION_BYTES."""
        with self.in_use() as host:
            check(lib.carom_host_describe(host, state, description.encode()))


class ObserverHandle(Handle):
    """struct carom_observer. One thread at a time."""

    def __init__(self, service: str) -> None:
        slot = ffi.new("struct carom_observer **")
        check(lib.carom_observer_open(c_string(service), slot))
        super().__init__(slot[0], lib.carom_observer_close)

    def service(self) -> ServiceRecord:
        """The service as it is now."""
        info = ffi.new("struct carom_service_info *")
        check(lib.carom_observer_service(self._pointer, info))
        names = (lib.carom_observer_method(self._pointer, i) for i in range(info.method_count))
        return ServiceRecord(
            name=text(info.name),
            state=State(info.state),
            host_pid=info.host_pid,
            methods=tuple(text(name) for name in names),
            worker_count=info.worker_count,
            client_count=info.client_count,
            started_ns=info.started_ns,
        )

    def workers(self) -> list[WorkerRecord]:
        """Every worker with its counters."""
        return [
            WorkerRecord(
                id=info.peer.id,
                pid=info.peer.pid,
                uid=info.peer.uid,
                joined_ns=info.joined_ns,
                calls=info.calls,
                errors=info.errors,
                expired=info.expired,
                busy_ns=info.busy_ns,
                handler_p50_ns=info.handler_p50_ns,
                handler_p99_ns=info.handler_p99_ns,
                running=self._method(info.running_method),
                running_since_ns=info.running_since_ns,
            )
            for info in self._all("struct carom_worker_info[]", lib.carom_observer_workers)
        ]

    def description(self) -> str:
        """What the keeper of the service said of it last; "" if nothing."""
        buffer = ffi.new("char[]", DESCRIPTION_BYTES + 1)
        check(lib.carom_observer_description(self._pointer, buffer, DESCRIPTION_BYTES + 1))
        return text(buffer)

    def _method(self, number: int) -> str | None:
        if number < 0:
            return None
        return text(lib.carom_observer_method(self._pointer, number))

    def clients(self) -> list[ClientRecord]:
        """Every client."""
        return [
            ClientRecord(info.peer.id, info.peer.pid, info.peer.uid, info.joined_ns)
            for info in self._all("struct carom_client_info[]", lib.carom_observer_clients)
        ]

    def _all(self, array: str, get: Callable[[CData, CData, int], int]) -> list[CData]:
        capacity = 64
        while True:
            infos = ffi.new(array, capacity)
            count = check(get(self._pointer, infos, capacity))
            if count <= capacity:
                return [infos[i] for i in range(count)]
            capacity = 2 * count


class LoadHandle(Handle):
    """struct carom_py_load: the calls that `carom bench` makes on one connection.

    run() once, on a thread made for it; stop() from any other; report() after it.
    """

    def __init__(self, client: ClientHandle, method: int, plan: Plan) -> None:
        self._client = client
        self._data = ffi.from_buffer(plan.data)  # kept alive
        asked = ffi.new("struct carom_py_load_plan *")
        asked.method = method
        asked.data = self._data
        asked.data_bytes = len(plan.data)
        asked.depth = plan.depth
        asked.timeout_ns = plan.timeout_ns
        asked.begin_ns = plan.begin_ns
        asked.measure_ns = plan.measure_ns
        asked.end_ns = 2**63 - 1 if plan.end_ns is None else plan.end_ns
        asked.calls = 2**64 - 1 if plan.calls is None else plan.calls
        asked.interval_ns = plan.interval_ns
        with client.in_use() as pointer:
            load = lib.carom_py_load_new(pointer, asked)
        if load == ffi.NULL:
            raise MemoryError(f"no memory for {plan.depth} calls in flight")
        super().__init__(load, lib.carom_py_load_free)

    def run(self) -> None:
        """Makes the calls; changes this thread's signal mask and timer slack for good."""
        with self._client.in_use():
            lib.carom_py_load_run(self._pointer)

    def stop(self) -> None:
        """Makes run() return soon; to be repeated until it has."""
        lib.carom_py_load_stop(self._pointer)

    def report(self) -> Report:
        """What became of the plan."""
        from carom.load import Failures, Report  # workers do without them

        report = lib.carom_py_load_report(self._pointer)
        return Report(
            end_ns=report.end_ns,
            timely=report.timely,
            reply_bytes=report.reply_bytes,
            unfinished=report.unfinished,
            unsent=report.unsent,
            delayed=report.delayed,
            late_max_ns=report.late_max_ns,
            behind_ns=report.behind_ns,
            total_ns=(report.total_ns[0], report.total_ns[1]),
            max_ns=(report.max_ns[0], report.max_ns[1]),
            full=report.full,
            lost=text(report.lost_text) if report.lost else None,
            errors={
                status.name: Failures(error.count, error.first_ns, text(error.first))
                for status, error in zip(Status, report.errors, strict=True)
                if error.count
            },
        )


def latency_counts(loads: Sequence[LoadHandle], *, failed: bool) -> list[int]:
    """Calls so far by latency, of all loads together: of those with OK, or of those that failed.

    Also while they run. The buckets are those of `bucket_lasts`.
    """
    counts = ffi.new("uint64_t[]", lib.CAROM_PY_LOAD_BUCKETS)
    for load in loads:
        lib.carom_py_load_counts(load._pointer, failed, counts)
    return ffi.unpack(counts, lib.CAROM_PY_LOAD_BUCKETS)


@cache
def bucket_lasts() -> list[int]:
    """The largest latency of every bucket of `latency_counts`, in nanoseconds."""
    return [lib.carom_py_load_bucket_last(i) for i in range(lib.CAROM_PY_LOAD_BUCKETS)]
