"""``python -m ziprerank.cli``: the command line without its script."""

from ziprerank.cli.app import app

app()
