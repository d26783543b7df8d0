"""Distributed speech emotion recognition from audio and text, on Ray."""

__version__ = "0.1.0"
