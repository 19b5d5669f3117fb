"""Options of GFNet."""

from __future__ import annotations

from dataclasses import dataclass, field

from adafocus_rl.agents.ppo import PPOOptions
from adafocus_rl.agents.training_options import ClassifierTraining
from adafocus_rl.options import MOST, require, require_range


@dataclass(frozen=True, kw_only=True)
class GFNetOptions:
    """Options of ``GFNet``; the defaults of ``policy`` are the published ones."""

    budgets: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Each budget of the early exit, mean compute per clip as a share of that of whole clips, above 0 and at most 1; at
    least the first frame is always processed."""

    epochs: int = 50
    """Passes over the training videos."""

    batch_size: int = 64
    """Videos per update."""

    policy: PPOOptions = field(default_factory=PPOOptions)
    """Network and training of the policy."""

    deterministic: bool = True
    """Take the policy's most probable patch in each frame; false samples a patch."""

    fine_tuning: ClassifierTraining = field(default_factory=ClassifierTraining)
    """Training of f_C on the policy's patches, GFNet's third stage."""

    def __post_init__(self) -> None:
        require(self, "budgets", len(self.budgets) > 0, "at least one budget")
        require(self, "budgets", all(0 < share <= 1 for share in self.budgets), "shares above 0 and at most 1")
        require_range(self, "epochs", least=0, most=MOST)
        require_range(self, "batch_size", least=1, most=MOST)
