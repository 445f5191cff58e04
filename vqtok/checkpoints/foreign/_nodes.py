"""Where in a checkpoint a network's weights may lie: a tree of names, its nodes by preference.

Training programs keep weights in mappings of mappings (``{"state_dict": …, "ema": …}``), wrappers
put their own names before or into those of a network (``module.``, ``_orig_mod.``), and networks
lie in larger ones (``first_stage_model.``). All of that is one tree: keys are split at their dots.
Any node of it may be the network; ``foreign.recognise`` asks every one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vqtok.checkpoints.foreign._calls import Inert

WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_forward_module", "_checkpoint_wrapped_module")
)
"""What DistributedDataParallel, torch.compile, FSDP, DeepSpeed and checkpointing put into names."""

CONTAINERS = ("state_dict", "model_state_dict", "model", "params", "best_state", "generator", "net",
              "net_g", "weights", "module")  # fmt: skip
"""Keys under which training programs keep the weights, the better first; averages before all."""

_AVERAGES = re.compile(r"(^|_)(ema|avg|averaged?|swa|shadow)(_|$)")
"""Keys of moving averages: ema, ema_model, params_ema, model_ema, g_ema, state_dict_ema …"""

_MODULE = ("_parameters", "_buffers", "_modules")
"""Where a pickled ``nn.Module`` keeps what its ``state_dict`` names without them."""

_PARTS, _NODES = 1 << 20, 1 << 16
"""Few bytes can hold one list a thousand times, each of which holds another a thousand times."""

_DEEP = 100
_FEWEST = 4
"""Tensors of a node that is worth asking about."""


@dataclass(eq=False, slots=True)
class Node:
    """One node of the tree.

    Attributes:
        name: Its key.
        parent: None of the root.
        inside: Places below by key, in the order of the file.
        tensors: By the last part of their names.
        plain: Values without tensors.
        count: Of tensors here and below.
        whole: Whether a mapping was a value of this key; else it is the beginning of keys.
        listed: Whether it was a list or tuple.
        depth: Keys from the root to here.
    """

    name: str = ""
    parent: Node | None = None
    inside: dict[str, Node] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    whole: bool = True
    listed: bool = False
    depth: int = 0

    @property
    def path(self) -> tuple[str, ...]:
        """Keys from the root to here."""
        return () if self.parent is None else (*self.parent.path, self.name)

    @property
    def root(self) -> Node:
        """The whole file."""
        return self if self.parent is None else self.parent.root

    @property
    def is_average(self) -> bool:
        """Whether a key on the way here is one of moving averages."""
        return any(_AVERAGES.search(each) for each in self.path)

    def named(self) -> dict[str, Tensor]:
        """Tensors here and below by name, without what wrappers put into them.

        What a wrapper puts before all of them is a node of its own.
        """
        found = dict(self._named(""))
        short = {_unwrapped(name): tensor for name, tensor in found.items()}
        return short if len(short) == len(found) else found

    def beside(self) -> dict[str, Any]:
        """Returns what lies on the way here and is not tensors, as plain data; the nearer wins."""
        above = {} if self.parent is None else self.parent.beside()
        return {**above, **self._data()}

    def _data(self) -> dict[str, Any]:
        """Returns values, lists and mappings of a node, but for those that hold tensors."""
        found = dict(self.plain)
        for name, node in self.inside.items():
            if not node.count:
                data = node._data()
                # Keys of lists are numbers; values and nodes come back in their order.
                listed = [data[each] for each in sorted(data, key=int)] if node.listed else data
                found[name] = listed
        return found

    def _named(self, prefix: str) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.tensors.items():
            yield f"{prefix}{name}", tensor
        for name, node in self.inside.items():
            if node.count:
                yield from node._named(f"{prefix}{name}.")


def tree(found: object) -> Node:
    """Returns the tree of what a file holds.

    Raises:
        ValueError: nested beyond all reason.
    """
    root = Node()
    waiting: deque[tuple[Node, object, tuple[int, ...]]] = deque([(root, found, ())])
    parts, made = 0, 0
    while waiting:
        node, held, above = waiting.popleft()
        if id(held) in above:  # it holds itself
            continue
        node.listed = isinstance(held, list | tuple)
        for key, value in _items(held):
            flat = isinstance(value, list | tuple) and not any(map(_is_nested, value))
            parts += 1 + (len(value) if flat else key.count("."))
            made += not flat and _is_nested(value)
            if parts > _PARTS or made > _NODES:
                raise ValueError("nested beyond all reason")
            if isinstance(value, Tensor):
                *way, last = key.split(".")
                _below(node, way).tensors[last] = value
            elif _is_nested(value) and not flat:
                inner = _below(node, key.split("."))
                inner.whole = True
                waiting.append((inner, value, (*above, id(held))))
            else:
                node.plain[key] = list(value) if flat else value
    _counted(root)
    return root


def default(root: Node) -> Node:
    """Returns the node that keys of training programs and wrappers alone lead to."""
    node = root
    while True:
        inside = [each for each in node.inside.values() if each.count]
        known = [each for each in inside if _order(each) < len(CONTAINERS) and each.whole]
        # What all names begin with is a wrapper's, or the attribute of a Lightning module.
        alone = [each for each in inside if each.count == node.count]
        only = [each for each in alone if each.name in WRAPPERS or _order(each) < len(CONTAINERS)]
        chosen = sorted(known, key=_order)[:1] or only
        if not chosen:
            return node
        node = chosen[0]


def nodes(root: Node) -> Iterator[Node]:
    """Returns nodes that may hold a network: averages before weights, known keys first."""
    found: list[Node] = []
    level = [root]
    while level:  # those nearer to the root first
        found += [each for each in level if each.count >= _FEWEST]
        level = [below for each in level for below in each.inside.values() if below.count]
    yield from sorted(found, key=lambda each: (not each.is_average, len(each.path), _order(each)))


def _order(node: Node) -> int:
    """Rank of a key: averages, then the known ones, then all others."""
    if _AVERAGES.search(node.name):
        return -1
    return CONTAINERS.index(node.name) if node.name in CONTAINERS else len(CONTAINERS)


def _is_nested(value: object) -> bool:
    return isinstance(value, Tensor | Mapping | list | tuple | Inert)


def _items(held: object) -> Iterator[tuple[str, Any]]:
    if isinstance(held, list | tuple):
        yield from ((str(index), each) for index, each in enumerate(held))
        return
    if isinstance(held, Inert):
        state = held.state if isinstance(held.state, dict) else {}
        held = {**state, **(held.items or {})}
        if any(kind in state for kind in _MODULE):
            held = _of_module(state)
    for key, value in held.items() if isinstance(held, Mapping) else ():
        yield (key if isinstance(key, str) else _shown(key)), value


def _of_module(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Returns what ``state_dict`` of a pickled module would name."""
    dropped = state.get("_non_persistent_buffers_set")
    held = {
        name: value
        for kind in _MODULE
        for name, value in (state[kind].items() if isinstance(state.get(kind), dict) else ())
    }
    for name in dropped if isinstance(dropped, list) else ():
        if isinstance(name, str):
            held.pop(name, None)
    return held


def _shown(key: object) -> str:
    return str(key) if isinstance(key, int | float | type(None)) else type(key).__name__


def _below(node: Node, way: list[str]) -> Node:
    for name in way:
        if name not in node.inside:
            if node.depth == _DEEP:
                raise ValueError("nested beyond all reason")
            node.inside[name] = Node(name, node, whole=False, depth=node.depth + 1)
        node = node.inside[name]
    return node


def _counted(root: Node) -> None:
    """Put the counts in, from the leaves up."""
    order = [root]
    for node in order:
        order.extend(node.inside.values())
    for node in reversed(order):
        node.count += len(node.tensors)
        if node.parent is not None:
            node.parent.count += node.count


def _unwrapped(name: str) -> str:
    first, *rest = name.split(".")
    return ".".join([first, *(each for each in rest if each not in WRAPPERS)])
