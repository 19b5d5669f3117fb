"""What jsonargparse says of a mistake, in one sentence of ours."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser

from adafocus_rl.agents import AGENTS
from adafocus_rl.errors import UserError

TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "dict": "a block"}


def explain(parser: ArgumentParser, message: str) -> str:
    """One sentence for the message of an ``ArgumentError``; what is not recognised is passed on without line breaks."""
    message = " ".join(message.split())
    if match := re.search(r"Expected a dot import path string: ?(\S*)", message):
        try:
            AGENTS.get(match[1])
        except UserError as error:
            return str(error)
    if match := re.search(r"Group '(.*)' does not accept option '(.*)'", message):
        return _unknown(f"{match[1]}.{match[2]}" if match[1] else match[2], _keys(parser))
    if match := re.search(r"unrecognized arguments: (.*)", message):
        option = match[1].split()[0]
        known = [f"--{key}" for key in _keys(parser)]
        return _unknown(option.split("=")[0], known) if option.startswith("-") else f"unexpected argument {option!r}"
    if match := re.search(r"class_path '([^']*)': Option '(.*)' is not accepted", message):
        name = match[1].rsplit(".", 1)[-1]
        return _unknown(f"agent.{match[2]}", [f"agent.{key}" for key in _agent_options(name)], f" of {name}")
    if match := re.search(r"Option '([\w.]+)' is not accepted|Key ['\"]?([\w.]+)['\"]? is not", message):
        return _unknown(match[1] or match[2], _keys(parser))
    message = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", message).replace("typing.", "")
    message = re.sub(
        r"^Parser key \"agent\": Problem with given class_path '[^']*': Parser key \"", 'Parser key "agent.', message
    )
    message = re.sub(r'^Parser key "([^"]*)": *', r"\1: ", message)
    if match := re.search(r"^([\w.]+): Unable to load config '(.*?)'", message):
        return f"{match[1]} is {match[2]!r}; give a block of keys, or one of them as --{match[1]}.KEY=VALUE"
    if match := re.search(r"^([\w.]+): Expected (?:a )?(.*?)\. Got value: (.*)$", message):
        kind = re.sub(r"^Literal\[(.*)\]$", r"one of \1", match[2])
        return f"{match[1]} is {match[3]}; expected {TYPES.get(kind, kind)}"
    if match := re.search(r"^([\w.]+): .* Subtypes: \[(.*?)\] .* Given value: (.*)$", message):
        kinds = [TYPES.get(kind, kind) for kind in match[2].replace("NoneType", "null").split(", ")]
        return f"{match[1]} is {match[3]}; expected {' or '.join(kinds)}"
    return message


def _unknown(key: str, known: Sequence[str], whose: str = "") -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    meant = f"did you mean {near[0]!r}?" if near else "`--print_config` shows all keys."
    return f"unknown key {key!r}{whose}; {meant}"


def _keys(parser: ArgumentParser) -> list[str]:
    actions: list[Any] = parser._actions
    return [action.dest for action in actions if action.dest not in ("help", "config", "print_config")]


def _agent_options(name: str) -> list[str]:
    agent = AGENTS.get(name)
    return [key for key in inspect.signature(agent.__init__).parameters if key not in ("self", "env", "seed")]
