"""What picks the pages that the model reads, where a document has more than one pass takes."""
