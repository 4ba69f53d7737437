"""The model in training: prompts, pixels, the vision tower, the whole pass and its losses."""
