"""Frozen dataclasses ⇄ JSON, with errors that name the place.

A *family* is a folder of files that each hold one method: ``quantizers/``, ``tokenizers/``,
``priors/``, ``classifiers/``. The file name is the ``"type"`` of a JSON config
(``"quantizers/fsq"``), and each file defines a frozen dataclass ``Config`` whose fields are the
JSON keys. Packages that are installed may add tokenizers and quantizers (``plugins``). Nothing else
can be named from a config: no dotted paths, no strangers' code.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

from vqtok import plugins, regular
from vqtok.errors import ConfigError
from vqtok.protocols import Config

_MOST_BYTES = 1 << 24
"""Of a JSON file."""

FAMILIES = ("quantizers", "tokenizers", "priors", "classifiers")

PUBLISHED = "published"
"""Folder in a family for networks of other people: ``tokenizers/published/dac.py`` is the type
``"tokenizers/dac"``."""

_KEYS = {
    **dict.fromkeys(("quantizer", "quantizers"), ("quantizers",)),
    **{"tokenizer": ("tokenizers",)} | dict.fromkeys(("prior", "top", "finer"), ("priors",)),
    "model": ("tokenizers", "priors", "classifiers"),
}
"""Families that a key of a config may name a member of; other keys: any."""

T = TypeVar("T")


def members(family: str) -> list[str]:
    """Names of a family's members, sorted: ``members("quantizers")`` → ``["fsq", "rvq", …]``.

    Files of its folder, and what installed packages add; nothing is imported.
    """
    return sorted({*_rooms(family), *plugins.found(family)})


def _rooms(family: str) -> dict[str, str]:
    """Files of a family by name → the module of each; ``published/`` is a room of its family."""
    folder = Path(__file__).parent / family
    own = {path.stem: f"vqtok.{family}.{path.stem}" for path in folder.glob("[!_]*.py")}
    for path in (folder / PUBLISHED).glob("[!_]*.py"):
        own[path.stem] = f"vqtok.{family}.{PUBLISHED}.{path.stem}"
    return own


def config_class(type_name: str, *, where: str = "type") -> type[Config]:
    """Returns the ``Config`` dataclass that a ``"type"`` names.

    Args:
        type_name: ``"family/file"``.
        where: Location of the value in the config, for the error message.

    Raises:
        ConfigError: no such family or file; the hint lists or suggests names.
    """
    family, _, name = type_name.partition("/")
    rooms = _rooms(family) if family in FAMILIES else {}
    if name not in rooms and name in plugins.found(family):
        return _checked(plugins.load(family, name, where=where), type_name, where=where)
    if name not in rooms:
        known = [f"{each}/{file}" for each in FAMILIES for file in members(each)]
        raise ConfigError(
            where, f"unknown type {type_name!r}", hint=_suggest(type_name, known) or _list(known)
        )
    module = importlib.import_module(rooms[name])
    found: type[Config] = module.Config
    return found


def _checked(added: Any, type_name: str, *, where: str) -> type[Config]:
    """Check what a package adds: a ``Config`` like those of our files."""
    if not (isinstance(added, type) and dataclasses.is_dataclass(added)):
        raise ConfigError(where, f"{type_name}: its plug-in is no dataclass")
    return typing.cast("type[Config]", added)


def type_name(config: Config) -> str:
    """Returns the ``"type"`` under which a config is written: ``"quantizers/fsq"``."""
    return _type_name(type(config))


def parse(data: object, cls: Callable[..., T], *, where: str = "config") -> T:
    """Turn JSON data into a dataclass, checking every key and type.

    Args:
        data: As ``json.loads`` gives it. For ``cls`` = ``Config`` it must hold ``"type"``.
        cls: A dataclass, or the ``Config`` protocol (no ``type[T]``) for any family member.
        where: Name of the root in messages (``"preset image-f8"``).

    Raises:
        ConfigError: an unknown key, a missing key or a wrong type, with its full location.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(where, f"expected an object, found {_show(data)}")
    if where.rpartition("/")[2].count(".") > 40:  # Python itself bears some hundreds
        raise ConfigError(where, "nested more than 40 deep")
    values = dict(data)
    target = typing.cast(type[Any], cls)
    if target is Config:
        target = _member_class(values.pop("type", None), where=where)
    elif _is_member(target) and values.get("type") == _type_name(target):
        del values["type"]
    hints = typing.get_type_hints(target)
    fields = {field.name: field for field in dataclasses.fields(target)}
    for key in values:
        if key not in fields:
            hint = _suggest(key, fields) or _list(fields)
            raise ConfigError(f"{where}.{key}", "unknown key", hint=hint)
    for key, field in fields.items():
        required = field.default is field.default_factory  # both are MISSING
        if key not in values and required:
            raise ConfigError(f"{where}.{key}", "the key is missing")
    parsed = {k: _value(v, hints[k], where=f"{where}.{k}") for k, v in values.items()}
    try:
        built: T = target(**parsed)
    except ValueError as error:  # raised by __post_init__ checks
        raise ConfigError(where, str(error)) from error
    return built


def dump(config: object) -> dict[str, Any]:
    """JSON data that ``parse`` turns back into an equal config; family members carry ``"type"``."""
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"not a config: {config!r}")
    out: dict[str, Any] = {}
    if _is_member(type(config)):
        out["type"] = _type_name(type(config))
    for field in dataclasses.fields(config):
        out[field.name] = _plain(getattr(config, field.name))
    return out


def to_json(data: Mapping[str, Any]) -> str:
    """Returns the one text form of JSON files: sorted keys, two spaces, final newline.

    JSON has no NaN and no infinity: they are written as null.
    """
    return json.dumps(_plain(data), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def to_line(data: Mapping[str, Any]) -> str:
    """Returns one line of JSON Lines, without its newline; NaN and infinity as null."""
    return json.dumps(_plain(data), ensure_ascii=False)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        ConfigError: missing file, a syntax error (with line and column), or not an object.
    """
    try:
        data = json.loads(regular.read(path, most=_MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise ConfigError(path, f"cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(path, "not UTF-8 text") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(path, f"not JSON: {error.msg} at {place}") from error
    except (ValueError, RecursionError) as error:  # numbers and nesting beyond all reason
        raise ConfigError(path, f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(path, f"expected an object, found {_show(data)}")
    return data


def assign(data: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply ``key.sub=value`` edits to JSON data, leaving the original untouched.

    Args:
        data: Nested JSON objects.
        assignments: Each ``"train.steps=1000"``; the value is JSON, or else a plain string.
            ``parse`` then checks it.

    Raises:
        ConfigError: no ``=``, or a path through something that is not an object.
    """
    out: dict[str, Any] = json.loads(json.dumps(data))
    for text in assignments:
        path, equals, raw = text.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {text}", "expected KEY=VALUE", hint="--set train.steps=1000")
        try:
            value = json.loads(raw)
        except json.JSONDecodeError:
            value = raw
        *parents, last = path.split(".")
        node = out
        for depth, key in enumerate(parents):
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                place = ".".join(parents[: depth + 1])
                raise ConfigError(f"--set {text}", f"{place} is {_show(child)}, not an object")
            node = child
        if last == "type" and node.get("type") != value:
            node.clear()  # the keys of another type would only be errors
        node[last] = value
    return out


def _value(value: object, hint: Any, *, where: str) -> Any:
    """Check one value against its annotation; lists become tuples, objects dataclasses."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        rest = [each for each in args if each is not type(None)]
        if len(rest) == 1:
            return _value(value, rest[0], where=where)
        for each in rest:
            try:
                return _value(value, each, where=where)
            except ConfigError:
                continue
        raise ConfigError(where, f"expected {_name(hint)}, found {_show(value)}")
    if origin is Literal:
        # True == 1 to Python, but not to a reader of the config.
        if not any(value == each and type(value) is type(each) for each in args):
            allowed = [str(each) for each in args]
            raise ConfigError(
                where,
                f"expected one of {', '.join(allowed)}, found {_show(value)}",
                hint=_suggest(str(value), allowed),
            )
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(where, f"expected a list, found {_show(value)}")
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_value(v, args[0], where=f"{where}[{i}]") for i, v in enumerate(value))
        if len(value) != len(args):
            raise ConfigError(where, f"expected {len(args)} values, found {len(value)}")
        pairs = enumerate(zip(value, args, strict=True))
        return tuple(_value(v, a, where=f"{where}[{i}]") for i, (v, a) in pairs)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(where, f"expected an object, found {_show(value)}")
        return {k: _value(v, args[1], where=f"{where}.{k}") for k, v in value.items()}
    if hint is Config or dataclasses.is_dataclass(hint):
        return parse(value, typing.cast(type[Any], hint), where=where)
    if hint is float:
        return _number(value, where=where)
    # bool is an int to isinstance, but not to a reader of the config.
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(where, f"expected {_name(hint)}, found {_show(value)}")
    return value


def _number(value: object, *, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ConfigError(where, f"expected a number, found {_show(value)}")
    if not abs(value) <= sys.float_info.max:  # NaN too is not
        raise ConfigError(where, f"expected a finite number, found {_show(value)}")
    return float(value)


def _member_class(type_name: object, *, where: str) -> type[Config]:
    """Find the class, and check that it is of the family that its key stands for."""
    if not isinstance(type_name, str):
        raise ConfigError(where, 'the key "type" is missing', hint='for example "quantizers/vq"')
    path = ["", *where.rpartition(":")[2].strip().split(".")]
    parent, key = (part.partition("[")[0] for part in path[-2:])  # {"quantizers": {"top": …}}
    family = type_name.partition("/")[0]
    families = (parent,) if parent in FAMILIES else _KEYS.get(key, FAMILIES)
    if family in FAMILIES and family not in families:
        known = [f"{family}/{name}" for family in families for name in members(family)]
        raise ConfigError(f"{where}.type", f"{type_name!r} does not fit here", hint=_list(known))
    return config_class(type_name, where=f"{where}.type")


def _is_member(cls: type[Any]) -> bool:
    parts = cls.__module__.split(".")
    if parts[0] == __package__:
        return cls.__name__ == "Config" and len(parts) >= 3 and parts[1] in FAMILIES
    return plugins.name_of(cls) is not None


def _type_name(cls: type[Any]) -> str:
    added = None if cls.__module__.startswith(f"{__package__}.") else plugins.name_of(cls)
    if added is not None:
        return added
    _, family, *_, name = cls.__module__.split(".")
    return f"{family}/{name}"


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dump(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return value


def _name(hint: Any) -> str:
    names = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
    return names.get(hint, str(hint).replace("typing.", ""))


def _show(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."


def _suggest(word: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else None


def _list(known: Iterable[str]) -> str:
    return "known: " + ", ".join(sorted(known))
