"""YAML: recipes, overlays, a run's config.yaml, variants of a comparison, spaces of a search."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.cases import Case, reader
from fuzz.corpus import Corpus
from fuzz.mutate_bytes import word
from fuzz.mutate_trees import mutate_tree, to_yaml
from fuzz.readers.calls import command, one_of


def _keys(tree: Any) -> set[str]:
    """All keys of a tree, as words of a sentence; anchors make a tree endless for who follows each of them."""
    found, left, seen = set(), [tree], set()
    while left:
        one = left.pop()
        if isinstance(one, str) and len(one) > 3:
            found.add(one)
        if id(one) in seen or not isinstance(one, (dict, list)):
            continue
        seen.add(id(one))
        left += one.values() if isinstance(one, dict) else one
        found |= {str(key) for key in one} if isinstance(one, dict) else set()
    return found


def _names(path: Path, content: bytes, valid: Any) -> tuple[str, ...]:
    """What a sentence about the file may name: it, a key in it, or the text of one."""
    try:
        found = _keys(yaml.safe_load(content))
    except (yaml.YAMLError, ValueError, RecursionError, AttributeError, TypeError, KeyError):
        found = set()
    # Letters of a short key may stand anywhere, so it counts in quotes and behind its block.
    keys = found | _keys(valid)
    return (
        path.name,
        *(name for key in keys for name in ([key, repr(key)] if len(key) > 2 else [repr(key), f".{key}", f"--{key}"])),
    )


def _overridden(rng: Random, corpus: Corpus, tree: dict[str, Any]) -> Any:
    secret = str(corpus.outside / "secret.txt")
    values = (secret, {"config": secret}, [secret], "moving_digits", "find_the_patch", "step", "cosine")
    changed = mutate_tree(rng, tree, calls=True, values=values[3:])
    if isinstance(changed, dict) and rng.random() < 0.08:
        # Keys with which parsers include other files.
        changed[rng.choice(("config", "cfg", "include", "defaults", "print_config", "$include"))] = rng.choice(
            values[:3]
        )
    if isinstance(changed, dict) and rng.random() < 0.15:
        options = mutate_tree(
            rng, {"x": {"class_path": "os.system", "init_args": {"command": "id > owned"}}}, calls=True
        )
        changed["data"] = {
            **(changed["data"] if isinstance(changed.get("data"), dict) else {}),
            "embedded_options": options,
        }
    return changed


@reader("recipes", weight=10)
def recipes(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """A recipe of somebody's own, and what is laid over one."""
    valid = yaml.safe_load(corpus.recipe.read_text())
    own = rng.random() < 0.6
    tree = valid if own else {key: valid[key] for key in rng.sample(sorted(valid), 3)}
    content = to_yaml(rng, _overridden(rng, corpus, tree))
    path = folder / "mine.yaml"
    path.write_bytes(content)
    names = _names(path, content, valid)
    if not own:
        overlay = ["--config", path] if rng.random() < 0.5 else [f"--config={path}"]
        return Case(call=command("flops", corpus.recipe, *overlay), names=names)
    if rng.random() < 0.6:

        def load() -> None:
            from adafocus_rl.experiments.config.parser import load_settings

            load_settings(path)

        return Case(call=load, names=names)
    action = one_of(
        rng, ["flops", path], ["train", path, "--print_config"], ["data", "check", "--recipe", path, "--workers=0"]
    )
    return Case(call=command(*action), names=names)


@reader("config.yaml", weight=6)
def run_config(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """The configuration in a run folder that came from somewhere."""
    run = corpus.copy(corpus.run, folder / "run")
    valid = yaml.safe_load((run / "config.yaml").read_text())
    content = to_yaml(rng, _overridden(rng, corpus, valid))
    (run / "config.yaml").write_bytes(content)
    names = (
        *_names(run / "config.yaml", content, valid),
        "stage1.safetensors",
        "stage2.safetensors",
        "features",
        "list",
    )
    video = corpus.data / "0.mp4"
    action = one_of(rng, ["predict", run, video], ["predict", run, video], ["features", "check", run],
                         ["replay", run, "--out", folder / "x.html"])  # fmt: skip
    return Case(call=command(*action), names=names)


@reader("variants", weight=4)
def variants(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Ablation files and agents with options, for ``compare``."""
    valid = [
        {"name": "small", "overrides": {"agent": "PPOAgent", "agent.gamma": 0.5}},
        {"name": "centre", "overrides": {"agent": "CenterAgent", "stage2.epochs": 2}},
    ]
    path = folder / "mine.yaml"
    content = to_yaml(rng, mutate_tree(rng, valid, calls=True, values=("agent.x", "model.grid", "stage2")))
    path.write_bytes(content)
    text = rng.choice(("PPOAgent:gamma=%s", "PPOAgent:%s=1", "%s", "RandomAgent:%s", "PPOAgent:gamma=0.9,%s")) % word(
        rng
    )
    from_file = rng.random() < 0.7

    def plan() -> None:
        from adafocus_rl.experiments.compare.plan import make_plan
        from adafocus_rl.experiments.compare.variants import agent_variant, read_ablation
        from adafocus_rl.experiments.run.folder import RunFolder

        _, found = read_ablation(str(path)) if from_file else ("", [agent_variant(text)])
        make_plan(RunFolder(corpus.run), found, [], out=str(folder / "out"))

    # An option of an agent may be named by nothing but itself, so a text that is an argument names itself.
    return Case(call=plan, names=(*_names(path, content, valid), "'small'", "'centre'") if from_file else ())


@reader("spaces", weight=2)
def spaces(rng: Random, corpus: Corpus, folder: Path) -> Case:
    """Spaces of a search, for ``tune``."""
    valid = {
        "agent.learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
        "agent.n_epochs": {"low": 1, "high": 4},
        "agent.cell": ["gru", "none"],
        "env.reward.baseline_positions": [1, 4],
    }
    path = folder / "space.yaml"
    content = to_yaml(rng, mutate_tree(rng, valid, calls=True, values=("agent.x", "model.grid", "stage2", "config")))
    path.write_bytes(content)

    def plan() -> None:
        from adafocus_rl.experiments.compare.variants import agent_variant
        from adafocus_rl.experiments.run.folder import RunFolder
        from adafocus_rl.experiments.tune.space import read_space
        from adafocus_rl.experiments.tune.study import Search, check

        space = read_space(path)
        agent = agent_variant("PPOAgent")
        run, out = RunFolder(corpus.run), folder / "out"
        check(Search(folder=run, out=out, agent=agent, space=space, file=path, goal="reward", trials=1))

    return Case(call=plan, names=_names(path, content, valid))
