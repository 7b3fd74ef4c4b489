"""``bgremove export``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_helpers import bgremove_here, decode, files, is_one_sentence, python_there, save_disc

pytest.importorskip("lightning", reason="needs the extra train")
pytest.importorskip("onnxscript", reason="needs the extra train")

from tests.training.test_export import write_checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("run") / "best.ckpt")


def test_from_a_checkpoint_to_a_cutout(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.onnx"
    result = bgremove_here("export", checkpoint, "-o", out, "--int8", "--note", "mine")
    assert result.exit_code == 0 and result.stdout == "", result.stderr
    lines = result.stderr.splitlines()
    assert lines[0] == f"{checkpoint}: lite, 1 epoch"
    assert lines[1].startswith("int8 without --data has no pictures to calibrate by: the weights are")
    assert lines[2].startswith("6 pictures of the package: alpha differs from PyTorch's by ")
    size = out.stat().st_size / 1e6
    assert lines[-2].startswith(f"wrote {out}: lite for 64 x 64 px, {size:.2f} MB, ") and size < 4.5
    assert lines[-1] == f"next: bgremove remove photo.jpg --model onnx:{out}"
    photo = save_disc(tmp_path / "photo.png")
    done = bgremove_here(
        "remove", photo, "-o", tmp_path / "alpha.png", "--output", "alpha", "-m", f"onnx:{out}"
    )
    assert done.exit_code == 0, done.stderr
    assert decode(tmp_path / "alpha.png").shape == (96, 128)

    before = files(tmp_path)
    again = bgremove_here("export", checkpoint, "-o", out)
    assert again.exit_code == 1 and is_one_sentence(again.stderr) and files(tmp_path) == before
    over = bgremove_here("export", checkpoint, "-o", out, "--overwrite", "--quiet", "--weights", "float16")
    assert over.exit_code == 0 and over.stderr == over.stdout == ""
    assert 1.7 * len(before["mine.onnx"]) < out.stat().st_size


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        ([], 2, "Missing argument 'CKPT'"),
        (["no.ckpt"], 2, "Missing option '-o' / '--out'"),
        (["no.ckpt", "-o", "x.onnx"], 1, "no.ckpt cannot be read: No such file or directory"),
        (["no.ckpt", "-o", "x.onnx", "--size", "31"], 2, "--size must be a whole number from 32"),
        (["BEST", "-o", "x.onnx", "--size", "33"], 2, "--size must be a multiple of 32 for lite; got 33"),
        (["no.ckpt", "-o", "x.onnx", "--weights", "int4"], 2, "--weights must be one of float32, float"),
        (["no.ckpt", "-o", "x.ckpt"], 1, "an ONNX file is called NAME.onnx; got 'x.ckpt', name it x.onnx"),
        (["no.ckpt", "-o", "x.onnx", "--int8", "--data", "none"], 1, "none has no folder train and no"),
    ],
)  # fmt: skip
def test_what_is_refused(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = bgremove_here("export", *(checkpoint if arg == "BEST" else arg for arg in args))
    assert result.exit_code == code and sentence in result.stderr, result.stderr
    assert is_one_sentence(result.stderr) and files(tmp_path) == {}


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from bgremove.cli import main
try:
    main(["export", "--help"])
except SystemExit as end:
    assert end.code == 0
assert not {"numpy", "PIL", "torch", "onnx", "onnxruntime"} & set(sys.modules), sorted(sys.modules)
"""
    done = python_there(code)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    for part in ("Make an ONNX file of a trained network.", "--weights float32|float16|int8", "--int8 /"):
        assert part in text, part
