"""Training of ZipRerank checkpoints. ``checkpoints/`` holds the one that the default bundle is exported from."""
