"""Page features on disk, kept over restarts and shared by processes."""
