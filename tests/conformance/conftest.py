"""The sweep is run as `tests.conformance` from the repository's root; its tests import it under that name too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
