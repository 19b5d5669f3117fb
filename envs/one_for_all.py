"""Gymnasium's calls to the B environments of a vector environment, where these are one object."""

from __future__ import annotations

from typing import Any

import numpy as np

from adafocus_rl.errors import UserError


class OneForAll:
    """``call``, ``get_attr`` and ``set_attr``, as ``SyncVectorEnv`` has them."""

    num_envs: int

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Calls the method once, or reads the attribute; the result once for each environment."""
        value = getattr(self, name)
        return (value(*args, **kwargs) if callable(value) else value,) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The attribute, once for each environment."""
        return (getattr(self, name),) * self.num_envs

    def set_attr(self, name: str, values: Any) -> None:
        """Sets the attribute of all environments, to a value or to a list of B equal ones.

        Raises:
            UserError: another number of values, or different ones.
        """
        each = list(values) if isinstance(values, (list, tuple)) else [values]
        same = all(np.array_equal(one, each[0]) for one in each[1:])
        if isinstance(values, (list, tuple)) and (len(each) != self.num_envs or not same):
            raise UserError(
                f"set_attr({name!r}) got {values!r}; the {self.num_envs} environments are one object: give one value, "
                "or the same for each"
            )
        setattr(self, name, each[0])
