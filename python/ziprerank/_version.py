"""The version, which the build and CMake read from here; a test holds the citation and the chart to it."""

__version__ = "0.1.0"
