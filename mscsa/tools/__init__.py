"""What the commands do besides training: what a model is, costs and gains.

Each module gives its result as data and as `report.Table`s; `mscsa_cli` shows and saves them.
"""
