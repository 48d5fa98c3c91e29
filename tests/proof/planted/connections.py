# SPDX-License-Identifier: Apache-2.0
"""Planted bugs in what everybody stands on: memory objects, messages, connecting, errors."""

from __future__ import annotations

from planted.bug import bug

BUGS = (
    bug(
        "fork_unseen",
        "a child is not told that it was forked: nothing is refused to it",
        (
            "lib/error.c",
            """    carom__forks++;""",
            """    (void)carom__forks;""",
        ),
    ),
    bug(
        "memfd_refused_fatal",
        "where a filter answers EPERM for memfd_create there is no other kind of memory",
        (
            "lib/segment.c",
            """(errno == ENOSYS || errno == EPERM || errno == EACCES)""",
            """errno == ENOSYS""",
        ),
    ),
    bug(
        "named_for_a_moment",
        "without memfd an object has a name until it is unlinked",
        (
            "lib/segment.c",
            """    int fd = open_nameless();
    return fd < 0 ? open_named() : fd;""",
            """    (void)open_nameless;
    return open_named();""",
        ),
    ),
    bug(
        "unsealed_admitted",
        "memory of another user need not be sealed",
        (
            "lib/segment.c",
            """(seals < 0 || !(seals & F_SEAL_SHRINK))""",
            """seals < 0""",
        ),
    ),
    bug(
        "unchecked_error_record",
        "a client believes the length that a record of an error names",
        (
            "lib/failure.c",
            """ || record.texts_bytes != bytes - sizeof record)""",
            """)""",
        ),
    ),
    bug(
        "leaked_socket",
        "a socket that could not be connected stays open",
        (
            "lib/connection.c",
            """    int error = -errno;
    close(fd);
    return error;""",
            """    return -errno;""",
        ),
    ),
    bug(
        "signal_not_retried",
        "receiving a message gives up when a signal arrives",
        (
            "lib/control.c",
            """    } while (length < 0 && errno == EINTR);""",
            """    } while (false);""",
        ),
    ),
    bug(
        "unchecked_texts",
        "a client that believes how many bytes of text the record of an error has",
        (
            "lib/failure.c",
            """ || record.texts_bytes != bytes - sizeof record)""",
            """)""",
        ),
    ),
)
