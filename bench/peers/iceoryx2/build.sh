#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the iceoryx2 peer: $BUILD/client (the Rust transport, linked with the driver in C) and
# $BUILD/server. Needs about two minutes the first time.
set -eu
driver="$BUILD/../../driver/libdriver.a"
cargo build --release --locked --quiet --target-dir "$BUILD/cargo"
"${CC:-gcc}" -pthread -o "$BUILD/client" "$driver" "$BUILD/cargo/release/libtransport.a" \
    "$driver" -ldl -lm
cp "$BUILD/cargo/release/server" "$BUILD/server"
