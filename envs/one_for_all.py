"""``call``, ``get_attr`` and ``set_attr`` of a vector environment whose B environments are one object."""

from __future__ import annotations

from typing import Any

import numpy as np

from adafocus_rl.errors import UserError


class OneForAll:
    """``call``, ``get_attr`` and ``set_attr`` with the interface of ``SyncVectorEnv``."""

    num_envs: int

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call the method or read the attribute once, and return the result once for each environment."""
        value = getattr(self, name)
        return (value(*args, **kwargs) if callable(value) else value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return the attribute, once for each environment."""
        return (getattr(self, name),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Set the attribute of all environments to a value or to a list of B equal values.

        Raises:
            UserError: the number of values is not B, or the values differ.
        """
        each = list(values) if isinstance(values, (list, tuple)) else [values]
        same = all(np.array_equal(one, each[0]) for one in each[1:])
        if isinstance(values, (list, tuple)) and (len(each) != self.num_envs or not same):
            raise UserError(
                f"set_attr({name!r}) got {values!r}; the {self.num_envs} environments are one object: give one value, "
                "or the same for each"
            )
        setattr(self, name, each[0])
