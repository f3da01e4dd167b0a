"""Switches of a module that every thread sets for itself: a model may answer in several threads at once."""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn


class _Settings(threading.local):
    """What the modules are set to in one thread."""

    def __init__(self) -> None:
        self.of: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()


class OfThisThread:
    """An attribute of a module with a value in each thread that set it, and ``default`` in others and in copies.

    >>> class Layer(nn.Module):
    ...     silent = OfThisThread(default=False)
    >>> layer = Layer()
    >>> layer.silent = True
    >>> found = []
    >>> other = threading.Thread(target=lambda: found.append(layer.silent))
    >>> other.start(), other.join()
    (None, None)
    >>> layer.silent, found
    (True, [False])
    """

    def __init__(self, *, default: Any) -> None:
        self.default, self._settings = default, _Settings()

    def __get__(self, module: Any, kind: Any = None) -> Any:
        """Return the value in this thread."""
        return self if module is None else self._settings.of.get(module, self.default)

    def __set__(self, module: nn.Module, value: Any) -> None:
        """Set the value in this thread."""
        if value is self.default or value == self.default:
            self._settings.of.pop(module, None)
        else:
            self._settings.of[module] = value
