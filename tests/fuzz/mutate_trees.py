"""JSON and YAML made hostile with their structure in mind: types, keys, numbers, depth, anchors and tags."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import yaml

from fuzz.mutate_bytes import NAMES, mutate_bytes, word

Place = tuple[Any, Any]
"""A dict or list, and a key or position in it."""

OWNED = "owned"
"""What code from a case's input would write into the case's folder."""

PAYLOAD = f"open('{OWNED}', 'w').write('x')"
COMMAND = f"id > {OWNED}"

CALLS: tuple[Any, ...] = (
    {"class_path": "os.system", "init_args": {"command": COMMAND}},
    {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", OWNED]}},
    {"class_path": "builtins.eval", "init_args": {"source": PAYLOAD}},
    {"class_path": "builtins.exec", "dict_kwargs": {"source": PAYLOAD}},
    {"class_path": "pathlib.Path.touch", "init_args": {"self": OWNED}},
    {"class_path": "antigravity.x"},
    {"class_path": "fuzz_canary_module.Anything", "init_args": {}},
    {"class_path": "PPOAgent", "dict_kwargs": {"x": 1}},
    {
        "class_path": "adafocus_rl.agents.PPOAgent",
        "init_args": {"x": {"class_path": "os.system", "init_args": {"command": COMMAND}}},
    },
    {"class_path": "adafocus_rl.registry.Registry"},
    {"class_path": "torch.load", "init_args": {"f": "x.pth"}},
    {"_target_": "os.system", "command": COMMAND},
    {"__reduce__": ["os.system", [COMMAND]]},
    {"$ref": "file:///etc/passwd"},
    {"class_path": "fuzz_canary_module"},
    "fuzz_canary_module.Anything",
    "antigravity.x",
    "os.system",
)
"""Values that some parser might take for something to call, or to import."""

YAML_TAGS = (
    f"!!python/object/apply:os.system ['{COMMAND}']",
    f"!!python/object/new:os.system ['{COMMAND}']",
    "!!python/name:os.system",
    "!!python/module:fuzz_canary_module",
    "!include secret.txt",
    "!!int abc",
    "!!float x",
    "!!timestamp 99-99",
    "!!binary '*'",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!null x",
    "!foo bar",
    "<<: 3",
    "2001-02-30",
    "12:30:45",
    "0o9",
    "*unknown",
    "&a [*a]",
    "? [a, b] : c",
    "${oc.env:HOME}",
    "#{x}",
)

_LEAVES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 255, 65536, 10**9, 2**31, 2**63, 2**64, 10**30, 0.0, -0.5, 1.5, 1e9, 1e-9, 1e308,
    float("nan"), float("inf"), float("-inf"), "", [], {}, [[]], [None], {"": None}, {"a": 1}, [1, 2, 3], ["x"] * 5,
    {"1": 1}, "cpu", "meta", "cuda:99", "auto",
)  # fmt: skip


def places(tree: Any) -> Iterator[Place]:
    """Every place of a tree of dicts and lists."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(inner):
        yield tree, key
        yield from places(value)


def mutate_tree(rng: Random, tree: Any, *, calls: bool = False, values: Sequence[Any] = ()) -> Any:
    """The tree with one to a few faults.

    Args:
        rng: random choices.
        tree: dicts, lists and plain values; not changed.
        calls: whether values that name something to call are among them.
        values: further values that are worth a try.
    """
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        found = list(places(tree))
        if not found or rng.random() < 0.03:
            return _leaf(rng, calls=calls, values=values)
        _change(rng, *rng.choice(found), found, calls=calls, values=values)
    return tree


def _leaf(rng: Random, *, calls: bool, values: Sequence[Any]) -> Any:
    if calls and rng.random() < 0.4:
        return copy.deepcopy(rng.choice(CALLS))
    if values and rng.random() < 0.3:
        return copy.deepcopy(rng.choice(values))
    return copy.deepcopy(rng.choice(_LEAVES)) if rng.random() < 0.6 else word(rng)


def _change(rng: Random, parent: Any, key: Any, others: Sequence[Place], *, calls: bool, values: Sequence[Any]) -> None:
    kind = rng.random()
    if kind < 0.55:
        old = parent[key]
        numbers = isinstance(old, (int, float)) and not isinstance(old, bool)
        scaled = (old * 1000, -old, old + 0.5, str(old), [old], old + 1) if numbers else ()
        parent[key] = rng.choice(scaled) if scaled and rng.random() < 0.3 else _leaf(rng, calls=calls, values=values)
    elif kind < 0.65:
        del parent[key]
    elif kind < 0.75:
        other, place = rng.choice(others)
        # Both places may be gone by now, or the one within the other.
        taken = other.get(place) if isinstance(other, dict) else (other[place] if place < len(other) else None)
        parent[key] = copy.deepcopy(taken)
    elif kind < 0.85 and isinstance(parent, dict):
        new = rng.choice((*NAMES, "config", "class_path", "init_args", "dict_kwargs", "__class__", f"{key}x", "x.y"))
        parent[new] = parent.pop(key) if rng.random() < 0.5 else _leaf(rng, calls=calls, values=values)
    elif kind < 0.92:
        nest: Any = parent[key]
        for _ in range(rng.choice((1, 5, 60, 300))):
            nest = [nest] if rng.random() < 0.5 else {"a": nest}
        parent[key] = nest
    elif isinstance(parent, list):
        parent *= rng.choice((2, 10, 1000)) if len(parent) < 1000 else 1
    else:
        parent[key] = {str(number): number for number in range(2000)}


def to_json(rng: Random, tree: Any) -> bytes:
    """JSON text of it, sometimes with what JSON allows or forbids at its edges."""
    text = json.dumps(tree, ensure_ascii=rng.random() < 0.5)
    kind = rng.random()
    if kind < 0.06:
        text = text.replace("0", "1" * 5000, 1)
    elif kind < 0.12:
        depth = rng.choice((500, 5000, 200000))
        text = rng.choice(("[" * depth, '{"a":' * depth, "[" * depth + text + "]" * depth))
    elif kind < 0.16:
        text += rng.choice((text, ",", "\x00", "}", "]", " //x"))
    elif kind < 0.19:
        text = text.replace("{", '{"a": 1, "a": 2, ', 1)
    elif kind < 0.22:
        text = text.replace('"', '"\\ud800', 1)
    content = text.encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, content) if rng.random() < 0.2 else content


def to_yaml(rng: Random, tree: Any) -> bytes:
    """YAML text of it, sometimes with tags, anchors, documents and depths that YAML knows."""
    try:
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=rng.random() < 0.5)
    except (yaml.YAMLError, RecursionError):
        text = json.dumps(tree)
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    kind = rng.random()
    if kind < 0.1:
        key, colon, _ = lines[at].partition(":")
        lines[at] = f"{key}{colon} {rng.choice(YAML_TAGS)}"
    elif kind < 0.13:
        depth = rng.choice((200, 3000, 100000))
        lines.insert(at, f"x: {rng.choice(('[', '{a: ')) * depth}")
    elif kind < 0.16:
        # Nine levels of nine: a file of 400 bytes that is 10⁹ values.
        anchors = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(9)]
        lines = [*anchors, *lines] if rng.random() < 0.5 else [f"data: {{root: [{', '.join(anchors)}]}}", *lines]
    elif kind < 0.19:
        lines.insert(at, rng.choice(("---", "...", "%YAML 9.9", "%TAG ! tag:x,2000:", "\t- x", "? a", "- b", ": c")))
    elif kind < 0.22:
        lines.insert(at, lines[at])
    elif kind < 0.25:
        key, colon, _ = lines[at].partition(":")
        lines[at] = f"{key}{colon} {'9' * 5000}"
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    return mutate_bytes(rng, content) if rng.random() < 0.12 else content
