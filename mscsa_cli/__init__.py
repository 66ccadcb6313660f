"""The `mscsa` command; `main` is its entry."""

from mscsa_cli.commands import main as main
