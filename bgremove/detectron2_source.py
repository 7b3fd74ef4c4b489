"""Detectron2 without a build: its source at one commit, put into the cache and imported from there.

Detectron2 has no release that pip can install, and compiling it takes minutes. All that Mask R-CNN and
Panoptic FPN need runs from the plain source, as torchvision has the compiled parts. :func:`setup_detectron2`
puts that source in place, and :func:`import_detectron2` imports it. A Detectron2 that is installed is used
instead, as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from bgremove import console
from bgremove.downloads import failure, process_lock, retrieve
from bgremove.errors import BGRemoveError, MissingExtraError, WeightsError
from bgremove.source_archives import manifest, read_archive, tree_id
from bgremove.weights import home


@dataclass(frozen=True)
class Source:
    """A published source tree.

    Attributes:
        url: where an archive of it is downloaded from; its bytes are not always the same.
        commit: what git calls its state.
        tree: what git calls its files: the tree id that the commit names.
        manifest: the SHA-256 of its list of names, modes and SHA-256 digests.
        needs: what it imports, by module, and what to ask pip for.
    """

    url: str
    commit: str
    tree: str
    manifest: str
    needs: Mapping[str, str]


SOURCE = Source(
    url=(
        "https://github.com/facebookresearch/detectron2/archive/"
        "02b5c4e295e990042a714712c21dc79b731e8833.tar.gz"
    ),
    commit="02b5c4e295e990042a714712c21dc79b731e8833",
    tree="d523cdc74ffc15c2412544553f8caaf4803d89b9",
    manifest="3f122655719e24b9bc062681f2418061e586f005f85053369e7aba8752996b85",
    needs={  # as its setup.py says, without what only its build, its drawing and its lazy configs need
        "fvcore": "fvcore>=0.1.5,<0.1.6",
        "iopath": "iopath>=0.1.7,<0.1.10",
        "yacs": "yacs>=0.1.8",
        "omegaconf": "omegaconf>=2.1,<2.4",
        "pycocotools": "pycocotools>=2.0.2",
        "cloudpickle": "cloudpickle",
        "tabulate": "tabulate",
        "termcolor": "termcolor>=1.1",
        "yaml": "pyyaml>=5.1",
    },
)

_COMMAND = "bgremove setup detectron2"
_TORCH = "pip install torch torchvision"
_KEPT = ("detectron2/", "configs/", "projects/", "LICENSE")  # not its documents, tools and tests
_CONFIGS = "detectron2/model_zoo/"  # where it looks for configs/ once it is installed
_MANIFEST = "MANIFEST"


@dataclass(frozen=True)
class SetUp:
    """What was done.

    Attributes:
        path: the folder that holds the package ``detectron2``.
        version: what Detectron2 says of itself.
        commit: the commit of its source; empty if it is an installed one, whose commit is not known.
        compiled: whether it has its compiled part.
        already_there: whether nothing was left to do.
        installed: the packages that pip added, as "name version".
        seconds: how long all of it took.
    """

    path: Path
    version: str
    commit: str
    compiled: bool
    already_there: bool
    installed: tuple[str, ...]
    seconds: float


def detectron2_path() -> Path | None:
    """The folder that holds the package ``detectron2``, installed or set up; None if there is neither."""
    installed = _installed_path()
    if installed is not None:
        return installed
    return _source_path() if _source_path().is_dir() else None


def setup_detectron2(
    archive: Path | None = None, *, say: Callable[[str], None] = console.say, quiet: bool = False
) -> SetUp:
    """Put Detectron2 in place, with what it needs, and import it. Does nothing twice.

    An installed Detectron2 is used as it is. Otherwise the source of one commit goes into the cache, after
    all of its files were checked; and pip adds the packages that are missing, without changing any that
    is there. PyTorch and torchvision have to be there already.

    Args:
        archive: a ``.tar.gz`` or ``.zip`` of that commit, to be used instead of downloading it.
        say: gets a sentence for everything that is done.
        quiet: nothing is said, and no progress shown.

    Raises:
        MissingExtraError: if PyTorch or torchvision is missing, or a package cannot be installed.
        WeightsError: if the source cannot be had, or is not what it should be; then nothing is kept of it.
    """
    start, say = time.monotonic(), console.say_nothing if quiet else say
    _need_torch()
    path, commit, changed, added = _installed_path(), "", False, tuple[str, ...]()
    if path is None:
        commit = SOURCE.commit
        path, changed, added = _set_up_source(archive, say, quiet)
    else:
        say(f"a Detectron2 is installed in {path}; it is used as it is")
    module = import_detectron2()
    seconds = time.monotonic() - start
    compiled = _is_there("detectron2._C")
    say(
        f"ready: Detectron2 {module.__version__} {'with' if compiled else 'without'} its compiled part, "
        f"after {seconds:.0f} s"
    )
    return SetUp(path, module.__version__, commit, compiled, not (changed or added), added, seconds)


def import_detectron2() -> ModuleType:
    """The package ``detectron2``, with ``detectron2.model_zoo``: an installed one, or that of the cache.

    Raises:
        MissingExtraError: if it, or something that it needs, is not there, with the command to run.
        WeightsError: if its source in the cache has been changed.
    """
    path = _installed_path()
    ours = path is None
    if path is None:
        path = _source_path()
        if not path.is_dir():
            raise MissingExtraError(
                f"Detectron2 is needed for this, and is not here: run {_again()}, which puts it in place "
                "without a build"
            )
        _need_torch()
        _verify(path)
        if str(path) not in sys.path:
            sys.path.append(str(path))  # last, so that its folder "projects" hides nobody's
            importlib.invalidate_caches()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what its packages say of each other
            return _import_parts()
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and missing in SOURCE.needs:
            raise MissingExtraError(
                f"Detectron2 needs {missing}, which is not installed: run {_again()}, which installs it"
            ) from error
        raise _broken(path, ours, error) from error
    except Exception as error:  # parts that do not fit each other fail in any way
        raise _broken(path, ours, error) from error


def _again() -> str:
    """What puts everything in place, as the user of a notebook on Colab knows it, or anyone else."""
    return "the cell Set-up again" if "google.colab" in sys.modules else _COMMAND


def _import_parts() -> ModuleType:
    module = importlib.import_module("detectron2")
    for part in ("checkpoint", "config", "modeling"):  # what model_zoo imports, too
        importlib.import_module(f"detectron2.{part}")
    with _pkg_resources():
        importlib.import_module("detectron2.model_zoo")
    return module


@contextlib.contextmanager
def _pkg_resources() -> Iterator[None]:
    """A stand-in for ``pkg_resources`` meanwhile, if it is not there.

    setuptools has not had it since version 82. ``detectron2.model_zoo`` asks it where a config is.
    """
    name = "pkg_resources"
    if "detectron2.model_zoo" in sys.modules or name in sys.modules or _is_there(name):
        yield
        return
    stand_in = ModuleType(name)
    vars(stand_in)["resource_filename"] = _resource_filename
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        del sys.modules[name]


def _resource_filename(package: str, name: str) -> str:
    return str(Path(str(importlib.import_module(package).__file__)).parent / name)


def _broken(path: Path, ours: bool, error: Exception) -> BGRemoveError:
    why = f"{type(error).__name__}: {error}".splitlines()[0]
    packages = _packages()
    versions = [f"{name} {packages.get(name, '')}".rstrip() for name in ("torch", "torchvision")]
    found = f"the Detectron2 in {path} does not work with {' and '.join(versions)} ({why})"
    if ours:
        return MissingExtraError(
            f"{found}; PyTorch and torchvision must be of the same date and kind: "
            f"{_TORCH.replace('install', 'install --upgrade')}"
        )
    return MissingExtraError(
        f"{found}; install it again for these, or remove it (pip uninstall detectron2) and use {_COMMAND}"
    )


def _need_torch() -> None:
    missing = [name for name in ("torch", "torchvision") if not _is_there(name)]
    if missing:
        raise MissingExtraError(
            f"Detectron2 needs PyTorch and torchvision, and {' and '.join(missing)} is not installed; "
            f"choose the kind that fits your machine, or take the usual one: {_TORCH}"
        )


def _source_path() -> Path:
    return home() / "detectron2" / SOURCE.commit


def _installed_path() -> Path | None:
    """The folder of a Detectron2 that Python finds without us."""
    loaded = sys.modules.get("detectron2")
    found = loaded.__spec__ if loaded else find_spec("detectron2")
    if found is None or found.origin is None:  # a mere folder of that name, such as a clone's, has none
        return None
    path = Path(found.origin).resolve().parent.parent
    return None if path == _source_path().resolve() else path


def _set_up_source(
    archive: Path | None, say: Callable[[str], None], quiet: bool
) -> tuple[Path, bool, tuple[str, ...]]:
    """Where the source is, whether it was put there now, and the packages that were added."""
    path = _source_path()
    if path.is_dir() and not _missing():
        _verify(path)
        say(f"Detectron2 is in {path} already, whole and unchanged")
        return path, False, ()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with process_lock(path):
            put = not path.is_dir()
            if put:
                _put_source(path, archive, quiet)
                say(
                    f"put Detectron2 at commit {SOURCE.commit[:8]} (licence: Apache-2.0) into {path}; "
                    f"its files are the published ones (git tree {SOURCE.tree[:8]})"
                )
            else:
                _verify(path)
            return path, put, _install_missing(say, quiet)
    except OSError as error:
        if isinstance(error, BGRemoveError):
            raise
        raise WeightsError(
            f"Detectron2 cannot be put into {path.parent} ({error.strerror or error}); "
            "name another place with BGREMOVE_HOME"
        ) from error


def _put_source(path: Path, archive: Path | None, quiet: bool) -> None:
    """Make the folder `path` from the archive; it appears only when all of it was checked and written."""
    fetched = path.with_name(path.name + ".tar.gz")
    if archive is None:
        _download(fetched, quiet)
    try:
        files = read_archive(archive.expanduser() if archive else fetched)
        found = tree_id(files)
        if found != SOURCE.tree or _sha256(manifest(files).encode()) != SOURCE.manifest:
            raise WeightsError(
                f"{archive or SOURCE.url} does not hold Detectron2 at commit {SOURCE.commit}: git tree "
                f"{SOURCE.tree} was expected, it has {found}; nothing of it was kept: "
                + (f"get {SOURCE.url}" if archive else "try again")
            )
    finally:
        fetched.unlink(missing_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed; the lock is ours
    for name, file in files.items():
        for place in _places(name, file.mode):
            (unfinished / place).parent.mkdir(parents=True, exist_ok=True)
            (unfinished / place).write_bytes(file.data)
    (unfinished / _MANIFEST).write_bytes(manifest(files).encode())
    os.rename(unfinished, path)


def _download(path: Path, quiet: bool) -> None:
    try:
        retrieve(SOURCE.url, path, label="Detectron2 (1 MB)", progress=not quiet)
    except OSError as error:
        raise WeightsError(
            f"Detectron2 could not be downloaded from {SOURCE.url} ({failure(error, path)}); try again, or "
            f"get that file by hand and name it: {_COMMAND} --archive FILE"
        ) from error


def _places(name: str, mode: str) -> list[str]:
    """Where a file of the archive goes; nowhere if nothing needs it, as its links."""
    if mode == "120000" or not name.startswith(_KEPT):
        return []
    return [name, _CONFIGS + name] if name.startswith("configs/") else [name]


def _verify(path: Path) -> None:
    """Check that every file of the source is as it was published.

    Raises:
        WeightsError: if one is not, or cannot be read.
    """
    try:
        listed = (path / _MANIFEST).read_bytes()
        bad = "" if _sha256(listed) == SOURCE.manifest else _MANIFEST
        for line in [] if bad else listed.decode().splitlines():
            mode, digest, name = line.split(" ", 2)
            for place in _places(name, mode):
                if _sha256((path / place).read_bytes()) != digest:
                    bad = place
    except OSError as error:
        bad = Path(str(error.filename)).name
    if bad:
        raise WeightsError(
            f"{bad} in {path} is not as it was published; delete that folder and run {_COMMAND}, or move it "
            "away to keep it"
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _is_there(module: str) -> bool:
    """Whether a module can be found; a mere folder of its name is none."""
    try:
        found = find_spec(module)
    except ValueError:  # it is kept from being imported
        return False
    return found is not None and found.origin is not None


def _missing() -> list[str]:
    """What to ask pip for."""
    return [wanted for module, wanted in SOURCE.needs.items() if not _is_there(module)]


def _install_missing(say: Callable[[str], None], quiet: bool) -> tuple[str, ...]:
    """Add the missing packages, and leave every other one as it is; "name version" of what was added."""
    wanted = _missing()
    if not wanted:
        return ()
    asked = " ".join(f'"{one}"' for one in wanted)
    if not _is_there("pip"):
        raise MissingExtraError(
            f"this Python has no pip, and Detectron2 needs packages; install them in your way, and run this "
            f"again: {asked}"
        )
    say(f"installing {', '.join(wanted)}, and what these need, with pip")
    before = _packages()
    with (
        tempfile.TemporaryDirectory() as folder,
        console.Progress(1, "installing", quiet=quiet),
    ):
        constraints = Path(folder) / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in before.items()))
        pip = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--constraint", constraints, *wanted],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    importlib.invalidate_caches()
    if done.returncode:
        raise MissingExtraError(
            f"pip cannot add what Detectron2 needs without changing what is installed ({_reason(done)}); "
            f"to let it: pip install {asked}"
        )
    added = tuple(f"{name} {version}" for name, version in _packages().items() if before.get(name) != version)
    changed = sorted(set(before) & {one.split()[0] for one in added})
    kept = f"but {', '.join(changed)} changed" if changed else "no package that was there has changed"
    say(f"installed {', '.join(added)}; {kept}")
    return added


def _reason(failed: subprocess.CompletedProcess[str]) -> str:
    """What pip said of its failure, in one line."""
    _, _, conflict = failed.stdout.partition("The conflict is caused by:\n")
    lines = [line.strip() for line in conflict.partition("\n\n")[0].splitlines()]
    lines += [
        line.removeprefix("ERROR: ") for line in failed.stderr.splitlines() if line.startswith("ERROR: ")
    ]
    return "; ".join(lines[:2] if conflict else lines[:1]).rstrip(". ") or f"exit status {failed.returncode}"


def _packages() -> dict[str, str]:
    """The version of every installed package that pip could be held to."""
    from packaging.utils import canonicalize_name
    from packaging.version import InvalidVersion, Version

    found: dict[str, str] = {}
    for one in importlib.metadata.distributions():
        with contextlib.suppress(InvalidVersion, KeyError, TypeError):  # what is half removed has no name
            found.setdefault(canonicalize_name(one.metadata["Name"]), str(Version(one.version)))
    return found
