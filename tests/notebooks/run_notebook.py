"""Run a notebook whole, in a process of its own: ``python -m tests.notebooks.run_notebook IN OUT``.

Prints the CPU seconds that the kernel and all it started took.
"""

from __future__ import annotations

import resource
import sys

import nbformat
from nbclient import NotebookClient


def run(source: str, target: str) -> float:
    """Execute `source`, write what came of it to `target`; a cell that fails does not stop the others."""
    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", allow_errors=True).execute()
    nbformat.write(notebook, target)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(f"{run(*sys.argv[1:]):.1f}")
