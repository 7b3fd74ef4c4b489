"""A 1080p clip, its subject over a colour, to H.264 with its sound: bgremove against two peers and two loops.

    python benchmarks/video_speed.py --peer-python PYTHON --frames FOLDER [--runs 3] [--slow-runs 1]

Every run is a process of its own, and the tasks take turns. All use the shipped network; the peers get it
in place of theirs, run once a frame (bgremove and the loops look closer at small subjects, too), everything
else is their own video code:

- backgroundremover puts subjects over a picture (``-toi``), which fails: its own filters for ffmpeg do not
  fit together, and there is an empty file. Over another video (``-tov``) it works, so here is a video of one
  colour, made beforehand, with the clip's sound in it, for it takes the sound from there. ``--alpha-codec
  libx264`` it takes, but gives no say in preset and quality: libx264's own are medium and 23. Once as it
  is, once with the preset and the quality of the loops slipped in.
- transparent-background writes MPEG-4 part 2 by OpenCV, without sound: its command, and then ffmpeg, which
  encodes again as the loops do and adds the sound. What its own part took is given, too.
- the loops are what one writes with this package and PyAV: a frame decoded, cut, put over the colour with
  NumPy, encoded, and only then the next one; "loop" takes the network's matte as it is, "stills"
  calls `bgremove.remove`, which does for each frame what it does for a photo.

Of ``--frames FOLDER`` (pictures; its neighbour `masks` too, if there is one), the first 26 are made 1080p,
with some noise, and shown to and fro, 25 a second, to a clip of H.264 with a tone in AAC. Each task
cuts a short clip and a longer one: frames a second are those between the two, so that no start
is in them, and, with the start, those of the longer clip. Memory is that of a process and its children
(PSS every 50 ms; where there are no children also the system's own peak), the longer clip's against
``--long`` seconds for those tasks that ``--long-tasks`` names.

The peers' environment needs backgroundremover, transparent-background, onnxruntime, and ffmpeg on the path.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from measure import OURS, ROOT, alternate, machine, median, spread, table

NETWORK = ROOT / "bgremove" / "assets" / "lite.onnx"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH, HEIGHT, RATE, TURN = 1920, 1080, 25, 50  # a turn: frames to and fro; a key frame begins each
ERODE = 61  # pixels: what is sure inside a mask
LABELS = {
    "ours": "bgremove video",
    "loop": "loop: decode, network, NumPy, encode",
    "stills": "loop: decode, `bgremove.remove`, encode",
    "backgroundremover": "backgroundremover, as it is",
    "backgroundremover-same": "backgroundremover, the loops' encoding",
    "transparent-background": "transparent-background, then ffmpeg",
}
PEERS = tuple(name for name in LABELS if "background" in name)


@dataclass
class Job:
    """What every task is to do; the children read it from their command line."""

    colour: tuple[int, int, int]
    preset: str
    crf: float
    scratch: str

    def encoding(self) -> list[str]:
        """The loops' encoding, as ffmpeg's arguments."""
        return ["-c:v", "libx264", "-preset", self.preset, "-crf", str(self.crf), "-pix_fmt", "yuv420p"]


@dataclass
class Task:
    """A command that makes a file of a clip, and what was seen of it."""

    name: str
    label: str
    command: Callable[[Path, Path], Sequence[str | Path]]
    reports: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", help="of an environment that has the peers; without it, no peers")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--clip", type=Path, help="H.264, 1920x1080, 25 frames a second; shown again where it ends"
    )
    source.add_argument("--frames", type=Path, help="folder of pictures to make a clip of")
    parser.add_argument("--tasks", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--ours", action="append", default=[], metavar="FLAGS", help="another run of ours")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slow-runs", type=int, default=1, help="of the peers and the stills")
    parser.add_argument("--short", type=int, default=2, help="seconds of the short clip")
    parser.add_argument("--seconds", type=int, default=10, help="of the longer one")
    parser.add_argument("--long", type=int, default=60, help="for the memory; 0: not done")
    parser.add_argument("--long-tasks", nargs="+", choices=LABELS, default=["ours"])
    parser.add_argument("--colour", type=int, nargs=3, default=(0, 130, 70), help="background, RGB")
    parser.add_argument("--preset", default="veryfast", help="libx264's, in the loops")
    parser.add_argument("--crf", type=float, default=20, help="libx264's, in the loops")
    parser.add_argument("--keep", type=Path, help="folder for the clips and the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        clips = make_clips(options, folder)
        job = Job(tuple(options.colour), options.preset, options.crf, name)
        tasks = make_tasks(options, job)
        measure(tasks, options, clips, folder)
        masks = options.frames and options.frames.parent / "masks"
        print(f"\n{machine()}\n{WIDTH}x{HEIGHT}, {describe(clips['middle'])}\n")
        print(speed_table(tasks, options, frames_of(clips["middle"]) - frames_of(clips["short"])))
        print("\n" + file_table(tasks, clips["middle"], folder, masks if masks and masks.is_dir() else None))
        if options.long:
            for task in tasks:
                if task.name in options.long_tasks:
                    out = folder / f"{task.name}-long.mp4"
                    task.reports["long"] = [run(task, clips["long"], out)]
            print("\n" + memory_table(tasks, options))


def make_tasks(options: argparse.Namespace, job: Job) -> list[Task]:
    """The chosen ones, in their order; ours once more for each set of flags."""
    settings = json.dumps(vars(job))
    colour = "#{:02x}{:02x}{:02x}".format(*job.colour)

    def ours(flags: str) -> Callable[[Path, Path], Sequence[str | Path]]:
        given = ["--background", colour, *shlex.split(flags)]
        return lambda clip, out: [OURS, "-m", "bgremove", "video", clip, "-o", out, *given]

    def child(python: str, name: str) -> Callable[[Path, Path], Sequence[str | Path]]:
        return lambda clip, out: [python, __file__, "--child", name, clip, out, settings]

    tasks = []
    for name in options.tasks:
        if name == "ours":
            tasks += [Task("ours", LABELS["ours"], ours(""))]
            for number, flags in enumerate(options.ours, 1):
                tasks += [Task(f"ours-{number}", f"{LABELS['ours']} {flags}", ours(flags))]
        elif name not in PEERS:
            tasks += [Task(name, LABELS[name], child(OURS, name))]
        elif options.peer_python:
            tasks += [Task(name, LABELS[name], child(options.peer_python, name))]
    return tasks


def measure(
    tasks: Sequence[Task], options: argparse.Namespace, clips: Mapping[str, Path], folder: Path
) -> None:
    """The short and the longer clip, in turns; the reports go into the tasks."""
    slow = (*PEERS, "stills")
    groups = [
        ([task for task in tasks if task.name not in slow], options.runs),
        ([task for task in tasks if task.name in slow], options.slow_runs),
    ]
    for chosen, runs in groups:
        for clip in ("short", "middle") if chosen else ():
            turns = {
                task.name: lambda task=task, clip=clip: run(
                    task, clips[clip], folder / f"{task.name}-{clip}.mp4"
                )
                for task in chosen
            }
            for name, reports in alternate(turns, runs).items():
                next(task for task in chosen if task.name == name).reports[clip] = reports


def run(task: Task, clip: Path, out: Path) -> dict[str, Any]:
    """One process from start to end: seconds, CPU seconds and peak memory, its children's too.

    Raises:
        SystemExit: if it fails, or leaves no file.
    """
    out.unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(part) for part in task.command(clip, out)]
    if command[0] == OURS:
        environment["PYTHONPATH"] = str(ROOT)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=log, stdin=subprocess.DEVNULL
        )
        memory = _Memory(process.pid)
        code = process.wait()
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = memory.stop()
        log.seek(0)
        said.seek(0)
        if code or not out.exists() or not out.stat().st_size:
            raise SystemExit(f"{task.name} failed:\n{log.read()[-3000:].decode(errors='replace')}")
        last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads(last) if last.startswith("{") else {}
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, **report}


class _Memory:
    """Watches a process and its children until told to stop."""

    def __init__(self, pid: int) -> None:
        self._pid, self._peak, self._alone, self._own = pid, 0.0, True, 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """Megabytes at the most."""
        self._end.set()
        self._thread.join()
        return max(self._peak, self._own) if self._alone else self._peak

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            family = _family(self._pid)
            self._alone = self._alone and len(family) < 2
            self._peak = max(self._peak, sum(_kb(pid, "smaps_rollup", "Pss") for pid in family) / 1024)
            self._own = max(self._own, _kb(self._pid, "status", "VmHWM") / 1024)


def _family(pid: int) -> list[int]:
    children: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += task.read_text().split()
        except OSError:  # it has just ended
            continue
    return [pid, *(other for child in children for other in _family(int(child)))]


def _kb(pid: int, name: str, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key}:")), 0)


# Tables ---------------------------------------------------------------------------------------------


def speed_table(tasks: Sequence[Task], options: argparse.Namespace, frames: int) -> str:
    """Frames a second of all, and ours as ratios to each."""

    def per_frame(task: Task, key: str) -> float:
        return (median(task.reports["middle"], key) - median(task.reports["short"], key)) / frames

    ours = next((task for task in tasks if task.name == "ours"), None)
    rows: list[list[object]] = []
    whole = options.seconds * RATE
    for task in tasks:
        seconds, longer = per_frame(task, "wall_s"), task.reports["middle"]
        with_start = median(longer, "wall_s") / whole
        row: list[object] = [task.label, 1 / seconds, 1 / with_start, spread(longer, "wall_s")]
        row += [per_frame(task, "cpu_s"), median(longer, "peak_mb")]
        if ours is not None:
            own = median(ours.reports["middle"], "wall_s") / whole
            row += [seconds / per_frame(ours, "wall_s"), with_start / own]
        if "own_s" in longer[0]:
            short = median(task.reports["short"], "own_s")
            row[0] = f"{row[0]} ({frames / (median(longer, 'own_s') - short):.2f} before ffmpeg)"
        rows.append(row)
    header = ["", "frames/s", "with the start", f"s for {options.seconds} s", "CPU s a frame", "peak MB"]
    return table([*header, "bgremove times", "with the start"][: len(rows[0])], rows)


def file_table(tasks: Sequence[Task], clip: Path, folder: Path, masks: Path | None) -> str:
    """What each wrote."""
    rows = []
    for task in tasks:
        out = folder / f"{task.name}-middle.mp4"
        quality = f"{subject_psnr(clip, out, masks):.1f}" if masks else "-"
        rows.append([task.label, describe(out), out.stat().st_size / 1e6, quality])
    return table(["", "file", "MB", "PSNR dB, luma inside the subject, against the clip"], rows)


def memory_table(tasks: Iterable[Task], options: argparse.Namespace) -> str:
    """Peaks of a longer clip."""
    rows = []
    for task in tasks:
        if "long" in task.reports:
            peak, longest = (median(task.reports[clip], "peak_mb") for clip in ("middle", "long"))
            rows.append([task.label, peak, longest, longest / peak, median(task.reports["long"], "wall_s")])
    header = ["", f"peak MB, {options.seconds} s", f"{options.long} s", "ratio (target 0.95 to 1.05)", "s"]
    return table(header, rows)


# Clips ----------------------------------------------------------------------------------------------


def make_clips(options: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The short, the longer and the long clip."""
    seconds = {"short": options.short, "middle": options.seconds}
    if options.long:
        seconds["long"] = options.long
    base = options.clip
    if base is None:
        base = folder / "base.mp4"
        encode_clip(
            sorted(path for path in options.frames.iterdir() if path.is_file()), base, seconds["middle"]
        )
    clips = {name: folder / f"clip-{name}.mp4" for name in seconds}
    for name, path in clips.items():
        lengthen(base, path, seconds[name])
        if options.peer_python and (name != "long" or set(options.long_tasks) & set(PEERS)):
            colour_clip(path, _colour_of(path), options.colour)
    return clips


def encode_clip(pictures: Sequence[Path], target: Path, seconds: int) -> None:
    """H.264 of pictures shown to and fro, enlarged, with noise of sigma 2."""
    import av
    import cv2
    import numpy as np

    count = TURN // 2 + 1
    images = [_enlarged(cv2.imread(str(path)), cv2.INTER_CUBIC) for path in pictures[:count]]
    if len(images) < count:
        raise SystemExit(f"{count} pictures are needed; got {len(images)}")
    noise = np.random.default_rng(6).normal(0, 2, (HEIGHT + 64, WIDTH + 64, 1)).astype(np.float32)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = TURN
        for number in range(seconds * RATE):
            down, right = number * 29 % 64, number * 41 % 64
            grain = noise[down : down + HEIGHT, right : right + WIDTH]
            noisy = np.clip(images[_shown(number)] + grain + 0.5, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="bgr24")))
        container.mux(stream.encode(None))


def lengthen(base: Path, target: Path, seconds: int) -> None:
    """A clip of so many seconds: the packets of `base`, from the start again where it ends, and a tone."""
    import av
    import numpy as np

    wanted, sound_rate = seconds * RATE, 44100
    with av.open(str(base)) as source, av.open(str(target), "w") as container:
        given = source.streams.video[0]
        video = container.add_stream_from_template(given)
        sound = container.add_stream("aac", rate=sound_rate, layout="mono")
        tone = (
            np.sin(np.arange(seconds * sound_rate) * (2 * np.pi * 440 / sound_rate)).astype(np.float32) * 0.2
        )
        samples = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts = sound_rate, 0
        step = int(1 / (given.time_base * RATE))  # type: ignore[operator]
        packets: list[Any] = [packet for packet in source.demux(given) if packet.dts is not None]
        first, length = min(packet.pts for packet in packets), len(packets) * step
        for turn in range(-(-wanted // len(packets))):
            source.seek(0)
            again: Iterator[Any] = source.demux(given)
            for packet in again:
                if packet.dts is None or (packet.pts - first + turn * length) // step >= wanted:
                    continue
                packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                packet.stream = video
                container.mux(packet)
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


def colour_clip(clip: Path, target: Path, colour: Sequence[int]) -> None:
    """A video of nothing but a colour, as long as `clip` and with its sound: backgroundremover wants one."""
    import av
    import numpy as np

    pixels = np.full((HEIGHT, WIDTH, 3), colour, np.uint8)
    with av.open(str(clip)) as source, av.open(str(target), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        given = source.streams.audio[0] if source.streams.audio else None
        sound: Any = container.add_stream_from_template(given) if given else None  # before the first packet
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        for number in range(frames_of(clip)):
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for packet in source.demux(given) if given else ():
            if packet.dts is not None:
                packet.stream = sound
                container.mux(packet)


def _colour_of(clip: Path) -> Path:
    return clip.with_name(f"colour-{clip.name}")


def _shown(number: int) -> int:
    """Which picture is frame `number`."""
    place = number % TURN
    return min(place, TURN - place)


def _enlarged(image: Any, way: int) -> Any:
    """A picture that fills a frame, cut at the sides where its shape differs."""
    import cv2

    scale = max(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    large = cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)
    top, left = (large.shape[0] - HEIGHT) // 2, (large.shape[1] - WIDTH) // 2
    return large[top : top + HEIGHT, left : left + WIDTH]


def frames_of(clip: Path) -> int:
    """How many packets of pictures it has."""
    import av

    with av.open(str(clip)) as container:
        return sum(packet.dts is not None for packet in container.demux(container.streams.video[0]))


def describe(clip: Path) -> str:
    """Codec, frames and sound, in words."""
    import av

    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        parts = [f"{video.codec_context.name} {video.profile or ''}".strip(), f"{frames_of(clip)} frames"]
        parts.append("no sound")
        if container.streams.audio:
            sound = container.streams.audio[0]
            seconds = float((sound.duration or 0) * (sound.time_base or 0))
            parts[-1] = f"{sound.codec_context.name} of {seconds:.2f} s"
    return ", ".join(parts)


def subject_psnr(clip: Path, out: Path, masks: Path) -> float:
    """How near the subject's luma came through, where the mask is sure, every tenth frame; the median."""
    import av
    import cv2
    import numpy as np

    paths = sorted(masks.iterdir())
    kernel = np.ones((ERODE, ERODE), np.uint8)
    values = []
    with av.open(str(clip)) as before, av.open(str(out)) as after:
        pairs = zip(before.decode(video=0), after.decode(video=0), strict=False)
        for number, (frame, result) in enumerate(pairs):
            if number % 10:
                continue
            mask = cv2.imread(str(paths[_shown(number)]), cv2.IMREAD_GRAYSCALE)
            sure = cv2.erode(_enlarged(mask, cv2.INTER_NEAREST), kernel) > 0
            first, second = (one.to_ndarray(format="gray")[sure] for one in (frame, result))
            error = float(np.square(first.astype(np.float32) - second).mean()) or 1e-3
            values.append(10 * float(np.log10(255**2 / error)))
    return statistics.median(values)


# Children -------------------------------------------------------------------------------------------


def child(name: str, clip: str, out: str, settings: str) -> None:
    """One run of a loop or a peer."""
    job = Job(**json.loads(settings))
    if name in ("loop", "stills"):
        loop(Path(clip), Path(out), job, whole=name == "stills")
    elif name == "transparent-background":
        transparent_background(Path(clip), Path(out), job)
    else:
        backgroundremover(Path(clip), Path(out), job, same=name.endswith("-same"))


def loop(clip: Path, out: Path, job: Job, *, whole: bool) -> None:
    """What one writes with PyAV and this package."""
    import av
    import numpy as np

    import bgremove

    remover = bgremove.create_remover("lite")
    colour = np.array(job.colour, np.float32)
    with av.open(str(clip)) as source, av.open(str(out), "w") as target:
        video, sound = source.streams.video[0], source.streams.audio[0]
        encoding = {"preset": job.preset, "crf": str(job.crf)}
        made = target.add_stream("libx264", rate=video.average_rate, options=encoding)
        made.width, made.height, made.pix_fmt = video.width, video.height, "yuv420p"
        copied = target.add_stream_from_template(sound)
        for packet in source.demux(video, sound):
            if packet.stream is sound:
                if packet.dts is not None:
                    packet.stream = copied
                    target.mux(packet)
                continue
            frames: list[Any] = packet.decode()
            for frame in frames:
                image = frame.to_ndarray(format="rgb24")
                if whole:
                    pixels = bgremove.remove(image, remover, background=job.colour)
                else:
                    alpha = remover.predict_alpha(image)[..., None]
                    pixels = (image * alpha + colour * (1 - alpha) + 0.5).astype(np.uint8)
                new = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                new.pts, new.time_base = frame.pts, frame.time_base
                target.mux(made.encode(new))
        target.mux(made.encode(None))


def backgroundremover(clip: Path, out: Path, job: Job, *, same: bool) -> None:
    """Its command line, with our network. It starts processes, which read this file again: see the end."""
    utilities = use_our_network()
    command = importlib.import_module("backgroundremover.cmd.cli")
    if same:
        utilities._alpha_encoding_args = lambda *_: job.encoding()
    sys.argv = ["backgroundremover", "-i", str(clip), "-tov", "-bv", str(_colour_of(clip)), "-o", str(out)]
    sys.argv += ["--alpha-codec", "libx264", "--alpha-pix-fmt", "yuv420p"]
    command.main()


def use_our_network() -> Any:
    """backgroundremover's video code, whose network is ours from now on."""
    torch: Any = importlib.import_module("torch")
    utilities: Any = importlib.import_module("backgroundremover.utilities")

    class Net:
        """In place of its own: pictures (N, H, W, 3) in, mattes of 0 to 255 (N, H, W) out."""

        def __init__(self, _: str) -> None:
            self._answer = our_network()

        def __call__(self, pictures: Any) -> Any:
            import cv2
            import numpy as np

            mattes = []
            for picture in pictures.numpy().astype(np.uint8):
                seen = cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA)
                blob = (seen.astype(np.float32) / 255 - np.array(MEAN, np.float32)) / np.array(
                    STD, np.float32
                )
                alpha = self._answer(np.ascontiguousarray(blob.transpose(2, 0, 1)[None]))[0, 0]
                mattes.append(cv2.resize(alpha, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR))
            return torch.as_tensor((np.stack(mattes) * 255 + 0.5).astype(np.uint8))

    utilities.Net = Net
    torch.jit.trace = lambda net, _: net  # it would record the operations of a network of PyTorch's
    return utilities


def transparent_background(clip: Path, out: Path, job: Job) -> None:
    """Its command with our network, then ffmpeg for H.264 and the sound."""
    torch: Any = importlib.import_module("torch")
    os.environ["TRANSPARENT_BACKGROUND_FILE_PATH"] = job.scratch
    module: Any = importlib.import_module("transparent_background.Remover")
    config = module.load_config

    class Network(torch.nn.Module):  # type: ignore[misc]
        """In place of its own: (1, 3, 256, 256), prepared by its own code, to (1, 1, 256, 256)."""

        def __init__(self, **_: Any) -> None:
            super().__init__()
            self._answer = our_network()

        def forward(self, pictures: Any) -> Any:
            return torch.from_numpy(self._answer(pictures.numpy()))

    def small(path: str) -> Any:
        settings = config(path)
        settings["base"].base_size = [256, 256]
        return settings

    module.InSPyReNet_SwinB, module.load_config = Network, small
    torch.load = lambda *_, **__: {}
    started, folder = time.perf_counter(), Path(tempfile.mkdtemp(dir=job.scratch))
    colour = str(list(job.colour))
    module.entry_point(colour, "base", None, "none.pth", str(clip), str(folder), False, None, "static")
    [silent] = folder.iterdir()
    own = time.perf_counter() - started
    command = ["ffmpeg", "-y", "-loglevel", "error", "-i", str(silent), "-i", str(clip)]
    command += ["-map", "0:v", "-map", "1:a", *job.encoding(), "-c:a", "copy", str(out)]
    subprocess.run(command, check=True)
    shutil.rmtree(folder)
    print("\n" + json.dumps({"own_s": own}))


def our_network() -> Callable[[Any], Any]:
    """The shipped network: one thread, since a second one gains nothing."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(NETWORK), options, providers=["CPUExecutionProvider"])
    return lambda blob: session.run(["alpha"], {"image": blob})[0]


if __name__ == "__mp_main__":  # one of backgroundremover's workers
    use_our_network()
elif __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
