"""Where training examples come from: corpora, rendered documents, the paper's own sets."""
