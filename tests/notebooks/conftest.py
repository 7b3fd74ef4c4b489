"""A JupyterLab and a browser, for all tests of notebooks that want them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.notebooks.notebooks import NGROK, NOTEBOOKS, ROOT


@pytest.fixture(scope="session")
def browser() -> str:
    """A Chromium's path."""
    from tests.notebooks.browsing import BROWSERS

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab of its own that has copies of the notebooks."""
    from tests.notebooks.browsing import NOWHERE, SETTINGS, TOKEN, wait_for

    folder = tmp_path_factory.mktemp("lab")
    root = folder / "root"
    root.mkdir()
    for notebook in NOTEBOOKS:
        shutil.copy(notebook, root)
    for name, values in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"},
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE),
        **{"PYTHONPATH": str(ROOT), "PIP_NO_INDEX": "1", "BGREMOVE_HOME": str(folder / "home")},
        **{"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTER_CONFIG_DIR": str(folder / "config")},
        **{"JUPYTERLAB_WORKSPACES_DIR": str(folder / "spaces"), "IPYTHONDIR": str(folder / "ipython")},
        **{"JUPYTER_DATA_DIR": str(folder / "data"), "JUPYTER_RUNTIME_DIR": str(folder / "run")},
        **{"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        **{"NGROK_AUTHTOKEN": "of_these_tests_only", "PYNGROK_NGROK_PATH": str(NGROK)},
    }
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"),
        *(f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"),
        f"--ServerApp.root_dir={root}",
    ]
    log = folder / "log.txt"
    with log.open("wb") as file:
        server = subprocess.Popen(
            command, cwd=root, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/api/status?token={TOKEN}", server, log)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # its kernels with it
        server.wait(60)
