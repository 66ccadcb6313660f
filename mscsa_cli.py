"""placeholder so that the package installs; replaced when the commands are written."""


def main() -> None: ...
