"""Embedded scenes of handwritten digits, for every task."""
