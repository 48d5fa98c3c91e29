#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the iceoryx peer: $BUILD/client (with the driver) and $BUILD/server. Debian keeps the
# headers in a folder named after the version.
set -eu
driver="$BUILD/../../driver/libdriver.a"
headers=$(ls -d /usr/include/iceoryx/v2.*/ 2>/dev/null | tail -n 1)
[ -n "$headers" ] || { echo "no headers of iceoryx: install libiceoryx-posh-dev" >&2; exit 1; }
libraries="-liceoryx_posh -liceoryx_hoofs -liceoryx_platform"
mkdir -p "$BUILD"
for program in client:transport.cc server:server.cc; do
    "${CXX:-g++}" -std=gnu++17 -O2 -g -pthread -Wall -Wextra -Wl,--as-needed \
        -isystem "$headers" -I"$BENCH" -I"$BENCH/driver" \
        -o "$BUILD/${program%:*}" "${program#*:}" "$driver" $libraries -lm
done
