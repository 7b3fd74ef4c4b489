"""Detectron2 put in place from a real server or a file, checked, completed by the real pip, imported."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from bgremove import detectron2_source
from bgremove.detectron2_source import (
    SOURCE,
    Source,
    detectron2_path,
    import_detectron2,
    setup_detectron2,
)
from bgremove.errors import MissingExtraError, WeightsError
from bgremove.source_archives import SourceFile, manifest, tree_id

from .cli_helpers import ROOT, environment, is_one_sentence, python_there
from .http_server import Server, serving
from .test_source_archives import tar, zipped

CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

MODEL_ZOO = """
import pkg_resources
def get_config_file(name):
    return pkg_resources.resource_filename("detectron2.model_zoo", "configs/" + name)
"""


def small(**changes: str) -> dict[str, SourceFile]:
    """A package laid out, and importing, as Detectron2 does; `changes` are other contents of files."""
    files = {
        "detectron2/__init__.py": '__version__ = "0.6"\n',
        "detectron2/checkpoint/__init__.py": "",
        "detectron2/config/__init__.py": "",
        "detectron2/modeling/__init__.py": "",
        "detectron2/model_zoo/__init__.py": "from .model_zoo import get_config_file\n",
        "detectron2/model_zoo/model_zoo.py": MODEL_ZOO,
        f"configs/{CONFIG}": "MODEL: {}\n",
        "projects/PointRend/point_rend/__init__.py": "",
        "LICENSE": "Apache\n",
        "tools/train_net.py": "raise SystemExit\n",
    } | changes
    made = {name: SourceFile("100644", text.encode()) for name, text in files.items()}
    made["docs/tutorials/install.md"] = SourceFile("120000", b"../../LICENSE")
    made["tools/train_net.py"] = SourceFile("100755", b"raise SystemExit\n")
    return made


def archived(path: Path, files: Mapping[str, SourceFile]) -> Path:
    make = zipped if path.suffix == ".zip" else tar
    return make(path, [(f"detectron2-{COMMIT}/{name}", file) for name, file in files.items()])


def source_of(files: Mapping[str, SourceFile], url: str = "", **needs: str) -> Source:
    digest = hashlib.sha256(manifest(files).encode()).hexdigest()
    return Source(url, COMMIT, tree_id(files), digest, needs)


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
        del sys.modules[name]


class Hidden:
    """Keeps the tests from a Detectron2 that is installed here."""

    folder = find_spec("detectron2")

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> object:
        if name != "detectron2" or cls.folder is None:
            return None
        mine = Path(str(cls.folder.origin)).parents[1]
        return PathFinder.find_spec(name, [one for one in sys.path if Path(one or ".").resolve() != mine])


@pytest.fixture(autouse=True)
def apart(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty cache, a PyTorch of some kind, and nothing left of what is imported."""
    if request.node.get_closest_marker("detectron2"):
        yield
        return
    before = {name: one for name, one in sys.modules.items() if name.partition(".")[0] == "detectron2"}
    forget()
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "home"))
    # Without a real one, which tests of another file may have imported.
    without = [place for place in sys.path if not (Path(place) / "detectron2" / "__init__.py").is_file()]
    monkeypatch.setattr(sys, "path", without)
    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])
    for name in ("torch", "torchvision"):
        if find_spec(name) is None:
            (tmp_path / "torch").mkdir(exist_ok=True)
            (tmp_path / "torch" / f"{name}.py").touch()
            sys.path.append(str(tmp_path / "torch"))
    yield
    forget()
    sys.modules.update(before)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Publishes the small package, and is where Detectron2 comes from."""
    files = small()
    with serving(archived(tmp_path / "small.tar.gz", files).read_bytes(), "d2.tar.gz") as server:
        monkeypatch.setattr(detectron2_source, "SOURCE", source_of(files, server.url))
        yield server


@pytest.fixture
def said() -> list[str]:
    return []


def folder() -> Path:
    return Path(os.environ["BGREMOVE_HOME"]) / "detectron2" / COMMIT


def left() -> list[str]:
    """What is beside, or in place of, the source."""
    return [path.name for path in folder().parent.iterdir() if path.suffix != ".lock"]


def test_what_is_published_is_one_commit() -> None:
    for digest, length in ((SOURCE.commit, 40), (SOURCE.tree, 40), (SOURCE.manifest, 64)):
        assert re.fullmatch(rf"[0-9a-f]{{{length}}}", digest)
    assert SOURCE.url.endswith(f"/{SOURCE.commit}.tar.gz") and SOURCE.url.startswith("https://")


def test_it_is_downloaded_checked_placed_and_imported(server: Server, said: list[str]) -> None:
    assert detectron2_path() is None
    done = setup_detectron2(say=said.append)
    assert (done.path, done.version, done.commit) == (folder(), "0.6", COMMIT)
    assert (done.compiled, done.already_there, done.installed) == (False, False, ())
    assert detectron2_path() == folder() and left() == [COMMIT]
    found = {str(path.relative_to(folder())) for path in folder().rglob("*.*") if path.suffix != ".pyc"}
    published = {name for name in small() if not name.startswith(("tools", "docs", "LICENSE"))}
    assert found == published | {f"detectron2/model_zoo/configs/{CONFIG}"}
    assert len(said) == 2 and said[1].startswith("ready: Detectron2 0.6 without its compiled part, after ")
    assert f"commit {COMMIT[:8]} (licence: Apache-2.0) into {folder()}" in said[0]
    zoo = sys.modules["detectron2.model_zoo"]
    assert Path(zoo.get_config_file(CONFIG)).read_text() == "MODEL: {}\n"
    assert import_detectron2() is sys.modules["detectron2"]


def test_the_second_time_nothing_is_done(server: Server, said: list[str]) -> None:
    setup_detectron2(quiet=True)
    forget()
    done = setup_detectron2(say=said.append)
    assert done.already_there and done.path == folder() and server.requests == [None]
    assert said[0] == f"Detectron2 is in {folder()} already, whole and unchanged"


@pytest.mark.parametrize("name", ["d2.tar.gz", "d2.zip"])
def test_an_archive_instead_of_a_download(server: Server, tmp_path: Path, name: str) -> None:
    archive = archived(tmp_path / name, small())
    assert not setup_detectron2(archive, quiet=True).already_there
    assert server.requests == [] and archive.exists() and left() == [COMMIT]


def test_an_archive_of_something_else_is_refused(server: Server, tmp_path: Path) -> None:
    other = small(**{"detectron2/config/__init__.py": "import os"})
    archive = archived(tmp_path / "other.zip", other)
    with pytest.raises(
        WeightsError, match=f"{archive} does not hold .*{COMMIT}.*it has {tree_id(other)}; not"
    ):
        setup_detectron2(archive, quiet=True)
    assert left() == [] and archive.exists()


def test_a_wrong_download_is_not_kept(server: Server, tmp_path: Path) -> None:
    good, server.body = server.body, archived(tmp_path / "x", small(LICENSE="None")).read_bytes()
    with pytest.raises(WeightsError, match="nothing of it was kept: try again"):
        setup_detectron2(quiet=True)
    server.body = b"<!DOCTYPE html>"
    with pytest.raises(WeightsError, match=r"is no \.tar\.gz or \.zip"):
        setup_detectron2(quiet=True)
    assert left() == []
    server.body = good
    assert setup_detectron2(quiet=True).path == folder()


def test_no_connection_says_what_to_do(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(detectron2_source.SOURCE, url=server.url.replace("d2", "none"))
    monkeypatch.setattr(detectron2_source, "SOURCE", source)
    with pytest.raises(WeightsError, match=r"none\.tar\.gz \(the server answered 404.*--archive FILE"):
        setup_detectron2(quiet=True)


def test_progress_is_shown_unless_quiet(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    setup_detectron2()
    out, err = capfd.readouterr()
    assert out == "" and "Detectron2 (1 MB): " in err and "ready: " in err
    forget()
    setup_detectron2(quiet=True)
    assert capfd.readouterr() == ("", "")


def test_a_killed_attempt_leaves_nothing_behind(server: Server) -> None:
    unfinished = folder().with_name(folder().name + ".unfinished")
    (unfinished / "detectron2").mkdir(parents=True)
    (unfinished / "detectron2" / "half.py").write_text("broken")
    setup_detectron2(quiet=True)
    assert left() == [COMMIT] and not (folder() / "detectron2" / "half.py").exists()


@pytest.mark.parametrize(
    "name",
    ["detectron2/config/__init__.py", f"detectron2/model_zoo/configs/{CONFIG}", "MANIFEST", "LICENSE"],
)
def test_a_source_that_was_changed_is_refused_and_kept(server: Server, name: str) -> None:
    setup_detectron2(quiet=True)
    forget()
    (folder() / name).write_text("changed")
    for use in (import_detectron2, lambda: setup_detectron2(quiet=True)):
        with pytest.raises(WeightsError, match=f"{re.escape(name)} in .* is not as it was published; delete"):
            use()
    assert "detectron2" not in sys.modules and (folder() / name).read_text() == "changed"
    (folder() / name).unlink()
    with pytest.raises(WeightsError, match="is not as it was published"):
        import_detectron2()


def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("BGREMOVE_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="cannot be put into .*Not a directory.*BGREMOVE_HOME"):
        setup_detectron2(quiet=True)


def test_an_installed_one_is_used_and_said(server: Server, tmp_path: Path, said: list[str]) -> None:
    for name, file in small(
        **{"detectron2/__init__.py": '__version__ = "7"', "detectron2/_C.py": ""}
    ).items():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_bytes(file.data)
    sys.path.insert(0, str(tmp_path / "site"))
    done = setup_detectron2(say=said.append)
    assert (done.path, done.version, done.commit) == (tmp_path / "site", "7", "")
    assert done.compiled and done.already_there and server.requests == []
    assert said[0] == f"a Detectron2 is installed in {tmp_path / 'site'}; it is used as it is"
    assert "ready: Detectron2 7 with its compiled part" in said[1]
    assert detectron2_path() == tmp_path / "site"


def test_an_installed_one_that_does_not_work(server: Server, tmp_path: Path) -> None:
    (tmp_path / "site" / "detectron2").mkdir(parents=True)
    (tmp_path / "site" / "detectron2" / "__init__.py").write_text("raise ImportError('undefined symbol: x')")
    sys.path.insert(0, str(tmp_path / "site"))
    with pytest.raises(MissingExtraError, match=r"does not work with .*symbol.*pip uninstall detectron2"):
        setup_detectron2(quiet=True)


def test_a_clone_in_the_folder_hides_nothing(server: Server, tmp_path: Path) -> None:
    """``git clone`` makes a folder of the package's name, which Python takes for a package without files."""
    (tmp_path / "work" / "detectron2" / "detectron2").mkdir(parents=True)
    sys.path.insert(0, str(tmp_path / "work"))
    assert setup_detectron2(quiet=True).path == folder()
    assert sys.modules["detectron2"].__file__ == str(folder() / "detectron2" / "__init__.py")


@pytest.mark.parametrize(
    ("colab", "what"), [(False, "bgremove setup detectron2"), (True, "the cell Set-up again")]
)
def test_what_to_run_is_said_where_it_is_missing(
    server: Server, monkeypatch: pytest.MonkeyPatch, colab: bool, what: str
) -> None:
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    if colab:
        monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    sentence = f"^Detectron2 is needed for this, and is not here: run {what}, which puts it in place without"
    with pytest.raises(MissingExtraError, match=sentence):
        import_detectron2()


def test_pytorch_is_not_installed_by_us(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r"torchvision is not .*pip install torch torchvision$"):
        setup_detectron2(quiet=True)
    assert server.requests == [] and not folder().parent.exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "nms.*--upgrade torch torchvision$",
        ),
        (
            "import need",
            "Detectron2 needs need, which is not installed: run bgremove setup detectron2, which installs it",
        ),
    ],
)
def test_what_keeps_it_from_working_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: str
) -> None:
    files = small(**{"detectron2/modeling/__init__.py": line})
    monkeypatch.setattr(detectron2_source, "SOURCE", source_of(files, need="need"))
    monkeypatch.setattr(detectron2_source, "_missing", list)  # as if it had gone since
    with pytest.raises(MissingExtraError, match=words):
        setup_detectron2(archived(tmp_path / "x", files), quiet=True)


def test_the_stand_in_for_pkg_resources_does_not_stay(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_spec("pkg_resources") is not None
    setup_detectron2(quiet=True)
    assert real or "pkg_resources" not in sys.modules
    monkeypatch.setitem(sys.modules, "pkg_resources", detectron2_source)
    forget()
    setup_detectron2(quiet=True)
    zoo = sys.modules["detectron2.model_zoo.model_zoo"]
    assert vars(zoo)["pkg_resources"] is detectron2_source is sys.modules["pkg_resources"]


CODE = """
import sys
from bgremove import detectron2_source
from bgremove.detectron2_source import Source, setup_detectron2
from bgremove.errors import BGRemoveError
detectron2_source.SOURCE = Source(**eval(sys.argv[1]))
try:
    print(setup_detectron2(say=print, quiet=False).installed)
except BGRemoveError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def test_processes_share_one_download(server: Server, tmp_path: Path) -> None:
    env = environment()
    env["PYTHONPATH"] += os.pathsep + str(tmp_path / "torch")
    args = [sys.executable, "-c", CODE, repr(asdict(detectron2_source.SOURCE))]
    workers = [subprocess.Popen(args, env=env, stdout=subprocess.PIPE, encoding="utf-8") for _ in range(3)]
    said = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert sum("put Detectron2" in one for one in said) == 1
    assert server.requests == [None] and left() == [COMMIT]


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    """A package of one empty module."""
    info = f"{name}-{version}.dist-info"
    lines = [f"Requires-Dist: {one}" for one in requires]
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": "\n".join(
            ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines]
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for place, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{place},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for place, text in [*files.items(), (f"{info}/RECORD", f"{record}{info}/RECORD,,\n")]:
            archive.writestr(place, text)


class Fresh:
    """A Python environment of its own, in which pip finds only the wheels of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wheels = folder, folder / "wheels"
        self.wheels.mkdir(parents=True)
        venv.create(folder / "venv", with_pip=False)
        self.python = str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
        here = [path for path in sys.path if path.endswith("site-packages")]
        for name in ("torch", "torchvision"):
            (folder / f"{name}.py").touch()
        self.env = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder), *here]),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_CONFIG_FILE": os.devnull,
        }

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *args], env=self.env, capture_output=True, encoding="utf-8", timeout=120
        )

    def packages(self) -> set[str]:
        return {path.stem for path in (self.folder / "venv").rglob("*.dist-info")}


@pytest.fixture
def fresh(tmp_path: Path) -> Fresh:
    made = Fresh(tmp_path / "fresh")
    for name, version, *requires in (
        ("there", "1.0"),
        ("there", "2.0"),
        ("wanted", "3.1", "helper"),
        ("helper", "0.5"),
        ("greedy", "1.0", "there>=2"),
    ):
        wheel(made.wheels, name, version, *requires)
    with zipfile.ZipFile(made.wheels / "there-1.0-py3-none-any.whl") as archive:
        archive.extractall(
            made.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        )
    return made


def test_missing_packages_are_added_and_no_other_is_changed(server: Server, fresh: Fresh) -> None:
    def setup(before: str = "", **needs: str) -> subprocess.CompletedProcess[str]:
        source = replace(detectron2_source.SOURCE, needs=needs)
        return fresh.run("-c", before + CODE, repr(asdict(source)))

    done = setup("import sys; sys.modules['pip'] = None\n", wanted="wanted>=3")
    assert "MissingExtraError: this Python has no pip, " in done.stderr
    assert done.stderr.endswith(': "wanted>=3"\n') and fresh.packages() == {"there-1.0"}

    done = setup(greedy="greedy")  # which would change what is there
    assert done.returncode == 1 and is_one_sentence(done.stderr), done.stderr
    assert "MissingExtraError: pip cannot add what Detectron2 needs without changing what is" in done.stderr
    assert "there" in done.stderr and done.stderr.endswith('; to let it: pip install "greedy"\n')
    assert fresh.packages() == {"there-1.0"}

    done = setup(there="there", wanted="wanted>=3")
    assert done.returncode == 0, done.stderr
    assert "; no package that was there has changed" in done.stdout
    assert "'helper 0.5'" in done.stdout and "'wanted 3.1'" in done.stdout
    assert fresh.packages() == {"there-1.0", "wanted-3.1", "helper-0.5"}

    done = setup(there="there", wanted="wanted>=3")
    assert done.stdout.endswith("()\n") and "already, whole and unchanged" in done.stdout


def test_importing_is_light() -> None:
    code = (
        "import sys, bgremove.detectron2_source;"
        "print([m for m in ('numpy', 'requests', 'pooch', 'torch', 'pip') if m in sys.modules])"
    )
    assert python_there(code).stdout.strip() == "[]"


ZOO = {
    "COCO-InstanceSegmentation/mask_rcnn": (
        "R_50_C4_1x R_50_DC5_1x R_50_FPN_1x R_50_C4_3x R_50_DC5_3x R_50_FPN_3x "
        "R_101_C4_3x R_101_DC5_3x R_101_FPN_3x X_101_32x8d_FPN_3x"
    ),
    "COCO-PanopticSegmentation/panoptic_fpn": "R_50_1x R_50_3x R_101_3x",
}


@pytest.mark.detectron2
def test_the_real_one_knows_the_configs_of_the_zoo() -> None:
    import_detectron2()
    zoo = sys.modules["detectron2.model_zoo"]
    configs = [f"{kind}_{name}.yaml" for kind, names in ZOO.items() for name in names.split()]
    assert len(configs) == 13
    for config in configs:
        assert zoo.get_config(config).MODEL.MASK_ON, config
        assert Path(zoo.get_config_file(config)).is_file()
        assert zoo.get_checkpoint_url(config).endswith(".pkl")


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore")  # Detectron2's own, of PyTorch
def test_the_real_one_predicts() -> None:
    """R50-FPN with random weights on a photograph: all of its parts run."""
    import numpy as np
    from PIL import Image as PILImage

    from .conftest import ASSETS

    import_detectron2()
    import torch

    zoo = sys.modules["detectron2.model_zoo"]
    config = zoo.get_config(CONFIG)
    config.MODEL.WEIGHTS, config.MODEL.DEVICE = "", "cpu"
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST, config.TEST.DETECTIONS_PER_IMAGE = 0.0, 5
    model = sys.modules["detectron2.modeling"].build_model(config).eval()
    with PILImage.open(ASSETS / "coffee.jpg") as picture:
        photo = np.array(picture.convert("RGB").resize((320, 240)))
    image = torch.as_tensor(photo[..., ::-1].transpose(2, 0, 1).astype("float32"))
    with torch.no_grad():
        [found] = model([{"image": image, "height": 240, "width": 320}])
    instances = found["instances"]
    assert instances.pred_masks.shape == (len(instances), 240, 320) and len(instances) <= 5
    assert instances.pred_masks.dtype == torch.bool
