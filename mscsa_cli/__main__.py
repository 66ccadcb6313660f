"""`python -m mscsa_cli` is `mscsa`."""

import sys

from mscsa_cli import main

sys.exit(main())
