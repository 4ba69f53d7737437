"""Page workers: child processes in which PDFs are parsed and rendered and images are decoded, and their pool."""
