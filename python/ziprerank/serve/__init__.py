"""``ziprerank serve``: the reranker behind HTTP (extra ``serve``; docs/serve.md). ``app.create_app`` builds it."""
