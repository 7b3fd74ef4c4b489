"""``bgremove train``: its help, its flags, what it says, and one training from data to a last line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bgremove.flags import plain
from bgremove.options import settings
from bgremove.training.params import AugmentParams, LossParams, TrainParams
from tests.cli_helpers import bgremove_here, environment, files, is_one_sentence, python_there

pytest.importorskip("lightning", reason="needs the extra train")

from tests.training.tiny import FLAGS, ROWS, disc_data  # noqa: E402

GROUPS = (TrainParams, LossParams, AugmentParams)
ALL = [setting for group in GROUPS for setting in settings(group)]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disc_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The small networks, one thread."""
    import torch

    from bgremove.training import callbacks
    from bgremove.training.registry import NETWORKS

    threads = torch.get_num_threads()
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(callbacks, "draw_curves_of", lambda *_: None)
    for name, row in ROWS.items():
        monkeypatch.setitem(NETWORKS, name, row)
    yield
    torch.set_num_threads(threads)


# Help -----------------------------------------------------------------------------------------------


def test_the_help_lists_every_setting_with_its_default() -> None:
    result = bgremove_here("train", "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for setting in ALL:
        assert f" {setting.flag} " in text and setting.help in text, setting.name
        if setting.default is not None:
            facts = text.partition(f" {setting.help} [")[2].partition("]")[0]
            assert facts.endswith(f"default: {plain(setting.default)}"), setting.name
    own = ("--data FOLDER", "-o, --out FOLDER", "--resume", "--pretrained CKPT", "-q, --quiet")
    for words in (*own, "--network lite|unet"):
        assert words in text
    assert max(map(len, result.stdout.splitlines())) <= 110


def test_settings_have_names_of_their_own() -> None:
    names = [setting.name for setting in ALL]
    assert len(set(names)) == len(names)


def test_it_is_in_the_list_of_commands() -> None:
    assert "train" in bgremove_here("--help").stdout


def test_the_help_loads_neither_numpy_nor_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from bgremove.cli import main\n"
        "assert CliRunner().invoke(main, ['train', '--help']).exit_code == 0\n"
        "print(*(name in sys.modules for name in ('torch', 'lightning', 'numpy', 'cv2')))"
    )
    assert python_there(code).stdout.split() == ["False"] * 4


# Flags ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: str(setting.name))
def test_a_wrong_value_is_said(setting: Any, discs: Path, tmp_path: Path) -> None:
    if setting.kind == "bool":
        args = [f"{setting.flag}=perhaps"]
    elif setting.kind == "text":
        args = [setting.flag, "none-such"]
    else:
        args = [setting.flag, "many"]
    result = bgremove_here("train", "--data", discs, "-o", tmp_path / "out", *args)
    assert result.exit_code == 2 and is_one_sentence(result.stderr), result.output
    if setting.kind == "text":
        assert result.stderr == "Error: unknown network 'none-such'; known: lite, unet\n"
    elif setting.kind != "bool":
        assert result.stderr.startswith(f"Error: {setting.flag} must be ") and "got many" in result.stderr
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--epochs", "0"], "--epochs must be a whole number from 1 to 100000; got 0"),
        (["--size", "100"], "--size must be a multiple of 32 for lite; got 100"),
        (["--start-size", "40"], "--start-size must be a multiple of 32 for lite; got 40"),
        (["--start-size", "320"], "--start-size must be at most size (256); got 320"),
        (["--ema", "2"], "--ema must be"),
        (["--bce", "0", "--iou", "0"], "the loss has no term; give one of bce, dice, iou, ssim, boundary"),
        (["--resume", "--pretrained", "x.ckpt"], "--resume goes on with the weights in --out; leave"),
        (["--resume"], "holds no training with a finished epoch to go on with; leave out --resume"),
        (["--epoch", "3"], "No such option"),
        (["--optimizer", "sgd"], "--optimizer must be one of adamw, muon; got sgd"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(args: list[str], sentence: str, discs: Path, tmp_path: Path) -> None:
    result = bgremove_here("train", "--data", discs, "-o", tmp_path / "out", *args)
    assert result.exit_code == 2 and is_one_sentence(result.stderr), result.output
    assert sentence in result.stderr
    assert files(tmp_path) == {}


@pytest.mark.parametrize("data", ["none", "file", "empty"])
def test_no_data(data: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    result = bgremove_here("train", "--data", tmp_path / data, "-o", tmp_path / "out")
    assert result.exit_code == 1 and is_one_sentence(result.stderr), result.output
    assert str(tmp_path / data) in result.stderr and "train/images" in result.stderr
    assert not (tmp_path / "out").exists()
    assert bgremove_here("train").exit_code == 2


@pytest.mark.usefixtures("tiny")
def test_flags_reach_the_training(discs: Path, tmp_path: Path) -> None:
    from bgremove.training.train import read_settings

    given = ["--epochs", "1", "--dice", "0.25", "--rotate", "3", "--threshold-masks", "--optimizer", "muon"]
    result = bgremove_here("train", "--data", discs, "-o", tmp_path / "out", *FLAGS, *given, "-q")
    assert result.exit_code == 0, result.output
    stored = read_settings(tmp_path / "out")
    defaults = {group.__name__: group().model_dump() for group in GROUPS}
    assert stored["train"].model_dump() == defaults["TrainParams"] | {
        "network": "tiny", "epochs": 1, "batch_size": 4, "size": 32, "lr": 0.02, "precision": "float32",
        "threshold_masks": True, "optimizer": "muon",
    }  # fmt: skip
    assert stored["loss"].model_dump() == defaults["LossParams"] | {"dice": 0.25}
    assert stored["augment"].model_dump() == defaults["AugmentParams"] | {"rotate": 3.0}


# Running --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_a_training_and_what_comes_after_it(discs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = bgremove_here("train", "--data", discs, "-o", out, *FLAGS, "--epochs", "2", "-q")
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    assert result.stdout == "" and len(lines) == 5
    assert lines[0].startswith("tiny (0.00 million weights) on the CPU in float32: 8 pairs to train on, 4 to")
    assert [line.partition(":")[0] for line in lines[1:3]] == ["epoch 1/2", "epoch 2/2"]
    assert (
        lines[3].startswith("best validation IoU 0.") and str(out / "checkpoints" / "best.ckpt") in lines[3]
    )
    assert lines[4] == f"next: bgremove export {out / 'checkpoints' / 'best.ckpt'} -o network.onnx"

    before = files(out)
    again = bgremove_here("train", "--data", discs, "-o", out, *FLAGS)
    assert again.exit_code == 1 and is_one_sentence(again.stderr)
    assert "go on with it (--resume), or give another folder (--out)" in again.stderr
    assert files(out) == before

    # What is not said again stays as it was; what is said must be the same.
    other = bgremove_here("train", "--data", discs, "-o", out, "--resume", "--lr", "0.5")
    assert other.exit_code == 2 and is_one_sentence(other.stderr)
    assert "--lr was 0.02 in the training that is resumed, not 0.5; leave it out" in other.stderr
    done = bgremove_here("train", "--data", discs, "-o", out, "--resume", "-q", "--workers", "1")
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines()[-2:] == lines[3:]

    pretrained = bgremove_here(
        "train", "--data", discs, "-o", tmp_path / "next", *FLAGS, "--epochs", "1", "-q",
        "--pretrained", out / "checkpoints" / "best.ckpt",
    )  # fmt: skip
    assert pretrained.exit_code == 0, pretrained.output
    wrong = bgremove_here(
        "train", "--data", discs, "-o", tmp_path / "third", "--pretrained", discs / "val/masks/disc_00.png"
    )
    assert wrong.exit_code == 1 and is_one_sentence(wrong.stderr)
    assert "disc_00.png is damaged, or no checkpoint of bgremove train" in wrong.stderr


def test_a_bar_is_for_terminals_and_on_stderr(discs: Path, tmp_path: Path) -> None:
    """Nothing goes to standard output, and no bar into a file."""
    flags = [*FLAGS, "--epochs", "1"]
    command = [
        sys.executable,
        "-m",
        "tests.training.tiny",
        "train",
        "--data",
        discs,
        "-o",
        tmp_path / "out",
        *flags,
    ]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        env=environment() | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"it/s" not in done.stderr
    assert done.stdout == b""


@pytest.mark.parametrize(
    "package",
    ["torch", "lightning", "torchmetrics", "matplotlib", "tensorboard"],
)
def test_a_missing_package_is_said_before_the_work(package: str, discs: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; from bgremove.cli import main; "
        "main(['train', '--data', sys.argv[1], '-o', sys.argv[2], '--epochs', '1', '--size', '32', '-q'])"
    )
    done = python_there(code, discs, tmp_path / "out")
    assert done.returncode == 1 and is_one_sentence(done.stderr), done.stderr
    assert f"needs {package}" in done.stderr and 'pip install "bgremove[train]"' in done.stderr
    assert not (tmp_path / "out").exists()
