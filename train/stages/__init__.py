"""What a recipe is made of: each stage's settings and task."""
