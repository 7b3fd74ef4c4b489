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
from bgremove.foreground import ForegroundParams
from bgremove.io import WriteParams, make_folder, write_bytes
from bgremove.options import split_settings
from bgremove.pipeline import Cut, OutputParams, Settings
from bgremove.refine import RefineParams
from bgremove.registry import full_name
from bgremove.removers.base import Device, RemoverInfo
from bgremove.segments import SelectParams
from bgremove.widgets import views
from bgremove.widgets.backdrop import Backdrop
from bgremove.widgets.bench import Bench, Result, one_output, result_of
from bgremove.widgets.chooser import Chooser
from bgremove.widgets.fields import Field, Form, folded
from bgremove.widgets.legend import Legend
from bgremove.widgets.lines import command_line, python_line
from bgremove.widgets.panel import VIEWS, Panel, show_if
from bgremove.widgets.photos import Photo, Photos, on_colab, photos_of
from bgremove.widgets.style import ERROR, NOTE, message
from bgremove.widgets.words import Listener, facts, file_name, free_path, link, sentence_of

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
        self._folder, self._labels, self.bench = folder, labels, Bench()
        self._chosen: dict[Photo, tuple[int, ...]] = {}  # segments, where they were clicked
        self._made: dict[Photo, Result] = {}  # the current photo's only
        self._timer: asyncio.TimerHandle | None = None
        self._silent = self._stale = False  # stale: the result is of other settings than the form's
        self.error = self.python_line = self.command_line = ""
        self._remover_forms: dict[Any, Form] = {}
        self.refine = Form(RefineParams, labels=labels)
        self.colours = Form(ForegroundParams, labels=labels)
        self.output = Form(OutputParams, names=["output", "crop", "padding", "size"], labels=labels)
        self.file = Form(WriteParams, labels=labels)
        self.panel = Panel(show)
        self.photo_choice, self.model_choice = self.panel.photo, chooser.choice
        self.run_button, self.run_all_button = self.panel.run, self.panel.run_all
        self.save_button, self.download_button = self.panel.save, self.panel.download
        self.view_buttons, self.view = self.panel.views, self.panel.view
        self.background_choice, self.colour_choice = backdrop.kind, backdrop.colour
        self.legend = Legend(self._segments_clicked)
        self.widget = self._arranged()
        self._start(preset, values)
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
        made = Settings.build(self.chooser.model, **values)
        one_output(made)
        return made

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
        """Write the current result into the folder, under a name that is free."""
        with self._working():
            self._save(self._done())

    def download(self) -> None:
        """Send the current result to the browser: at once on Colab, elsewhere as a link."""
        with self._working():
            photo = self._done()
            made = self._made[photo]
            data, name = made.encoded(), file_name(photo, made.output, made.settings.write.format)
            files = on_colab()
            if files is not None or len(data) > _LARGEST_LINK:
                path = self._save(photo)
                if files is not None:
                    files.download(str(path))
            else:
                self.panel.tell_html(link(data, name))

    def _work(self, photo: Photo, settings: Settings, device: Device) -> None:
        begun = time.perf_counter()
        subject = self.bench.cut(photo, settings, device, self.panel.say)
        work = self.bench.work(photo)
        self._made = {photo: result_of(subject, settings, work.metadata)}
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

    def _save(self, photo: Photo) -> Path:
        made = self._made[photo]
        data = made.encoded()
        make_folder(self._folder)
        path = free_path(self._folder / file_name(photo, made.output, made.settings.write.format))
        write_bytes(path, data)
        height, width = made.pixels.shape[:2]
        self.panel.tell(f"Saved {path}: {width} x {height} px, {len(data) / 1e6:.1f} MB")
        return path

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
        folds = [
            folded("Refinement and edges", w.VBox([self.refine.widget, self.colours.widget])),
            folded("Result and file", w.VBox([self.output.widget, self.file.widget])),
        ]
        parts = self.photos.widget, self.chooser.widget, self.backdrop.widget
        return self.panel.arrange(*parts, folds, self.legend.widget)

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
        self.panel.place(
            f"Settings of {info.name}",
            self.remover_form.widget,
            self.chooser.device,
            opened=info.kind == "classical",
        )
        self.panel.offer_views(found=issubclass(info.params, SelectParams))
        names = list(PRESETS.get(info.kind, {}))
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
        name = self.photo.name if self.photo else "photo.jpg"
        try:
            values = self._values()
            if self.chooser.where != "auto":
                values["device"] = self.chooser.where
            model, to = self.chooser.model, self._sample_target()
        except BGRemoveError:
            return  # said where the form says what is wrong
        model = "auto" if model == full_name("auto") else model
        self.python_line = python_line(name, model, values, to)
        self.command_line = command_line(name, model, values, to)
        both = f"import bgremove\n{self.python_line}", self.command_line
        self.panel.lines.value = "".join(map(views.code, both))

    def _sample_target(self) -> str:
        """Where the lines write a sample's result, which would else land in the package; empty for others."""
        if self.photo is None or not self.photo.sample:
            return ""
        settings = self.settings()
        return file_name(self.photo, one_output(settings), settings.write.format)

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
