# SPDX-License-Identifier: Apache-2.0
"""HTTP with JSON over loopback TCP: FastAPI and Flask, each on its usual production server."""

from runner.peer import Peer

CALLER = (
    "libcurl over loopback TCP, connections kept alive, one for each call in flight; JSON bodies "
    'with the bytes in base64: {"data": "..."}.'
)

PEERS = (
    Peer(
        name="http-fastapi",
        title="HTTP + JSON, FastAPI",
        group="library",
        caller="C",
        server_language="Python",
        settings=(
            f"{CALLER} FastAPI on uvicorn with uvloop and httptools, an async handler, pydantic "
            "models for request and answer, no access log."
        ),
        server=("{python}", "{peer}/fastapi_server.py"),
        libraries=("-lcurl",),
        packages=("libcurl4-openssl-dev",),
        depth_max=64,
        workers_max=8,
    ),
    Peer(
        name="http-flask",
        title="HTTP + JSON, Flask",
        group="library",
        caller="C",
        server_language="Python",
        settings=(
            f"{CALLER} Flask on gunicorn: gthread workers, which keep connections alive, with 4 "
            "threads each, gunicorn's parser in C, no access log."
        ),
        server=("{python}", "{peer}/flask_server.py"),
        libraries=("-lcurl",),
        packages=("libcurl4-openssl-dev",),
        depth_max=64,
        workers_max=8,
    ),
)
