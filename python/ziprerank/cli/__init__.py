"""The command line, ``ziprerank``: a module a command."""
