"""The whole in one: photos, a model, its settings, Run, the result in several views, Save and Download."""

from __future__ import annotations

import asyncio
import os
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
from bgremove.io import make_folder, write_bytes
from bgremove.pipeline import Cut, Settings
from bgremove.registry import full_name
from bgremove.removers.base import Device
from bgremove.segments import SelectParams
from bgremove.widgets import views
from bgremove.widgets.backdrop import Backdrop
from bgremove.widgets.bench import Bench, Result, file_name, result_of
from bgremove.widgets.chooser import Chooser
from bgremove.widgets.controls import Controls
from bgremove.widgets.fields import Field, Form, folded
from bgremove.widgets.legend import Legend
from bgremove.widgets.lines import command_line, python_line
from bgremove.widgets.panel import VIEWS, Panel, show_if
from bgremove.widgets.photos import Photo, Photos, on_colab, photos_of
from bgremove.widgets.silence import Silenced
from bgremove.widgets.style import ERROR, NOTE, message
from bgremove.widgets.words import Listener, facts, free_path, link, sentence_of, zipped

_QUICK = {"contour"}  # so quick that every change of its settings shows at once
_PAUSE = 0.25  # seconds without a change, before one is worked on
_LARGEST_LINK = 30_000_000  # bytes that a page takes as a link


class App(Silenced):
    """What :func:`app` gives; a cell that ends with it shows it.

    Attributes:
        photos: what there is to work on.
        chooser, backdrop: the choice of a model, and of a background.
        controls: these and all the settings.
        bench: what does the work.
        run_button, run_all_button, save_button, download_button: what they say.
        photo_choice, model_choice, background_choice, colour_choice, view_buttons: what is chosen.
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
        self.controls = Controls(chooser, backdrop, labels)
        self._folder, self.bench = folder, Bench()
        self._chosen: dict[Photo, tuple[int, ...]] = {}  # segments, where they were clicked
        self._made: dict[Photo, Result] = {}  # the current photo's only
        self._timer: asyncio.TimerHandle | None = None
        self._stale = False  # the result is of other settings than the form's
        self.error = self.python_line = self.command_line = ""
        self.panel = Panel(show)
        self.photo_choice, self.model_choice = self.panel.photo, chooser.choice
        self.run_button, self.run_all_button = self.panel.run, self.panel.run_all
        self.save_button, self.download_button = self.panel.save, self.panel.download
        self.view_buttons, self.view = self.panel.views, self.panel.view
        self.background_choice, self.colour_choice = backdrop.kind, backdrop.colour
        self.legend = Legend(self._segments_clicked)
        self.widget = self._arranged()
        self._place_form()
        if preset is not None:
            self.controls.apply(preset)
        self.controls.set(values)
        self._listen()
        self._photos_changed()

    # What it says ----------------------------------------------------------------------------------

    @property
    def photo(self) -> Photo | None:
        """The photo that is shown."""
        return cast("Photo | None", self.panel.photo.value)

    @property
    def result(self) -> Pixels | None:
        return made.pixels if self.photo and (made := self._made.get(self.photo)) else None

    @property
    def remover_form(self) -> Form:
        """The settings of the chosen model."""
        return self.controls.remover

    def field(self, name: str) -> Field:
        """The field of a setting, by name.

        Raises:
            OptionError: if the form shows none of that name now.
        """
        return self.controls.field(name)

    def settings(self) -> Settings:
        """All that is chosen, validated.

        Raises:
            OptionError, ImageError: with one sentence.
        """
        return self.controls.settings(self._index)

    @property
    def _index(self) -> tuple[int, ...] | None:
        """The segments of the shown photo that were clicked."""
        return self._chosen.get(self.photo) if self.photo else None

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)  # type: ignore[no-untyped-call, unused-ignore]

    # What it does ----------------------------------------------------------------------------------

    def run(self, *, save: bool = False, everything: bool = False) -> None:
        """Work on the current photo, or on all, with what is chosen."""
        with self._working():
            settings, device = self.settings(), self.chooser.where
            todo = self.photos.items if everything else [self.photo] if self.photo else []
            if not todo:
                raise ImageError("there is no photo yet; upload one")
            for number, photo in enumerate(todo):
                self.panel.say(photo.name, 100 * number // len(todo))
                if everything:
                    self._show_photo(photo)
                    settings = self.settings()  # a photo can have its own choice of segments
                self._work(photo, settings, device)
                if save:
                    self._save(photo)

    def save(self) -> None:
        """Write the current result into the folder, under a free name; of instances, a file each."""
        with self._working():
            self._save(self._done())

    def download(self) -> None:
        """Send the current result to the browser, several files as a zip: as a link, on Colab at once."""
        with self._working():
            photo = self._done()
            files = self._made[photo].files(photo)
            name, data = next(iter(files.items()))
            if len(files) > 1:
                name, data = f"{photo.stem}_instances.zip", zipped(files)
            colab = on_colab()
            if colab is None and len(data) <= _LARGEST_LINK:
                self.panel.tell_html(link(data, name))
                return
            [path] = self._write({name: data}, f"{len(files)} files" if len(files) > 1 else "one file")
            if colab is not None:
                colab.download(str(path))

    def _work(self, photo: Photo, settings: Settings, device: Device) -> None:
        begun = time.perf_counter()
        subject = self.bench.cut(photo, settings, device, self.panel.say)
        work = self.bench.work(photo)
        self._made = {photo: result_of(subject, settings, work)}
        self._stale = False
        seconds = time.perf_counter() - begun
        self._show(photo, subject)
        notes = [*work.notes, self.bench.remover(settings, device).note]
        self.panel.facts.value = facts(photo, subject, settings, seconds, notes)
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
        return self.chooser.info.name in _QUICK or self.bench.ready(photo, settings, self.chooser.where)

    def _save(self, photo: Photo) -> None:
        made = self._made[photo]
        files = made.files(photo)
        height, width = made.pixels.shape[:2]
        self._write(files, f"{len(files)} files" if made.settings.instances else f"{width} x {height} px")

    def _write(self, files: Mapping[str, bytes], what: str) -> list[Path]:
        """Put files into the folder, each under a name that is free, and say so."""
        make_folder(self._folder)
        paths = []
        for name, data in files.items():
            paths.append(free_path(self._folder / name))
            write_bytes(paths[-1], data)
        size = sum(map(len, files.values())) / 1e6
        self.panel.tell(f"Saved {', '.join(map(str, paths))}: {what}, {size:.1f} MB")
        return paths

    def _done(self) -> Photo:
        """The current photo, if there is a result that fits the settings."""
        photo = self.photo
        if photo is None or photo not in self._made:
            raise OptionError("there is no result yet; press Run first")
        if self._stale and not self._is_quick(photo):
            self.settings()  # what is wrong with them says more
            raise OptionError("the settings have changed since this result; press Run first")
        if self._stale:
            self._work(photo, self.settings(), self.chooser.where)
        return photo

    # What happens when something changes -----------------------------------------------------------

    def _photos_changed(self) -> None:
        items = self.photos.items
        self._made, self._chosen = {}, {}
        self.bench.forget()
        with self._silently():
            self.panel.photo.options = [(Path(photo.name).name, photo) for photo in items]
            self.panel.photo.value = items[0] if items else None
        several = len(items) > 1
        show_if(self.panel.photo, several)
        show_if(self.panel.run_all, several)
        self._photo_changed()

    def _photo_changed(self) -> None:
        """Show the photo that was chosen, or its result if that is known."""
        if self._silent:
            return
        self._made = {}
        self._tell_lines()
        if self.photo is None:
            self.panel.view.value = message("Upload a photo to begin.", NOTE)
            return
        with self._working():
            settings, device = self.settings(), self.chooser.where
            if self.bench.ready(self.photo, settings, device):
                self._work(self.photo, settings, device)
            else:
                self.legend.show(None, None)
                self.panel.facts.value = ""
                self.panel.view.value = views.single(self.bench.work(self.photo).frame.image, self.photo.name)

    def _show_photo(self, photo: Photo) -> None:
        with self._silently():
            self.panel.photo.value = photo

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
        self._stale = True
        if self.photo is None or self.photo not in self._made or self.error:
            return
        if self._is_quick(self.photo):
            self._later()
        else:
            self.panel.tell("The settings have changed: press Run.")

    def _segments_clicked(self, chosen: tuple[int, ...]) -> None:
        if self.photo is not None:
            self._chosen[self.photo] = chosen
            self._settings_changed()

    def _view_changed(self) -> None:
        photo = self.photo
        if photo is None or photo not in self._made:
            return
        with self._working():
            self._show(photo, self.bench.cut(photo, self._made[photo].settings, self.chooser.where))

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

    def _arranged(self) -> Any:
        of = self.controls
        folds = [
            folded("Refinement and edges", w.VBox([of.refine.widget, of.colours.widget])),
            folded("Result and file", w.VBox([of.output.widget, of.file.widget])),
        ]
        parts = self.photos.widget, self.chooser.widget, self.backdrop.widget
        return self.panel.arrange(*parts, folds, self.legend.widget)

    def _listen(self) -> None:
        self.photos.on_change(self._photos_changed)
        self.controls.on_change(self._model_changed, self._remover_changed, self._settings_changed)
        self.panel.photo.observe(lambda _: self._photo_changed(), names="value")
        self.panel.views.observe(lambda _: self._view_changed(), names="value")
        self.panel.preset.observe(self._preset_chosen, names="value")
        self.panel.run.on_click(lambda _: self.run())
        self.panel.run_all.on_click(lambda _: self.run(save=True, everything=True))
        self.panel.save.on_click(lambda _: self.save())
        self.panel.download.on_click(lambda _: self.download())

    def _preset_chosen(self, change: Mapping[str, Any]) -> None:
        if not self._silent and change["new"]:
            with self._working(), self._silently():
                self.controls.apply(change["new"])
            self._model_changed()

    def _place_form(self) -> None:
        """Show the settings of the chosen model, opened if it is a model to play with."""
        info = self.chooser.info
        self.panel.place(
            f"Settings of {info.name}",
            self.remover_form.widget,
            self.chooser.device,
            opened=info.kind == "classical",
        )
        self.panel.offer_views(found=issubclass(info.params, SelectParams))
        names = self.controls.presets
        with self._silently():
            self.panel.preset.options = [("as chosen", ""), *((one.replace("-", " "), one) for one in names)]
            self.panel.preset.value = ""
        show_if(self.panel.preset, bool(names))

    def _show(self, photo: Photo, subject: Cut) -> None:
        """The chosen view of a result."""
        work, made = self.bench.work(photo), self._made[photo]
        self.legend.show(work.segments, subject.segments)
        match self.panel.views.value:
            case "compare":
                over = made.settings.background.under(subject.image, subject.foreground, subject.alpha)
                self.panel.view.value = views.before_after(subject.image, over)
            case "found" if work.segments is not None:
                picture = views.overlay(work.frame.image, work.segments, subject.segments)
                self.panel.view.value = views.single(picture, "Found")
            case "steps":
                remover = self.bench.remover(made.settings, self.chooser.where)
                self.panel.view.value = views.gallery(views.steps_of(work, subject, remover, made.pixels))
            case "alpha" | "trimap" as name:
                self.panel.view.value = views.single(views.one_of(subject, name), name)
            case _:
                self.panel.view.value = views.single(made.pixels, "Result")

    # Words -----------------------------------------------------------------------------------------

    def _tell_lines(self) -> None:
        name = self.photo.name if self.photo else "photo.jpg"
        try:
            values = self.controls.values(self._index)
            if self.chooser.where != "auto":
                values["device"] = self.chooser.where
            model, (to, place) = self.chooser.model, self._sample_target()
        except BGRemoveError:
            return  # said where the form says what is wrong
        model = "auto" if model == full_name("auto") else model
        self.python_line = python_line(name, model, values, to)
        self.command_line = command_line(name, model, values, place)
        both = f"import bgremove\n{self.python_line}", self.command_line
        self.panel.lines.value = "".join(map(views.code, both))

    def _sample_target(self) -> tuple[str, str]:
        """Where Python and the command write a sample's result, which would else land in the package.

        Nothing for other photos. For instances, the command takes a folder.
        """
        if self.photo is None or not self.photo.sample:
            return "", ""
        settings = self.settings()
        name = file_name(self.photo, settings)
        return name, "." if settings.instances else name

    def _check(self) -> None:
        """Say what is wrong with the settings, if anything is."""
        try:
            self.settings()
            self._tell("")
        except BGRemoveError as error:
            self._tell(str(error))

    def _tell(self, error: str) -> None:
        self.error = error
        self.panel.tell(error, ERROR)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Show that work goes on; whatever goes wrong becomes a sentence in the form."""
        self._tell("")
        self.panel.work(True)
        listener = Listener(lambda percent, text: self.panel.say(text, percent))
        try:
            with warnings.catch_warnings(), redirect_stderr(cast(TextIO, listener)):
                warnings.simplefilter("ignore", BGRemoveWarning)  # their sentences are in the notes
                yield
        except Exception as error:
            if os.environ.get("BGREMOVE_DEBUG"):
                traceback.print_exc()
            self._tell(sentence_of(error))
        finally:
            self.panel.work(False)


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
