"""The page of `mscsa demo`: images in, what models with and without MSCSA say, side by side.

What is shown is worked out without gradio; `mscsa.demo.page` alone imports it.
"""
