"""Runs the service on several machines: Ray Serve and NVIDIA Triton (docs/scale.md)."""
