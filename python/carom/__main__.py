# SPDX-License-Identifier: Apache-2.0
"""`python -m carom` is the command `carom`."""

import sys

from carom.cli import main

if __name__ == "__main__":
    sys.exit(main())
