"""Separation Multi-task Networks: five landmarks and forty attributes of a face at once."""

__version__ = "0.1.0"
