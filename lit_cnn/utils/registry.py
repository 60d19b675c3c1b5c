"""Names for what a user's own package adds: losses and transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, overload

from lit_cnn.errors import UserError, nearest

Item = TypeVar("Item", bound=Callable[..., Any])


class Registry:
    """Callables by name.

    Args:
        kind: what they are, for messages: ``loss``.
        setting: that names one: ``model.loss``.
        built_in: names that exist without an entry here.
        check: called with a name and a callable before it is added; raises a ``UserError`` for one that cannot work.
        load_more: called when a name is unknown, before it is looked up once more.
        defaults: items of this package by name, which a user's own item of that name replaces: names that came after
            users had theirs.
    """

    def __init__(
        self,
        kind: str,
        setting: str,
        built_in: tuple[str, ...] = (),
        check: Callable[[str, Callable[..., Any]], None] | None = None,
        load_more: Callable[[], None] | None = None,
        defaults: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.kind, self.setting, self.built_in = kind, setting, built_in
        self._check, self._load_more, self._defaults = check, load_more, dict(defaults or {})
        self._items: dict[str, Callable[..., Any]] = {}

    @overload
    def register(self, item: Item) -> Item: ...
    @overload
    def register(self, *, name: str) -> Callable[[Item], Item]: ...
    def register(self, item: Item | None = None, *, name: str | None = None) -> Item | Callable[[Item], Item]:
        """Decorator: add a callable under its own name, or under ``name``.

        Raises:
            UserError: the name is taken by something else, or what is given is not a callable with a name.
        """

        def add(item: Item) -> Item:
            key = name or getattr(item, "__name__", None)
            if not callable(item) or key is None:
                raise UserError(
                    f"register_{self.kind}: got {item!r}; give a function, under another name than its own with name="
                )
            before = self._items.get(key)
            home, qualname = _origin(item)
            if key in self.built_in or (before is not None and _origin(before) != (home, qualname)):
                owner = "lit_cnn" if before is None else _origin(before)[0]
                raise UserError(
                    f"there is a {self.kind} {key!r} already, in {owner}: register yours, in {home}, under another name"
                )
            if self._check is not None:
                self._check(key, item)
            self._items[key] = item  # a reloaded module replaces its own
            return item

        return add if item is None else add(item)

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """The callable of that name.

        Raises:
            UserError: there is none.
        """
        if name not in self._items and self._load_more is not None:
            self._load_more()
        if name not in self._items and name in self._defaults:
            return self._defaults[name]
        if name not in self._items:
            known = [*self]
            takes = f" `{self.setting}` takes {', '.join(known)};" if known else ""
            raise UserError(
                f"unknown {self.kind} {name!r}{nearest(name, known) or ';'}{takes} "
                "one of your own is registered when its package is named by `allow_import`"
            )
        return self._items[name]

    def get(self, name: str | None) -> Callable[..., Any] | None:
        """The user's callable of that name, ``None`` if there is none."""
        return self._items.get(name) if name is not None else None

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        yield from dict.fromkeys((*self.built_in, *self._defaults, *self._items))


def _origin(item: Callable[..., Any]) -> tuple[str, str]:
    """Module and name of a callable's definition."""
    return str(getattr(item, "__module__", "?")), getattr(item, "__qualname__", type(item).__qualname__)
