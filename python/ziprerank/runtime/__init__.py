"""Finds the installed ONNX Runtime and what each execution provider needs."""
