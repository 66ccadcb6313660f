"""Baseline against +MSCSA: the same recipe, the same seeds."""
