"""Values of flags that leave nothing to check, taken as they are.

Typer checks every value with pydantic, which takes longer to import than numpy. Most values of a
command are texts, small whole numbers, or not given at all; all others are left to Typer, and so
are their messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_DIGITS = 9
"""Of a whole number that is read here."""


class PlainValues:
    """Takes plain values of one parameter, where Typer would import pydantic first.

    Args:
        parameter: Of Typer.
    """

    def __init__(self, parameter: Any) -> None:
        self._annotation = parameter.type_descriptor.annotation
        self._info = parameter.type_descriptor.parameter_info

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Give the value as the command wants it."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if self._info.parser is None:
            if self._annotation is str and type(value) is str:
                return value
            if self._annotation == list[str] and _are_texts(value):
                return list(value)
            if self._annotation is int:
                number = _whole(value)
                if number is not None and self._allows(number):
                    return number
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)

    def _allows(self, number: int) -> bool:
        least, most = self._info.min, self._info.max
        return (least is None or least <= number) and (most is None or number <= most)


def take_plain_values(parameters: Iterable[Any]) -> None:
    """Let parameters take plain values; a Typer that works otherwise stays as it is."""
    for parameter in parameters:
        known = hasattr(parameter, "type_descriptor") and hasattr(parameter, "get_runtime_param")
        if known and getattr(parameter, "_runtime_param", parameter) is None:
            parameter._runtime_param = PlainValues(parameter)


def _whole(value: Any) -> int | None:
    if type(value) is int:
        return value
    plain = type(value) is str and value.isascii() and value.isdigit() and len(value) <= _DIGITS
    return int(value) if plain else None


def _are_texts(value: Any) -> bool:
    return type(value) in (list, tuple) and all(type(each) is str for each in value)
