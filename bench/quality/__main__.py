"""``python -m bench.quality``."""

from .run import main

main()
