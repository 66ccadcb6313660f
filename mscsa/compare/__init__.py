"""Baseline, +MSCSA, and a control of the same cost: the same recipe, the same seeds."""
