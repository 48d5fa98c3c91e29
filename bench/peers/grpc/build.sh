#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Builds the gRPC peer's caller, $BUILD/client: C++ from echo.proto, linked with the driver.
set -eu
driver="$BUILD/../../driver/libdriver.a"
mkdir -p "$BUILD"
protoc --cpp_out="$BUILD" --grpc_out="$BUILD" \
    --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" echo.proto
flags="-std=gnu++17 -O2 -g -pthread -Wall -Wextra -I$BUILD -I$BENCH -I$BENCH/driver"
"${CXX:-g++}" $flags $(pkg-config --cflags grpc++ protobuf) -o "$BUILD/client" transport.cc \
    "$BUILD/echo.pb.cc" "$BUILD/echo.grpc.pb.cc" "$driver" \
    $(pkg-config --libs grpc++ protobuf) -lm
