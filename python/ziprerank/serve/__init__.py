"""The HTTP service of ``ziprerank serve`` (extra ``serve``; docs/serve.md), built by ``app.create_app``."""
