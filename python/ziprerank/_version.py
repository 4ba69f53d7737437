"""The version of the package; a test holds CMakeLists.txt, pyproject.toml, the citation and the chart to it."""

__version__ = "0.1.0"
