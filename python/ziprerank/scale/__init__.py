"""The service on more than one machine (docs/scale.md)."""
