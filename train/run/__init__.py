"""Running a recipe: its file, the loop of every stage, and checkpoints that survive a kill."""
