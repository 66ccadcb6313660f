"""Baseline, +MSCSA, and a control of the same MACs: the same recipe, the same seeds."""
