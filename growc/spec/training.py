"""The `training` section: what every train stage inherits, and what a stage may override."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_serializer, model_validator

from growc.spec.fields import Auto, Part

_LR = "peak learning rate"
_DECAY = "decoupled weight decay, in units of the learning rate"
_CLIP = "largest gradient norm; larger gradients are scaled down to it (null: never)"
_WARMUP = "fraction of the stage's steps over which the learning rate rises from zero"
_MIN_LR = "learning rate at the end of the stage, as a fraction of the peak"

Fraction = Annotated[float, Field(ge=0, le=1)]
ClipNorm = Annotated[float, Field(gt=0)] | None
Decay = Literal["linear", "cosine", "sqrt"]
AdjustLr = Literal["match_rms_adamw", "original"]


class AdamW(Part):
    """AdamW (arXiv 1711.05101)."""

    name: Literal["adamw"] = Field(description="AdamW")
    lr: float = Field(default=1e-3, gt=0, description=_LR)
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="decay of the mean of their squares")
    eps: float = Field(default=1e-8, gt=0, description="added to the root of the second moment")
    weight_decay: float = Field(default=0.1, ge=0, description=_DECAY)
    clip_norm: ClipNorm = Field(default=1.0, description=_CLIP)


class Sgd(Part):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = Field(description="stochastic gradient descent")
    lr: float = Field(default=1e-2, gt=0, description=_LR)
    momentum: float = Field(default=0.0, ge=0, lt=1, description="decay of the running sum of gradients")
    weight_decay: float = Field(default=0.0, ge=0, description=_DECAY)
    clip_norm: ClipNorm = Field(default=1.0, description=_CLIP)


class Muon(Part):
    """Muon for matrices of hidden layers and of each expert; AdamW for embeddings, head and vectors."""

    name: Literal["muon"] = Field(description="Muon, with AdamW for what is no hidden matrix (arXiv 2502.16982)")
    lr: float = Field(default=1e-3, gt=0, description=f"{_LR}, of both")
    momentum: float = Field(default=0.95, ge=0, lt=1, description="decay of the running mean of gradients")
    nesterov: bool = Field(default=True, description="look one gradient ahead of the mean")
    ns_steps: int = Field(
        default=5, ge=1, lt=100, description="Newton-Schulz iterations by which an update is orthogonalised"
    )
    adjust_lr: AdjustLr = Field(
        default="match_rms_adamw",
        description="the factor of lr for a matrix of A rows and B columns: 0.2 sqrt(max(A, B)), by which updates are "
        "as large as AdamW's and its lr fits, or sqrt(max(1, A / B)) (original)",
    )
    weight_decay: float = Field(default=0.1, ge=0, description=f"{_DECAY}, of both")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="AdamW: decay of the mean of the gradients")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="AdamW: decay of the mean of their squares")
    eps: float = Field(default=1e-8, gt=0, description="AdamW: added to the root of the second moment")
    clip_norm: ClipNorm = Field(default=1.0, description=_CLIP)


class Wsd(Part):
    """Warm up, stay, decay (arXiv 2404.06395): the stable part is where models grow."""

    name: Literal["wsd"] = Field(description="warm up, stay, decay")
    warmup: Fraction = Field(default=0.02, description=_WARMUP)
    anneal: Fraction = Field(
        default=0.1, description="fraction of the stage's steps over which it falls to min_lr at the end"
    )
    decay: Decay = Field(
        default="linear",
        description="shape of the fall: linear, half a cosine, or sqrt, which is 1 - sqrt(progress) (arXiv 2405.18392)",
    )
    min_lr: Fraction = Field(default=0.0, description=_MIN_LR)


class Cosine(Part):
    """Warm up, then fall along half a cosine (arXiv 1608.03983): there is no stable part to grow from."""

    name: Literal["cosine"] = Field(description="warm up, then fall along half a cosine")
    warmup: Fraction = Field(default=0.02, description=_WARMUP)
    min_lr: Fraction = Field(default=0.0, description=_MIN_LR)


class Constant(Part):
    """Warm up, then stay."""

    name: Literal["constant"] = Field(description="warm up, then stay")
    warmup: Fraction = Field(default=0.0, description=_WARMUP)


class Balance(Part):
    """How the load of experts is kept even; it means nothing for dense models."""

    method: Literal["loss_free", "auxiliary", "none"] = Field(
        default="loss_free",
        description="loss_free: a bias on the router's choice (arXiv 2408.15664); auxiliary: a loss; none",
    )
    rate: float = Field(
        default=1e-3,
        ge=0,
        description="loss_free: step of the bias; auxiliary: coefficient of the loss; none: unused",
    )
    z_loss: float = Field(
        default=0.0,
        ge=0,
        description="coefficient of a loss on the size of the routers' logits, with any method (arXiv 2202.08906)",
    )


Optimizer = Annotated[AdamW | Sgd | Muon, Field(discriminator="name")]
Schedule = Annotated[Wsd | Cosine | Constant, Field(discriminator="name")]
FloatType = Literal["fp32", "bf16"]


def stable_step(schedule: Schedule, steps: int) -> int:
    """The number of steps before the anneal: the stable state is the state after them.

    A constant schedule has no anneal, and a cosine one falls from its warm-up on: their only state is the end.
    """
    return steps - round(schedule.anneal * steps) if isinstance(schedule, Wsd) else steps


class Precision(Part):
    """What a stage computes in, and what it keeps the moments of its optimizer in: {compute: bf16, moments: bf16}.

    A type alone says what it computes in; moments are fp32 then.
    """

    compute: FloatType = Field(
        default="fp32",
        description="type of matrix products, experts' included; routers' logits, the loss and weights stay fp32",
    )
    moments: FloatType = Field(
        default="fp32",
        description="type in which adamw or muon keeps means of gradients; in bf16 they take half of the memory, "
        "and are still computed in fp32",
    )

    @model_validator(mode="before")
    @classmethod
    def _type_alone(cls, value: Any) -> Any:
        return cast(Any, value) if isinstance(value, (dict, Precision)) else {"compute": value, "moments": "fp32"}

    @model_serializer
    def _type_alone_if_it_says_all(self) -> str | dict[str, str]:
        """Stages are known by hashes of this, and a spec that means the same must give the same."""
        return self.compute if self.moments == "fp32" else {"compute": self.compute, "moments": self.moments}


Checkpointing = Literal["none", "selective", "full"]
Count = Annotated[int, Field(ge=1)]

_BATCH = "tokens in one optimizer step, over all devices; a multiple of data.sequence_length"
_OPTIMIZER = "how weights follow gradients"
_SCHEDULE = "the learning rate over a stage"
_BALANCE = "how the load of experts is kept even"
_PRECISION = (
    "type of matrix products, experts' included; routers' logits, the loss and weights stay fp32, and so does the "
    "optimizer's state unless {compute: ..., moments: bf16} says otherwise"
)
AUTO_TOKENS = 8192
"""Tokens that a device computes at once where `micro_batch` is auto: the activations of more rarely fit."""

_MICRO = (
    "sequences that a device computes at once; gradients of the rest of its share of a batch are added up (auto: the "
    f"most that divide its share and have at most {AUTO_TOKENS} tokens, or one)"
)
_CHECKPOINTING = (
    "what layers compute again in the backward to save memory: all but their inputs and the routers' choices (full), "
    "all but matrix products and attention, too (selective), or nothing"
)
_VALIDATE = "steps between validations (null: only at the end of a stage)"
_CHECKPOINT = "steps between training checkpoints (null: only at the end of a stage)"


class Training(Part):
    """How train stages train."""

    batch_tokens: Count = Field(default=8192, description=_BATCH)
    optimizer: Optimizer = Field(default=AdamW(name="adamw"), description=_OPTIMIZER)
    schedule: Schedule = Field(default=Wsd(name="wsd"), description=_SCHEDULE)
    balance: Balance = Field(default=Balance(), description=_BALANCE)
    precision: Precision = Field(default=Precision(), description=_PRECISION)
    micro_batch: Count | Auto = Field(default="auto", description=_MICRO)
    activation_checkpointing: Checkpointing = Field(default="none", description=_CHECKPOINTING)
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of initial weights, data order and noise")
    validate_every: Count | None = Field(default=None, description=_VALIDATE)
    checkpoint_every: Count | None = Field(default=None, description=_CHECKPOINT)


class Train(Part):
    """A train stage: how long, on what, and what it overrides of `training`."""

    steps: Count = Field(description="optimizer steps")
    data: str = Field(default="train", description="the part of data.parts that this stage reads")
    batch_tokens: Count | None = Field(default=None, description=_BATCH)
    optimizer: Optimizer | None = Field(default=None, description=_OPTIMIZER)
    schedule: Schedule | None = Field(default=None, description=_SCHEDULE)
    balance: Balance | None = Field(default=None, description=_BALANCE)
    precision: Precision | None = Field(default=None, description=_PRECISION)
    micro_batch: Count | Auto | None = Field(default=None, description=_MICRO)
    activation_checkpointing: Checkpointing | None = Field(default=None, description=_CHECKPOINTING)
    validate_every: Count | None = Field(default=None, description=_VALIDATE)
    checkpoint_every: Count | None = Field(default=None, description=_CHECKPOINT)

    def over(self, inherited: Training) -> Training:
        """`inherited` with this stage's overrides.

        A balance, a precision that is no type alone, and an optimizer or schedule of the same name, is overridden key
        by key; one of another name replaces it.
        """
        changes: dict[str, Any] = {}
        for key in self.model_fields_set - {"steps", "data"}:
            mine, theirs = getattr(self, key), getattr(inherited, key)
            if isinstance(mine, Part) and type(mine) is type(theirs):
                given = {field: getattr(mine, field) for field in mine.model_fields_set}
                changes[key] = theirs.model_copy(update=given)
            elif mine is not None or key in ("validate_every", "checkpoint_every"):
                changes[key] = mine
        return inherited.model_copy(update=changes)
