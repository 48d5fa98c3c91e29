# SPDX-License-Identifier: Apache-2.0
import carom

service = carom.Service("hello")


@service.method
def greet(request: memoryview) -> bytes:
    return b"Hello, " + request + b"!"
