"""``python -m bgremove`` is the command ``bgremove``."""

from bgremove.cli import main

main(prog_name="bgremove")
