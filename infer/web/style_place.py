"""Where a style that is learned goes: its place among the studio's styles, and the library."""

import threading
from dataclasses import replace
from pathlib import Path

from nst_rt.infer.blend import StyleSet
from nst_rt.learning.library import Library
from nst_rt.models.style_model import Style, StyleModel


class StylePlace:
    """The place of one style in the studio's set, which is all of the set that its learning has.

    Attributes:
        style: its name there, its title and its preview, which each model gets.
        figures: those of its model there, if they were measured.
        revision: version of the set since which that model is there.
    """

    def __init__(self, styles: StyleSet, style: Style) -> None:
        self._styles, self.style = styles, style
        self.figures: dict[str, float | None] | None = None
        self.revision = 0
        self._is_open = True
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        return self.style.name

    def free_name(self, name: str) -> str:
        """The name that `add` gives to a style."""
        return self.name

    def add(self, model: StyleModel) -> dict[str, str]:
        """Put a model there."""
        self.put(model)
        return {model.style_names[0]: self.name}

    def replace(self, name: str, model: StyleModel) -> None:
        """Put a better one there."""
        self.put(model)

    def put(self, model: StyleModel) -> None:
        """Put a model there, unless it was closed."""
        model = self.titled(model)
        with self._lock:
            if not self._is_open:
                return
            if self.name in self._styles.names:
                self._styles.replace(self.name, model)
            else:
                self._styles.add(model)
            self.figures = model.training.get("figures")
            self.revision = self._styles.version

    def close(self) -> None:
        """Take no more models, such as those that a process sends at its end."""
        with self._lock:
            self._is_open = False

    def remove(self) -> None:
        """Close it, and remove the style from the set."""
        self.close()
        for model in self._styles.models([self.name]):
            self._styles.remove(model)

    def titled(self, model: StyleModel) -> StyleModel:
        """The model with the name, the title and the preview of the style."""
        first = model.styles[0]
        changed = replace(
            first,
            name=self.name,
            title=self.style.title or first.title,
            preview=self.style.preview or first.preview,
        )
        return replace(model, styles=(changed, *model.styles[1:]))


class TitledLibrary:
    """The library, in which styles get the title and the preview that they have in the studio."""

    def __init__(self, library: Library, place: StylePlace) -> None:
        self._library, self._place = library, place

    def find(self, key: str) -> StyleModel | None:
        return self._library.find(key)

    def keep(self, key: str, model: StyleModel) -> Path | None:
        return self._library.keep(key, self._place.titled(model))
