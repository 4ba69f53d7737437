"""``bench`` is a package at the repository's root, which is not on the path of the tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
