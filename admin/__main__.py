"""`python -m admin` is `farshore`."""

import sys

from admin.cli import main

sys.exit(main())
