"""The whole in one: photos, a model, its settings, Run, the result in several views, Save and Download."""

from __future__ import annotations

import asyncio
import base64
import html
import os
import re
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, TextIO, cast

import ipywidgets as w

from bgremove.compositing import Pixels
from bgremove.errors import BGRemoveError, BGRemoveWarning, ImageError, OptionError
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams, make_folder, write_bytes
from bgremove.options import Params, split_settings
from bgremove.pipeline import Cut, OutputParams, Settings
from bgremove.refine import RefineParams
from bgremove.registry import full_name, remover_info
from bgremove.removers.base import Device, RemoverInfo
from bgremove.segments import SelectParams
from bgremove.widgets import views
from bgremove.widgets.backdrop import Backdrop
from bgremove.widgets.bench import Bench, Result, result_of
from bgremove.widgets.chooser import Chooser
from bgremove.widgets.fields import Field, Form, folded, style_sheet
from bgremove.widgets.legend import Legend
from bgremove.widgets.lines import command_line, python_line
from bgremove.widgets.photos import Photo, Photos, on_colab, photos_of
from bgremove.widgets.style import ERROR, NOTE, STYLE, message

VIEWS = {
    "compare": "Before | after",
    "result": "Result",
    "steps": "Step by step",
    "found": "Found",
    "alpha": "Alpha",
    "trimap": "Trimap",
}
"""The views and their titles; ``found`` only for models that find segments."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "detectron2": {
        "use-default": {
            "model": "mask_rcnn_X_101_32x8d_FPN_3x",
            "background": "#ffffff",
            "size": "500",
        }
    }
}
"""Presets of a kind of model, of more than one group of settings."""

_QUICK = {"contour"}  # so quick that every change of its settings shows at once
_PAUSE = 0.25  # seconds without a change, before one is worked on
_LARGEST_LINK = 30_000_000  # bytes that a page takes as a link


class App:
    """What :func:`app` gives; a cell that ends with it shows it.

    Attributes:
        photos: what there is to work on.
        chooser, backdrop: the choice of a model, and of a background.
        run_button, run_all_button, save_button, download_button: what they say.
        photo_choice, view_buttons: which photo, and which view of it.
        view: the HTML that shows the picture.
        widget: all of it.
        result: pixels of the current photo's result, of the photo's own size; None before there is one.
        error: the sentence shown; empty if nothing is wrong.
        python_line, command_line: what gives the same result.
    """

    def __init__(
        self,
        photos: Photos,
        chooser: Chooser,
        backdrop: Backdrop,
        *,
        preset: str | None,
        show: Sequence[str],
        folder: Path,
        labels: Mapping[str, str],
        values: Mapping[str, Any],
    ) -> None:
        self.photos, self.chooser, self.backdrop = photos, chooser, backdrop
        self._folder, self._labels, self._bench = folder, labels, Bench()
        self._chosen: dict[Photo, tuple[int, ...]] = {}  # segments, where they were clicked
        self._made: dict[Photo, Result] = {}  # the current photo's only
        self._timer: asyncio.TimerHandle | None = None
        self._silent = False
        self.error = self.python_line = self.command_line = ""
        self._remover_forms: dict[Any, Form] = {}
        self.refine = Form(RefineParams, labels=labels)
        self.colours = Form(ForegroundParams, labels=labels)
        self.output = Form(OutputParams, names=["output", "crop", "padding", "size"], labels=labels)
        self.file = Form(WriteParams, labels=labels)
        self._build(show)
        self._start(preset, values)
        self._listen()
        self._photos_changed()

    # What it says ----------------------------------------------------------------------------------

    @property
    def photo(self) -> Photo | None:
        """The photo that is shown."""
        return cast("Photo | None", self.photo_choice.value)

    @property
    def result(self) -> Pixels | None:
        return made.pixels if self.photo and (made := self._made.get(self.photo)) else None

    @property
    def remover_form(self) -> Form:
        """The settings of the chosen model."""
        return self._form_of(self.chooser.info)

    def field(self, name: str) -> Field:
        """The field of a setting, by name.

        Raises:
            OptionError: if the form shows none of that name now.
        """
        for one in self._forms:
            if name in one.fields:
                return one.fields[name]
        raise OptionError(f"the form has no field {name!r} now; it depends on the model")

    def settings(self) -> Settings:
        """All that is chosen, validated.

        Raises:
            OptionError, ImageError: with one sentence.
        """
        values = self._values()
        picture = self.backdrop.background()
        if picture is not None:
            values["background"] = picture
        return Settings.build(self.chooser.model, **values)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    # What it does ----------------------------------------------------------------------------------

    def run(self, *, save: bool = False, everything: bool = False) -> None:
        """Work on the current photo, or on all, with what is chosen."""
        with self._working():
            settings, device = self.settings(), self.chooser.where
            todo = self.photos.items if everything else [self.photo] if self.photo else []
            if not todo:
                raise ImageError("there is no photo yet; upload one")
            for number, photo in enumerate(todo):
                self._say(100 * number // len(todo), f"{photo.name}")
                if everything:
                    self._show_photo(photo)
                    settings = self.settings()  # a photo can have its own choice of segments
                self._work(photo, settings, device)
                if save:
                    self._save(photo)

    def save(self) -> None:
        """Write the current result into the folder, under a name that is free."""
        with self._working():
            self._save(self._done())

    def download(self) -> None:
        """Send the current result to the browser: at once on Colab, elsewhere as a link."""
        with self._working():
            photo = self._done()
            made = self._made[photo]
            data, name = made.encoded(), _file_name(photo, made)
            files = on_colab()
            if files is not None or len(data) > _LARGEST_LINK:
                path = self._save(photo)
                if files is not None:
                    files.download(str(path))
            else:
                self._note(_link(data, name))

    def _work(self, photo: Photo, settings: Settings, device: Device) -> None:
        begun = time.perf_counter()
        subject = self._bench.cut(photo, settings, device, lambda text: self._say(None, text))
        work = self._bench.work(photo)
        self._made = {photo: result_of(subject, settings, work.metadata)}
        seconds = time.perf_counter() - begun
        self._show(photo, subject)
        notes = [*work.notes, self._bench.remover(settings, device).note]
        self._told.value = _facts(photo, subject, settings, seconds, notes)
        self.chooser.refresh()

    def _update(self) -> None:
        """Work again after a change that is quick."""
        self._timer = None
        if self.photo is not None and self._is_quick(self.photo):
            self.run()

    def _is_quick(self, photo: Photo) -> bool:
        """Whether the change needs no run of a model, or of one that is quick enough."""
        if photo not in self._made:
            return False
        try:
            settings = self.settings()
        except BGRemoveError:
            return False
        return self.chooser.info.name in _QUICK or self._bench.ready(photo, settings, self.chooser.where)

    def _save(self, photo: Photo) -> Path:
        made = self._made[photo]
        data = made.encoded()
        make_folder(self._folder)
        path = _free(self._folder / _file_name(photo, made))
        write_bytes(path, data)
        height, width = made.pixels.shape[:2]
        self._note(f"Saved {html.escape(str(path))}: {width} x {height} px, {len(data) / 1e6:.1f} MB")
        return path

    def _done(self) -> Photo:
        """The current photo, if there is a result that fits the settings."""
        photo = self.photo
        if photo is None or photo not in self._made:
            raise OptionError("there is no result yet; press Run first")
        return photo

    # What happens when something changes -----------------------------------------------------------

    def _photos_changed(self) -> None:
        items = self.photos.items
        self._made, self._chosen = {}, {}
        self._bench.forget()
        with self._silently():
            self.photo_choice.options = [(Path(photo.name).name, photo) for photo in items]
            self.photo_choice.value = items[0] if items else None
        several = len(items) > 1
        self._photo_row.layout.display = None if several else "none"
        self.run_all_button.layout.display = None if several else "none"
        self._photo_changed()

    def _photo_changed(self) -> None:
        """Show the photo that was chosen, or its result if that is known."""
        if self._silent:
            return
        self._made = {}
        self._tell_lines()
        if self.photo is None:
            self.view.value = message("Upload a photo to begin.", NOTE)
            return
        with self._working():
            settings, device = self.settings(), self.chooser.where
            if self._bench.ready(self.photo, settings, device):
                self._work(self.photo, settings, device)
            else:
                self.legend.show(None, None)
                self._told.value = ""
                self.view.value = views.single(self._bench.work(self.photo).frame.image, self.photo.name)

    def _show_photo(self, photo: Photo) -> None:
        with self._silently():
            self.photo_choice.value = photo

    def _model_changed(self) -> None:
        self._place_form()
        self._chosen = {}
        self._settings_changed()

    def _remover_changed(self) -> None:
        if self.photo is not None:
            self._chosen.pop(self.photo, None)
        self._settings_changed()

    def _settings_changed(self) -> None:
        if self._silent:
            return
        self._tell_lines()
        self._check()
        if self.photo is None or self.photo not in self._made or self.error:
            return
        if self._is_quick(self.photo):
            self._later()
        else:
            self._note("The settings have changed: press Run.")

    def _segments_clicked(self, chosen: tuple[int, ...]) -> None:
        if self.photo is not None:
            self._chosen[self.photo] = chosen
            self._settings_changed()

    def _view_changed(self) -> None:
        photo = self.photo
        if photo is None or photo not in self._made:
            return
        with self._working():
            self._show(photo, self._bench.cut(photo, self._made[photo].settings, self.chooser.where))

    def _later(self) -> None:
        """Work when the changes have paused; at once where nothing can wait, as in a script."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._update()
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_later(_PAUSE, self._update)

    # What it looks like ----------------------------------------------------------------------------

    def _build(self, show: Sequence[str]) -> None:
        line = {"width": "auto"}
        self.photo_choice = w.Dropdown(
            description="Photo", layout={"width": "auto", "margin": "2px 8px 2px 2px"}
        )
        self.photo_choice.style.description_width = "64px"
        self._photo_row = w.VBox([self.photo_choice])
        self.preset_choice = w.Dropdown(description="Preset", layout=self.photo_choice.layout)
        self.preset_choice.style.description_width = "64px"
        self.run_button = w.Button(description="Run", icon="play", button_style="primary")
        self.run_button.add_class("bgremove-run")
        self.run_all_button = w.Button(description="Run and save all", layout=line)
        self.save_button = w.Button(description="Save", icon="save", layout=line)
        self.download_button = w.Button(description="Download", icon="download", layout=line)
        self.view_buttons = w.ToggleButtons(options=[(VIEWS[one], one) for one in show], value=show[0])
        self.view_buttons.style.button_width = "auto"
        self._progress = w.IntProgress(layout={"width": "160px", "visibility": "hidden"})
        self._phase, self._problem, self._told, self._lines, self.view = (w.HTML() for _ in range(5))
        self._phase.add_class("bgremove-status")
        self.legend = Legend(self._segments_clicked)
        self._form_box = w.VBox()
        left = w.VBox(
            [
                _headed("Photo", self.photos.widget, self._photo_row),
                _headed("Model", self.chooser.widget, self.preset_choice, self._form_box),
                _headed("Background", self.backdrop.widget),
                folded("Refinement and edges", w.VBox([self.refine.widget, self.colours.widget])),
                folded("Result and file", w.VBox([self.output.widget, self.file.widget])),
            ],
            layout={"flex": "0 1 390px", "min_width": "300px", "padding": "0 12px 0 0"},
        )
        buttons = [self.run_button, self.save_button, self.download_button, self.run_all_button]
        right = w.VBox(
            [
                w.HBox(
                    [*buttons, self._progress, self._phase],
                    layout={"flex_flow": "row wrap", "align_items": "center"},
                ),
                self._problem,
                self.view_buttons,
                self.view,
                self._told,
                self.legend.widget,
                folded("The same in Python and on the command line", self._lines),
            ],
            layout={"flex": "1 1 440px", "min_width": "300px"},
        )
        body = w.HBox([left, right], layout={"flex_flow": "row wrap", "align_items": "flex-start"})
        self.widget = w.VBox([style_sheet(), body])
        self.widget.add_class(STYLE)

    def _start(self, preset: str | None, values: Mapping[str, Any]) -> None:
        """Set the fields to what the call says."""
        self._place_form()
        if preset is not None:
            self._apply(preset)
        groups = [form for form in self._forms if form.fields]
        given = split_settings(values, *dict.fromkeys(form.type for form in groups))
        for kind, some in zip(dict.fromkeys(form.type for form in groups), given, strict=True):
            for one in groups:
                if one.type is kind:
                    one.set(**{name: value for name, value in some.items() if name in one.fields})

    def _apply(self, preset: str) -> None:
        """Set the fields to a preset of the kind of model, of the model, or of the refinement.

        Raises:
            OptionError: if none of them has it.
        """
        whole = PRESETS.get(self.chooser.info.kind, {})
        if preset in whole:
            values = dict(whole[preset])
            self.chooser.select(values.pop("model"))
            self.backdrop.choose(values.pop("background"))
            self.output.set(**values)
        elif preset in self.chooser.info.params.presets:
            self.remover_form.apply_preset(preset)
        elif preset in RefineParams.presets:
            self.refine.apply_preset(preset)
        else:
            known = [*whole, *self.chooser.info.params.presets, *RefineParams.presets]
            raise OptionError(
                f"unknown preset {preset!r} for {self.chooser.info.name}; known: {', '.join(known)}"
            )

    def _listen(self) -> None:
        self.photos.on_change(self._photos_changed)
        self.chooser.on_change(self._model_changed)
        for one in (self.backdrop, self.refine, self.colours, self.output, self.file):
            one.on_change(self._settings_changed)
        self.photo_choice.observe(lambda _: self._photo_changed(), names="value")
        self.view_buttons.observe(lambda _: self._view_changed(), names="value")
        self.preset_choice.observe(self._preset_chosen, names="value")
        self.run_button.on_click(lambda _: self.run())
        self.run_all_button.on_click(lambda _: self.run(save=True, everything=True))
        self.save_button.on_click(lambda _: self.save())
        self.download_button.on_click(lambda _: self.download())

    def _preset_chosen(self, change: Mapping[str, Any]) -> None:
        if not self._silent and change["new"]:
            with self._working(), self._silently():
                self._apply(change["new"])
            self._model_changed()

    @property
    def _forms(self) -> list[Form]:
        more = [self.backdrop.fit, self.backdrop.blur]
        return [self.remover_form, self.refine, self.colours, self.output, self.file, *more]

    def _form_of(self, info: RemoverInfo) -> Form:
        """The form of a model's settings; one for all models that have the same."""
        key = info.params, tuple(info.defaults.items())
        if key not in self._remover_forms:
            made = Form(info.params, info.defaults, labels=self._labels)
            made.on_change(self._remover_changed)
            self._remover_forms[key] = made
        return self._remover_forms[key]

    def _place_form(self) -> None:
        """Show the settings of the chosen model, opened if it is a model to play with."""
        info = self.chooser.info
        fold = folded(f"Settings of {info.name}", self.remover_form.widget, opened=info.kind == "classical")
        _close(self._form_box.children)
        self._form_box.children = [fold]
        names = list(PRESETS.get(info.kind, {}))
        with self._silently():
            self.preset_choice.options = [("as chosen", ""), *((one.replace("-", " "), one) for one in names)]
        self.preset_choice.layout.display = None if names else "none"

    def _show(self, photo: Photo, subject: Cut) -> None:
        """The chosen view of a result."""
        work, made = self._bench.work(photo), self._made[photo]
        self.legend.show(work.segments, subject.segments)
        match self.view_buttons.value:
            case "compare":
                over = made.settings.background.under(subject.image, subject.foreground, subject.alpha)
                self.view.value = views.before_after(subject.image, over)
            case "found" if work.segments is not None:
                picture = views.overlay(work.frame.image, work.segments, subject.segments)
                self.view.value = views.single(picture, "Found")
            case "steps":
                remover = self._bench.remover(made.settings, self.chooser.where)
                self.view.value = views.gallery(views.steps_of(work, subject, remover, made.pixels))
            case "alpha" | "trimap" as name:
                self.view.value = views.single(views.one_of(subject, name), name)
            case _:
                self.view.value = views.single(made.pixels, "Result")

    # Words -----------------------------------------------------------------------------------------

    def _values(self) -> dict[str, Any]:
        """Settings that differ from the defaults, as both lines write them."""
        values = dict(self.remover_form.changed)
        chosen = self._chosen.get(self.photo) if self.photo else None
        if chosen is not None:
            kept = {"min_score"} | (set(values) - set(SelectParams.model_fields))
            values = {name: value for name, value in values.items() if name in kept}
            values["index"] = ",".join(map(str, chosen))
        for one in (self.refine, self.colours, self.output, self.file):
            values |= one.changed
        return self.backdrop.values | values

    def _tell_lines(self) -> None:
        try:
            values = self._values()
            if self.chooser.where != "auto":
                values["device"] = self.chooser.where
            model = self.chooser.model
        except BGRemoveError:
            return  # said where the form says what is wrong
        model = "auto" if model == full_name("auto") else model
        name = self.photo.name if self.photo else "photo.jpg"
        self.python_line = python_line(name, model, values)
        self.command_line = command_line(name, model, values)
        self._lines.value = views.code(f"import bgremove\n{self.python_line}") + views.code(self.command_line)

    def _check(self) -> None:
        """Say what is wrong with the settings, if anything is."""
        try:
            self.settings()
            self._tell("")
        except BGRemoveError as error:
            self._tell(str(error))

    def _tell(self, error: str) -> None:
        self.error = error
        self._problem.value = message(error, ERROR)

    def _note(self, content: str) -> None:
        self._problem.value = f'<div class="{NOTE}">{content}</div>'

    def _say(self, percent: int | None, text: str = "") -> None:
        """What is being done now, and how far it is."""
        if percent is not None:
            self._progress.value = percent
        self._phase.value = f"<span>{html.escape(text)}</span>"

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Show that work goes on; whatever goes wrong becomes a sentence in the form."""
        buttons = (self.run_button, self.run_all_button, self.save_button, self.download_button)
        self._tell("")
        self._progress.layout.visibility = "visible"
        for button in buttons:
            button.disabled = True
        try:
            with warnings.catch_warnings(), redirect_stderr(cast(TextIO, _Listener(self._say))):
                warnings.simplefilter("ignore", BGRemoveWarning)  # their sentences are in the notes
                yield
        except Exception as error:
            if os.environ.get("BGREMOVE_DEBUG"):
                traceback.print_exc()
            self._tell(_sentence(error))
        finally:
            for button in buttons:
                button.disabled = False
            self._progress.layout.visibility = "hidden"
            self._say(0)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before


def app(
    photos: Any = None,
    model: str = "auto",
    *,
    models: str | Sequence[str] | None = None,
    preset: str | None = None,
    background: Any = "transparent",
    show: Sequence[str] = tuple(VIEWS),
    folder: str | os.PathLike[str] = "results",
    device: Device = "auto",
    labels: Mapping[str, str] | None = None,
    **values: Any,
) -> App:
    """Everything in one form: photos, a model, its settings, the result, and saving it.

    Args:
        photos: what :func:`~bgremove.widgets.upload` gave; a path, a folder, bytes, a PIL image, an array, or
            a list of such; None shows the package's samples until something is uploaded.
        model: the model to begin with.
        models: those on offer: a kind (``network``, ``detectron2``, ``classical``) or names; None offers all.
        preset: to begin with: of the kind of model, of the model, or of the refinement.
        background: to begin with, as for :func:`bgremove.remove`.
        show: the views on offer, the first is shown first: ``compare``, ``result``, ``steps``, ``found``,
            ``alpha``, ``trimap``.
        folder: where Save writes.
        device: ``auto``, ``cpu`` or ``cuda``.
        labels: other labels than the settings' names, as ``{"size": "RESIZE"}``.
        values: settings to begin with, by name: ``canny_low=15``.

    Raises:
        BGRemoveError: with one sentence, if one of these cannot be used.
    """
    unknown = [one for one in show if one not in VIEWS]
    if unknown or not show:
        raise OptionError(f"show must be some of {', '.join(VIEWS)}; got {', '.join(unknown) or 'none'}")
    if not isinstance(photos, Photos):
        photos = Photos(() if photos is None else photos_of(photos))
    chooser, backdrop = Chooser(model, models, device), Backdrop(background)
    if "found" in show and not any(issubclass(row.params, SelectParams) for row in chooser.rows):
        show = [one for one in show if one != "found"] or ["result"]
    return App(
        photos,
        chooser,
        backdrop,
        preset=preset,
        show=show,
        folder=Path(folder),
        labels=labels or {},
        values=values,
    )


class _Listener:
    """In place of stderr: what a download's progress bar says becomes the form's."""

    def __init__(self, say: Any) -> None:
        self._say = say

    def write(self, text: str) -> int:
        found = re.search(r"(.*?):?\s*(\d+)%", text)
        if found:
            self._say(int(found[2]), f"Downloading {found[1].strip()}")
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""


def _sentence(error: Exception) -> str:
    if isinstance(error, BGRemoveError):
        return str(error)
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; take a smaller photo or another model"
    return f"this should not have happened, please report it: {type(error).__name__}: {error}"


def _facts(photo: Photo, subject: Cut, settings: Settings, seconds: float, notes: Sequence[str]) -> str:
    """What there is to say of a result."""
    height, width = subject.alpha.shape
    if subject.empty:
        why = subject.note or f"the model {settings.model} found no subject; try another model"
        return message(f"{photo.name}: the result is empty: {why}", NOTE)
    share = f"{float(subject.alpha.mean()):.0%} of it is subject"
    facts = [
        f"{Path(photo.name).name}, {width} x {height} px, {share}, {seconds:.2f} s",
        *(note[:1].upper() + note[1:] for note in notes if note),
    ]
    return f'<div class="bgremove-hint">{html.escape(". ".join(facts))}</div>'


def _file_name(photo: Photo, made: Result) -> str:
    return f"{photo.stem}_{made.output}{made.extension}"


def _free(path: Path) -> Path:
    """`path`, or with a number if there is such a file."""
    number = 1
    found = path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return found


def _link(data: bytes, name: str) -> str:
    shown = html.escape(name, quote=True)
    address = f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
    return f'Ready: <a class="bgremove-link" download="{shown}" href="{address}">{shown}</a> ({len(data) / 1e6:.1f} MB)'


def _headed(title: str, *parts: Any) -> Any:
    """Parts under a heading."""
    return w.VBox([w.HTML(f'<div class="bgremove-head">{title}</div>'), *parts])


def _close(widgets: Sequence[Any]) -> None:
    """Free widgets that hold others which are still needed."""
    for one in widgets:
        one.children = ()
        one.layout.close()
        one.close()
