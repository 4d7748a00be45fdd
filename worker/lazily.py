"""An attribute that is worked out when it is first asked for, and then kept. Pure.

The same as `functools.cached_property`, without the lock that makes each first access of that one
several times dearer in Python 3.11; looks ask for thousands of them a second, on one thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functools import cached_property as lazy
else:

    class lazy:  # noqa: N801 - used as a decorator
        """Keeps what the method answers under the method's name."""

        def __init__(self, method: Any) -> None:
            self._method = method
            self.__doc__ = method.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self._name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            value = instance.__dict__[self._name] = self._method(instance)
            return value


__all__ = ["lazy"]
