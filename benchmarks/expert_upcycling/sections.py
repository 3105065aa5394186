"""What each spec is asked, in the order of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Choice:
    """The arm called `arm` where an axis of the sweep has one label."""

    axis: str
    label: str
    arm: str = "main"

    @property
    def name(self) -> str:
        """What the report calls it."""
        return self.label if self.arm == "main" else self.arm


@dataclass(frozen=True)
class Section:
    """One section of the report.

    `key` is the name of the spec's file. With `plot: lines`, `axis` is what runs along the picture, under `axis_title`;
    with `dots`, it is what its panels differ in, and `axis_title` has `{}` for the label. `reference` is the choice
    (axis, label) with which the others are compared seed by seed; `contrasts` are more such pairs, first minus second.
    """

    key: str
    title: str
    plot: Literal["dots", "lines"]
    axis: str = ""
    reference: tuple[str, str] | None = None
    axis_title: str = ""
    contrasts: tuple[tuple[Choice, Choice], ...] = ()


CPT = "CPT, % of pre-training"

SECTIONS = (
    Section(
        "arms", "Which recipe, at equal budget", "dots", reference=("arm", "free_copy"),
        contrasts=(
            (Choice("arm", "greedy"), Choice("arm", "greedy_random")),
            (Choice("arm", "exclusive_split"), Choice("arm", "exclusive_copy")),
        ),
    ),
    Section("table1_main", "Table 1: the published recipe at two budgets", "lines", "cpt", axis_title=CPT),
    Section("table2_full_moe", "Table 2: many small experts", "lines", "layers", axis_title="MoE layers"),
    Section(
        "table3a_transition_timing", "Table 3a: when to grow", "lines", "at",
        axis_title="growth after % of all steps",
    ),
    Section(
        "table3b_cpt_budget", "Table 3b: how much continued pre-training", "lines", "cpt", ("arm", "free"), CPT,
    ),
    Section(
        "table4_duplication", "Table 4: which experts to copy", "dots", "cpt", ("arm", "uniform"), "{} % CPT",
        tuple(
            (Choice("arm", score), Choice("arm", "random_allocation"))
            for score in ("weight_norm", "gradient_squared", "saliency", "curvature")
        ),
    ),
    Section(
        "table5_activation_ratio", "Table 5: activation ratio", "lines", "target",
        axis_title="active experts, % of all",
    ),
    Section("table8_experts", "Table 8: how the copies' experts start", "dots", reference=("arm", "copy")),
    Section("table8_routers", "Table 8: how the router's rows start", "dots", reference=("arm", "copy")),
    Section("top_k", "Experts per token, kept and scaled", "dots", "k", ("arm", "free"), "K = {}"),
    Section(
        "optimizer_state", "What becomes of the optimizer's state", "dots", reference=("state", "reset"),
        contrasts=((Choice("state", "interpolated"), Choice("state", "interpolated_reset")),),
    ),
    Section("rewarming", "The learning rate after the growth", "dots", reference=("rate", "warmup_2")),
    Section(
        "release", "When to release siblings", "dots", reference=("arm", "kept"),
        contrasts=(
            (Choice("arm", "annealed_30"), Choice("arm", "hard_30")),
            (Choice("arm", "annealed_70"), Choice("arm", "hard_70")),
        ),
    ),
    Section("paper", "The published preset", "dots"),
    Section("exact", "The exact preset", "dots"),
)  # fmt: skip
"""All sections; a result of another spec gets none and is refused."""
