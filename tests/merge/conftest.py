"""The way to the kit of the name server's tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "dc" / "names"))
