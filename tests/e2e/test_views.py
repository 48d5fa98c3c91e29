# SPDX-License-Identifier: Apache-2.0
"""Views that outlive their call keep their own bytes: never another call's, never a crash.

One client calls one after the other, so the next call uses the same slot and the same memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time

import carom
import pytest
from conftest import Serve
from processes import Served, until

DATA = b"the first call's bytes"
PAGES = os.urandom(3 * 4096 + 77) + b"z"


def overwrite(lab: carom.Client, size: int) -> None:
    for byte in b"ABCDEFGH":
        data = bytes([byte]) * (size + 100)
        assert lab.call("echo", data) == data


@pytest.fixture(autouse=True)
def forgotten(lab: carom.Client) -> None:
    lab.call("forget")


@pytest.mark.parametrize("data", [DATA, PAGES, b"x", b""], ids=["small", "pages", "one", "none"])
@pytest.mark.parametrize("how", ["keep", "keep_numpy", "keep_exporter"])
def test_a_stored_view_keeps_the_bytes_of_its_own_call(
    lab: carom.Client, how: str, data: bytes
) -> None:
    lab.call(how, data)
    overwrite(lab, len(data))
    assert lab.call("read") == data


@pytest.mark.parametrize("data", [DATA, PAGES], ids=["small", "pages"])
def test_a_stored_slice_keeps_the_bytes_of_its_own_call(lab: carom.Client, data: bytes) -> None:
    lab.call("keep_slice", data)
    overwrite(lab, len(data))
    assert lab.call("read") == data[1:]


def test_a_stored_cast_keeps_the_bytes_of_its_own_call(lab: carom.Client) -> None:
    lab.call("keep_cast", DATA)
    overwrite(lab, len(DATA))
    assert lab.call("read") == DATA


def test_two_slices_of_one_request_share_its_private_copy(lab: carom.Client) -> None:
    lab.call("keep_two", DATA)
    overwrite(lab, len(DATA))
    assert lab.call("read") == DATA[:2]


def test_an_address_is_safe_as_long_as_the_memoryview_is_referenced(lab: carom.Client) -> None:
    lab.call("keep_address", PAGES)
    overwrite(lab, len(PAGES))
    assert lab.call("read_address", str(len(PAGES)).encode()) == PAGES


def test_a_weak_reference_does_not_keep_a_view(lab: carom.Client) -> None:
    lab.call("keep_weak", DATA)
    assert lab.call("read_weak") == b"None"


def test_a_view_that_was_hashed_shows_the_next_request_with_its_own_hash(
    lab: carom.Client,
) -> None:
    for i in range(20):
        assert lab.call("hash_of", b"content %d" % i) == b"True"


def test_a_handler_may_release_its_view(lab: carom.Client) -> None:
    for i in range(20):
        assert lab.call("release", b"released %d" % i) == b"released %d" % i


def test_views_found_by_the_garbage_collector_between_calls_show_no_call(
    lab: carom.Client,
) -> None:
    lab.call("find_views", b"SECRET of a call")
    until(lambda: has_found(lab))
    overwrite(lab, 50)
    assert lab.call("found_bytes", b"SECRET") == b""


def has_found(lab: carom.Client) -> bool:
    time.sleep(0.1)
    try:
        lab.call("found_bytes")
    except carom.RemoteError:
        return False
    return True


def test_a_view_in_the_frames_of_a_stored_exception_keeps_its_bytes(lab: carom.Client) -> None:
    with pytest.raises(carom.RemoteError, match="holds 22 bytes"):
        lab.call("keep_exception", DATA)
    overwrite(lab, len(DATA))
    assert lab.call("read_exception") == DATA + b"|" + DATA


@pytest.mark.parametrize("size", [100, 300_000])
def test_a_thread_that_goes_on_reading_sees_only_the_bytes_of_its_call(
    lab: carom.Client, size: int
) -> None:
    data = os.urandom(size)
    lab.call("keep_in_thread", data)
    for _ in range(30):
        overwrite(lab, size)
    assert json.loads(lab.call("end_thread")) == [hashlib.sha256(data).hexdigest()]


@pytest.mark.parametrize("data", [DATA, PAGES], ids=["small", "pages"])
def test_a_stored_reply_view_is_private_after_its_call(lab: carom.Client, data: bytes) -> None:
    assert lab.call("keep_reply", data) == data
    overwrite(lab, len(data))
    assert lab.call("read") == data


def test_writing_to_a_stored_reply_view_changes_no_other_reply(lab: carom.Client) -> None:
    lab.call("keep_reply", DATA)
    stop = threading.Event()

    def scribble() -> None:
        while not stop.is_set():
            lab.call("scribble", b"!" * len(DATA))

    writer = threading.Thread(target=scribble)
    writer.start()
    for _ in range(30):
        overwrite(lab, len(DATA))
    stop.set()
    writer.join()
    assert lab.call("read") == b"!" * len(DATA)


def test_a_kept_reply_view_shows_the_reply_even_if_it_came_from_elsewhere(
    lab: carom.Client,
) -> None:
    assert lab.call("keep_unused_reply", DATA) == DATA
    overwrite(lab, len(DATA))
    assert lab.call("read") == DATA


def test_memory_of_a_kept_view_is_given_back_with_its_last_reference(lab: carom.Client) -> None:
    lab.call("keep", PAGES)
    before = int(lab.call("maps"))
    for _ in range(200):
        lab.call("keep", PAGES)
        lab.call("keep_reply", PAGES)
    assert int(lab.call("maps")) <= before + 20


def test_views_in_reference_cycles_are_collected_in_the_end(lab: carom.Client) -> None:
    lab.call("keep_cycle", PAGES)
    before = int(lab.call("maps"))
    for _ in range(300):
        lab.call("keep_cycle", PAGES)
    assert int(lab.call("maps")) <= before + 20


def test_a_worker_without_memory_for_a_kept_view_ends_instead_of_sharing_it(
    serve: Serve,
) -> None:
    served = serve()
    with carom.connect("lab") as lab:
        with pytest.raises(carom.RemoteError, match="WorkerDied"):
            lab.call("keep_without_memory", bytes(1 << 24))
        assert lab.call("echo", b"the next worker", timeout=20.0) == b"the next worker"
    assert "cannot keep 16777216 bytes that a handler still refers to" in served.errors
    assert "exited with status 71; starting another" in served.errors


def test_garbage_that_holds_a_view_is_collected_before_memory_is_refused(serve: Serve) -> None:
    served = serve()
    with carom.connect("lab") as lab:
        lab.call("cycle_without_memory", bytes(1 << 24))
        lab.call("restore_memory")
        assert int(lab.call("pid")) == served.worker_pids[0]


def test_kept_views_survive_the_client_that_sent_them(lab_service: Served) -> None:
    path = str(lab_service.log.parent / "lab.sock")
    with carom.connect(path) as first:
        first.call("keep", PAGES)
    with carom.connect(path) as second:
        for _ in range(100):
            second.call("echo", b"x" * len(PAGES))
        assert second.call("read") == PAGES


def test_many_threads_with_handlers_that_keep_views_mix_nothing_up(lab: carom.Client) -> None:
    def many(seed: int) -> None:
        for i in range(100):
            data = f"{seed}/{i}".encode() * 700
            assert lab.call("keep_reply", data) == data
            assert lab.call("echo", data) == data

    threads = [threading.Thread(target=many, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
