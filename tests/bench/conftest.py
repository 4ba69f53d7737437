"""Puts the repository's root on the path, where the package ``bench`` is."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
