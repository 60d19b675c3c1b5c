"""Names for what a user's own package adds: losses and transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from lit_cnn.errors import UserError, nearest

Item = TypeVar("Item", bound=Callable[..., Any])


class Registry:
    """Callables by name.

    Args:
        kind: what they are, for messages: ``loss``.
        setting: that names one: ``model.loss``.
        built_in: names that exist without an entry here.
    """

    def __init__(self, kind: str, setting: str, built_in: tuple[str, ...] = ()) -> None:
        self.kind, self.setting, self.built_in = kind, setting, built_in
        self._items: dict[str, Callable[..., Any]] = {}

    @overload
    def register(self, item: Item) -> Item: ...
    @overload
    def register(self, *, name: str) -> Callable[[Item], Item]: ...
    def register(self, item: Item | None = None, *, name: str | None = None) -> Item | Callable[[Item], Item]:
        """Decorator: add a callable under its own name, or under ``name``.

        Raises:
            UserError: the name is taken by something else.
        """

        def add(item: Item) -> Item:
            key = name or item.__name__
            before = self._items.get(key)
            same = before is not None and (before.__module__, before.__qualname__) == (
                item.__module__,
                item.__qualname__,
            )
            if key in self.built_in or (before is not None and not same):  # a reloaded module replaces its own
                raise UserError(f"there is a {self.kind} {key!r} already: register yours under another name")
            self._items[key] = item
            return item

        return add if item is None else add(item)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The callable of that name.

        Raises:
            UserError: there is none.
        """
        if name not in self._items:
            known = [*self]
            takes = f" `{self.setting}` takes {', '.join(known)};" if known else ""
            raise UserError(
                f"unknown {self.kind} {name!r}{nearest(name, known) or ';'}{takes} "
                "one of your own is registered when its package is named by `allow_import`"
            )
        return self._items[name]

    def get(self, name: str | None) -> Callable[..., Any] | None:
        """The callable of that name, ``None`` if there is none."""
        return self._items.get(name) if name is not None else None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        yield from (*self.built_in, *self._items)
