"""Backbones that timm lacks, and what MSCSA needs to know of any other."""
