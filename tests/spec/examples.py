"""Specs for the tests: a whole one, a small one, and every mistake with its place.

In a mistake, each `§` stands right before the place that a diagnostic must point at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FULL = """\
growth: 1                                # version of the language
name: upcycle-8-to-16

model:                                   # exactly one of hub | path | config | module
  config: {model_type: glm4_moe, hidden_size: 128}

data:
  tokenizer: bytes                       # bytes | a hub id | a folder
  sequence_length: 256
  train: {kind: python_source}           # the interpreter's own library: real text on every machine
  parts: {pretrain: 0.5, cpt: 0.5}       # disjoint splits that stages name
  validation: {fraction: 0.02}           # or a source of its own

training:                                # what every train stage inherits, and may override
  batch_tokens: 8192
  optimizer: {name: adamw, lr: 1e-3, beta1: 0.9, beta2: 0.95, weight_decay: 0.1, clip_norm: 1.0}
  schedule: {name: wsd, warmup: 0.02, anneal: 0.1}          # fractions of the stage
  balance: {method: loss_free, rate: 1e-3}                  # loss_free | auxiliary | none
  precision: fp32                        # fp32 | bf16 | {compute: ..., moments: ...}
  seed: 0

stages:                                  # a chain unless `from` says otherwise; any DAG
  - name: pretrain
    train: {steps: 400, data: pretrain}
  - name: upcycle
    from: pretrain.stable                # the state before the anneal; plain `pretrain` is the state after it
    grow:
      - op: expert_upcycling
        factor: 2
        routing: exclusive               # exclusive (exact) | free (the paper's)
        allocation: {rule: uniform}      # uniform | greedy {score, batches, cap} | proportional | explicit
        router: {init: copy, bias_noise: 1e-3}
        optimizer_state: reset_copies
  - name: cpt
    train: {steps: 400, data: cpt}

invariants:
  active_flops: {max_change: 0.005}      # relative, forward, per token at sequence_length, router included
  loss: {max_increase: 1.0e-5}           # nats, on validation, at every grow stage
  total_params: {max: 14e9}

baselines: [fixed_source, fixed_target]  # control arms; they share every stage they have in common
parallel: {fsdp: auto, ep: auto, tp: 1}
"""

SMALL = """\
growth: 1
name: small
model: {config: {model_type: llama}}
data: {train: {kind: python_source}, sequence_length: 64, parts: {a: 0.5, b: 0.25}}
training: {batch_tokens: 128}
stages:
  - name: first
    train: {steps: 10, data: a}
  - name: wider
    grow: [{op: expert_upcycling}]
  - name: last
    train: {steps: 10, data: b}
"""

SWEPT = (
    SMALL
    + """\
sweep:
  training.seed: [0, 1]
  stages[wider].grow[0].factor: [2, 3]
  arm:
    free: {"stages[wider].grow[0].routing": free}
    short: {"stages[wider].grow[0].routing": exclusive, "stages[last].train.steps": 5}
"""
)

STAGES = "stages: [{name: s, grow: [{op: expert_upcycling}]}]\n"
HEAD = "growth: 1\nname: n\nmodel: {hub: h}\n"


@dataclass(frozen=True)
class Mistake:
    """A spec (or `--set` values on `SMALL`) with marks, and the codes expected at the marks, in order."""

    text: str
    codes: tuple[str, ...]
    help: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def clean(self) -> str:
        return self.text.replace("§", "")

    @property
    def clean_overrides(self) -> tuple[str, ...]:
        return tuple(override.replace("§", "") for override in self.overrides)

    @property
    def places(self) -> list[tuple[str, int, int]]:
        """(code, line, column) of each mark."""
        marks = _marks(self.text) + _marks("\n".join(self.overrides))
        return [(code, line, column) for code, (line, column) in zip(self.codes, marks, strict=True)]


def _marks(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for number, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
        for before, match in enumerate(re.finditer("§", line)):
            found.append((number, match.start() - before + 1))
    return found


def small(old: str, new: str) -> str:
    """`SMALL` with one part replaced."""
    assert SMALL.count(old) == 1, old
    return SMALL.replace(old, new)


def _of(text: str, *codes: str, help: str = "") -> Mistake:
    return Mistake(text, codes, help)


def _set(*overrides: str, codes: tuple[str, ...], help: str = "") -> Mistake:
    return Mistake(SMALL, codes, help, overrides)


MISTAKES: dict[str, Mistake] = {
    # characters
    "nul": _of("growth: 1\nname: a§\0b\n", "GROW003"),
    "escape": _of("name: §\x1b[31m\n", "GROW003"),
    "line separator": _of("name: a§\u2028b\n", "GROW003"),
    "half a surrogate": _of(small("small", '§"\\ud83d"'), "GROW003"),
    # syntax
    "colon in a value": _of("name: a§: b\n", "GROW004", help="quote"),
    "open quote": _of('growth: 1\nname: §"abc\nmodel: x\n', "GROW004", help="close"),
    "open bracket": _of("growth: [1, 2\nname§: x\n", "GROW004", help="close"),
    "at sign": _of("name: §@x\n", "GROW004", help="quotes"),
    "bad indentation": _of("data:\n  a: 1\n §b: 2\n", "GROW004", help="same column"),
    "huge escape": _of('name: "\\U§FFFFFFFF"\n', "GROW004", help="U0010FFFF"),
    "unknown escape": _of('name: "\\§q"\n', "GROW004", help="single quotes"),
    "twice the same anchor": _of("a: &x 1\nb: §&x 2\n", "GROW004", help="another name"),
    "no colon": _of("growth: 1\n§name\nmodel: 1\n", "GROW004", help="key: value"),
    "tab": _of("data:\n§\ttrain: 1\n", "GROW005", help="spaces"),
    "tab after spaces": _of("data:\n  a: 1\n §\tb: 1\n", "GROW005", help="spaces"),
    "duplicate": _of(SMALL + "§name: x\n", "GROW006", help="first is on line 2"),
    "duplicate deep": _of(small("steps: 10, data: a", "steps: 10, data: a, §steps: 9"), "GROW006", help="line 8"),
    "duplicate merge": _of(
        small("{train: {kind: python_source},", "{<<: &x {train: {kind: python_source}}, §<<: *x,"), "GROW006"
    ),
    "number as key": _of(SMALL + "§1: x\n", "GROW007", help="quotes"),
    "list as key": _of(SMALL + "§[a]: x\n", "GROW007"),
    "null as key": _of(SMALL + "§~: x\n", "GROW007"),
    "true as key": _of(SMALL + "§true: x\n", "GROW007"),
    "two documents": _of(SMALL + "§---\na: 1\n", "GROW008", help="---"),
    "python tag": _of(small("small", '§!!python/object/apply:os.system ["true"]'), "GROW009", help="remove"),
    "own tag on a mapping": _of(small("{batch_tokens: 128}", "§!x {batch_tokens: 128}"), "GROW009"),
    "tag that does not fit": _of(small("steps: 10, data: b", "steps: §!!int ten, data: b"), "GROW009"),
    "merge of a text": _of(small("{batch_tokens: 128}", "{<<: §x, batch_tokens: 128}"), "GROW010"),
    "merge of a list of texts": _of(small("{batch_tokens: 128}", "{<<: [§x], batch_tokens: 128}"), "GROW010"),
    "alias of nothing": _of("name: §*x\n", "GROW011", help="&x"),
    "alias of itself": _of("name: &x [1, §*x]\n", "GROW011", help="itself"),
    "deep": _of("a: " + "[" * 63 + "§[", "GROW012"),
    "deep by aliases": _of(f"§a: &a {'[' * 40}{']' * 40}\nb: " + "[" * 24 + "*a" + "]" * 24 + "\n", "GROW012"),
    "huge integer": _of(small("steps: 10, data: b", f"steps: §{'9' * 5000}, data: b"), "GROW013"),
    "huge float": _of(small("steps: 10, data: b", "steps: §1e999, data: b"), "GROW013"),
    "empty": _of("§", "GROW014"),
    "only a comment": _of("§# nothing\n", "GROW014"),
    "a list": _of("§- growth: 1\n", "GROW014"),
    "a text": _of("§growth\n", "GROW014"),
    # values
    "version 2": _of(small("growth: 1", "growth: §2"), "GROW100", help="growth: 1"),
    "version true": _of(small("growth: 1", "growth: §true"), "GROW100"),
    "unknown key": _of(SMALL + "§trainin: {}\n", "GROW101", help="`training`"),
    "unknown key without a guess": _of(SMALL + "§zzz: {}\n", "GROW101", help="`growth`, `name`, `model`"),
    "unknown key in a variant": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, optimizer: {name: sgd, §beta1: 0.9}}"),
        "GROW101",
        help="`momentum`",
    ),
    "unknown key of an operator": _of(
        small("{op: expert_upcycling}", "{op: expert_upcycling, §factr: 2}"), "GROW101", help="`factor`"
    ),
    "unknown key inside an operator": _of(
        small("{op: expert_upcycling}", "{op: expert_upcycling, allocation: {rule: greedy, §capp: 2}}"),
        "GROW101",
        help="`cap`",
    ),
    "unknown key of a validation source": _of(
        small("sequence_length: 64", "sequence_length: 64, validation: {kind: text, path: x, §pathh: y}"),
        "GROW101",
        help="`path`",
    ),
    "missing at the top": _of("§growth: 1\nname: n\nmodel: {hub: h}\n", "GROW102", help="add `stages:`"),
    "missing steps": _of(small("{steps: 10, data: a}", "§{data: a}"), "GROW102", help="optimizer steps"),
    "missing name of a variant": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, optimizer: §{lr: 1e-3}}"),
        "GROW102",
        help="`name: adamw`, `name: sgd` or `name: muon`",
    ),
    "missing kind": _of(small("{kind: python_source}", "§{path: x}"), "GROW102", help="`kind: text`"),
    "missing op": _of(small("{op: expert_upcycling}", "§{factor: 2}"), "GROW102", help="`expert_upcycling`"),
    "missing path": _of(small("{kind: python_source}", "§{kind: text}"), "GROW102", help="add `path:`"),
    "empty value": _of(small("steps: 10, data: b", "steps:§ , data: b"), "GROW103", help="give it a value"),
    "number in quotes": _of(
        small("steps: 10, data: b", "steps: §'10', data: b"), "GROW103", help="write 10, without quotes"
    ),
    "number with separators": _of(small("128", "§1_024"), "GROW103", help="write 1024"),
    "fraction for a count": _of(small("steps: 10, data: b", "steps: §2.5, data: b"), "GROW103", help="write 2 or 3"),
    "true for a count": _of(small("steps: 10, data: b", "steps: §true, data: b"), "GROW103"),
    "true for a number": _of(small("b: 0.25", "b: §true"), "GROW103"),
    "on for a number": _of(small("b: 0.25", "b: §on"), "GROW103"),
    "number for a text": _of(small("name: small", "name: §3"), "GROW103", help="quotes"),
    "text for a list": _of(small("[{op: expert_upcycling}]", "§all"), "GROW103", help="[...]"),
    "text for an operator": _of(small("{op: expert_upcycling}", "§all"), "GROW103", help="op:"),
    "text for a mapping": _of(small("{batch_tokens: 128}", "§all"), "GROW103", help="key: value"),
    "stage is a text": _of(SMALL + "  - §last\n", "GROW103"),
    "neither auto nor a count": _of(SMALL + "parallel: {fsdp: §many}\n", "GROW103", help="whole number"),
    "nearly auto": _of(SMALL + "parallel: {fsdp: §autoo}\n", "GROW103", help="did you mean `auto`?"),
    "fraction in a list": _of(
        small("{op: expert_upcycling}", "{op: expert_upcycling, layers: [0, §1.5]}"),
        "GROW103",
        help="write 1 or 2",
    ),
    "count below one": _of(small("steps: 10, data: b", "steps: §0, data: b"), "GROW104", help="optimizer steps"),
    "negative rate": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, optimizer: {name: sgd, lr: §-1}}"), "GROW104"
    ),
    "name of two lines": _of(small("name: small", 'name: §"a\\nb"'), "GROW104"),
    "infinite": _of(small("b: 0.25", "b: §.inf"), "GROW104"),
    "infinite bound": _of(SMALL + "invariants: {loss: {max_increase: §.inf}}\n", "GROW104"),
    "no devices": _of(SMALL + "parallel: {fsdp: §0}\n", "GROW104"),
    "nothing to grow": _of(small("[{op: expert_upcycling}]", "§[]"), "GROW104"),
    "no stages": _of(HEAD + "stages: §[]\n", "GROW104"),
    "small factor": _of(
        small("{op: expert_upcycling}", "{op: expert_upcycling, factor: §1}"),
        "GROW104",
        help="times more experts",
    ),
    "module without a function": _of(HEAD.replace("hub: h", "module: §a") + STAGES, "GROW104"),
    "unknown choice": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, precision: §fp16}"), "GROW105", help="did you mean"
    ),
    "unknown type of moments": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, precision: {moments: §fp16}}"), "GROW105", help="did you mean"
    ),
    "number for a precision": _of(small("{batch_tokens: 128}", "{batch_tokens: 128, precision: §16}"), "GROW105"),
    "unknown key of a precision": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, precision: {§moment: bf16}}"), "GROW101", help="`moments`"
    ),
    "unknown kernel": _of(SMALL + "kernels: {experts: §groupd_mm}\n", "GROW105", help="did you mean `grouped_mm`?"),
    "tensor parallel": _of(SMALL + "parallel: {tp: §2}\n", "GROW105", help="only 1"),
    "tensor parallel true": _of(SMALL + "parallel: {tp: §true}\n", "GROW105"),
    "unknown kind": _of(small("{kind: python_source}", "{kind: §txt}"), "GROW105", help="`text`"),
    "unknown rule": _of(
        small("{op: expert_upcycling}", "{op: expert_upcycling, allocation: {rule: §unifrm}}"),
        "GROW105",
        help="`uniform`",
    ),
    "kind is a list": _of(small("{kind: python_source}", "{kind: §[text]}"), "GROW105"),
    "unknown baseline": _of(SMALL + "baselines: [§fixed_size]\n", "GROW105"),
    "unknown operator": _of(
        small("{op: expert_upcycling}", "{op: §expert_upcyclin}"), "GROW106", help="`expert_upcycling`"
    ),
    "operator is a number": _of(small("{op: expert_upcycling}", "{op: §3}"), "GROW106"),
    "name with a dot": _of(small("name: last", "name: §la.st"), "GROW107", help="letters"),
    "part with a slash": _of(small("b: 0.25", "§../b: 0.25"), "GROW107", help="letters"),
    "a thousand mistakes": _of(
        SMALL + "baselines: [" + ", ".join(["§x"] * 101) + ", x" * 900 + "]\n", *["GROW105"] * 100, "GROW108"
    ),
    # sections
    "no source": _of(HEAD.replace("{hub: h}", "§{}") + STAGES, "GROW110", help="exactly one"),
    "two sources": _of(HEAD.replace("{hub: h}", "{path: p, hub: §h}") + STAGES, "GROW110", help="keep one"),
    "two sources, a mapping last": _of(
        HEAD.replace("{hub: h}", "{hub: h, §config: {a: 1}}") + STAGES, "GROW110", help="keep one"
    ),
    "idle stage": _of(SMALL + "  - §name: idle\n", "GROW111", help="train"),
    "trains and grows": _of(
        SMALL + "  - name: both\n    train: {steps: 1, data: a}\n    §grow: [{op: expert_upcycling}]\n",
        "GROW111",
    ),
    "revision of a path": _of(HEAD.replace("hub: h", "path: p, revision: §main") + STAGES, "GROW112"),
    "fraction and source": _of(
        small("sequence_length: 64", "sequence_length: 64, validation: §{fraction: 0.1, kind: python_source}"),
        "GROW113",
    ),
    "neither fraction nor source": _of(
        small("sequence_length: 64", "sequence_length: 64, validation: §{sequences: 3}"), "GROW113"
    ),
    "module": _of(HEAD.replace("hub: h", "module: §a.b:c") + STAGES, "GROW114", help="--allow-code"),
    # stages
    "name twice": _of(small("name: last", "name: §first"), "GROW120", help="line 7"),
    "from nothing": _of(small("- name: last", "- name: last\n    from: §wide"), "GROW121", help="`wider`"),
    "from an unknown state": _of(
        small("- name: last", "- name: last\n    from: §first.end"), "GROW121", help="first.stable"
    ),
    "from itself": _of(small("- name: last", "- name: last\n    from: §last"), "GROW122"),
    "from a later one": _of(small("- name: wider", "- name: wider\n    from: §last"), "GROW122", help="`first`"),
    "stable of growth": _of(small("- name: last", "- name: last\n    from: §wider.stable"), "GROW123"),
    "stable without anneal": _of(
        small("{steps: 10, data: a}", "{steps: 10, data: a, schedule: {name: constant}}").replace(
            "- name: last", "- name: last\n    from: §first.stable"
        ),
        "GROW123",
        help="write `first`",
    ),
    "stable of a cosine": _of(
        small("{steps: 10, data: a}", "{steps: 10, data: a, schedule: {name: cosine}}").replace(
            "- name: last", "- name: last\n    from: §first.stable"
        ),
        "GROW123",
        help="write `first`",
    ),
    "first from": _of(small("- name: first", "- name: first\n    from: §last"), "GROW124"),
    "a stage called source": _of(small("name: last", "name: §source"), "GROW129"),
    "several states to train from": _of(
        small("- name: last", "- name: last\n    from: §[first, wider]"), "GROW125", help="mix them"
    ),
    "several states to grow from": _of(
        small("- name: wider", "- name: wider\n    from: §[source, first]"), "GROW125", help="keep one"
    ),
    "one state to mix": _of(small("[{op: expert_upcycling}]", "[{op: §model_soup}]"), "GROW126", help="from: [source"),
    "one state to mix in a list": _of(
        small("[{op: expert_upcycling}]", "[{op: §model_soup}]\n    from: [first]"), "GROW126"
    ),
    "mixed too late": _of(
        small("[{op: expert_upcycling}]", "[{op: model_soup}, {op: §model_soup}]\n    from: [source, first]"),
        "GROW126",
        help="of its own",
    ),
    "the same state twice": _of(
        small("[{op: expert_upcycling}]", "[{op: model_soup}]\n    from: [first, source, §first]"), "GROW127"
    ),
    "an unknown state among several": _of(
        small("[{op: expert_upcycling}]", "[{op: model_soup}]\n    from: [first, §frist]"), "GROW121", help="`first`"
    ),
    "no states": _of(small("- name: wider", "- name: wider\n    from: §[]"), "GROW104"),
    "a state that is no text": _of(small("- name: wider", "- name: wider\n    from: [§1]"), "GROW103"),
    "a state of the source": _of(
        small("- name: last", "- name: last\n    from: §source.stable"), "GROW121", help="write `source`"
    ),
    "a source that nobody uses": _of(
        small("data: {train", "sources: {math: §{hub: h}}\ndata: {train"), "GROW128", help="from: sources.math"
    ),
    "a source that no point of a sweep uses": _of(
        small("data: {train", "sources: {math: {hub: h}, code: §{hub: c}}\ndata: {train")
        + "sweep:\n  stages[last].from: [wider, sources.math]\n",
        "GROW128",
    ),
    "an unknown source": _of(
        small("data: {train", "sources: {math: {hub: h}}\ndata: {train").replace(
            "- name: last", "- name: last\n    from: §sources.maths"
        ),
        "GROW121",
        help="`math`",
    ),
    "no source in particular": _of(
        small("- name: last", "- name: last\n    from: §sources"), "GROW121", help="`sources`, as"
    ),
    "a source without a model": _of(small("data: {train", "sources: {math: §{}}\ndata: {train"), "GROW110"),
    "module of a source": _of(
        small("data: {train", "sources: {math: {module: §a.b:c}}\ndata: {train").replace(
            "- name: last", "- name: last\n    from: sources.math"
        ),
        "GROW114",
    ),
    "unknown part": _of(small("data: b}", "data: §c}"), "GROW130", help="`a` and `b`"),
    "part not said": _of(small("{steps: 10, data: b}", "§{steps: 10}"), "GROW130", help="`a` or `b`"),
    "parts overlap": _of(small("{a: 0.5, b: 0.25}", "§{a: 0.5, b: 0.75}"), "GROW131"),
    "broken sequences": _of(small("batch_tokens: 128", "batch_tokens: §100"), "GROW132", help="64 or 128"),
    "broken sequences in a stage": _of(small("data: b}", "data: b, batch_tokens: §100}"), "GROW132", help="64 or 128"),
    "sequence longer than the batch": _of(
        small("training: {batch_tokens: 128}\n", "").replace("sequence_length: 64", "sequence_length: §60"),
        "GROW132",
    ),
    "long schedule": _of(small("data: b}", "data: b, schedule: §{name: wsd, warmup: 0.5, anneal: 0.6}}"), "GROW133"),
    "moments of sgd": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, optimizer: {name: sgd}, precision: {moments: §bf16}}"),
        "GROW635",
        help="adamw or muon",
    ),
    "moments of sgd in a stage": _of(
        small("data: b}", "data: b, precision: {moments: §bf16}, optimizer: {name: sgd}}"), "GROW635"
    ),
    "slow moment in bf16": _of(
        small(
            "{batch_tokens: 128}",
            "{batch_tokens: 128, optimizer: {name: adamw, beta2: §0.981}, precision: {moments: bf16}}",
        ),
        "GROW636",
        help="at most 0.98",
    ),
    "slow moments in bf16 in a stage": _of(
        small(
            "data: b}", "data: b, precision: {moments: bf16}, optimizer: {name: muon, momentum: §0.99, beta1: §0.99}}"
        ),
        "GROW636",
        "GROW636",
    ),
    "slow moment of a stage that inherits bf16": _of(
        small("{batch_tokens: 128}", "{batch_tokens: 128, precision: {moments: bf16}}").replace(
            "data: b}", "data: b, optimizer: {name: adamw, beta2: §0.999}}"
        ),
        "GROW636",
    ),
    "no data": _of(HEAD + "stages:\n  - name: s\n    train: §{steps: 1}\n", "GROW134", help="python_source"),
    "baseline of nothing": _of(
        HEAD
        + "data: {train: {kind: python_source}}\nstages: [{name: s, train: {steps: 1}}]\n"
        + "baselines: §[fixed_source]\n",
        "GROW135",
    ),
    # sweeps
    "axis that is no path": _of(SMALL + "sweep:\n  §training..seed: [0, 1]\n", "GROW140", help="stages[1]"),
    "variant that is no path": _of(SMALL + 'sweep: {arm: {a: {§"[0]": 1}}}\n', "GROW140"),
    "axis of nothing": _of(SMALL + "sweep:\n  §stages[wide].train.steps: [1]\n", "GROW021", help="`wider`"),
    "axis with an unknown key": _of(SMALL + "sweep:\n  §training.sed: [1, 2]\n", "GROW101", help="`seed`"),
    "axis of one value": _of(SMALL + "sweep:\n  training.seed: §1\n", "GROW103", help="write `[...]`"),
    "axis of no values": _of(SMALL + "sweep:\n  training.seed: §[]\n", "GROW104"),
    "variant that is no mapping": _of(SMALL + "sweep:\n  arm: {a: §1}\n", "GROW103", help="key: value"),
    "swept data": _of(SMALL + "sweep:\n  §data.sequence_length: [64, 128]\n", "GROW141", help="a spec for each"),
    "swept sweep": _of(SMALL + "sweep:\n  arm: {a: {§sweep: {}}}\n", "GROW141"),
    "too many points": _of(
        SMALL + f"sweep:\n  §training.seed: {list(range(257))}\n", "GROW142", help="labels on one axis"
    ),
    "two axes of one name": _of(
        SMALL + "sweep:\n  stages[0].train.steps: [1]\n  §stages[2].train.steps: [2]\n", "GROW143", help="labels"
    ),
    "two labels alike": _of(SMALL + "sweep:\n  training.seed: [1, §1]\n", "GROW143", help="labels"),
    "long names": _of(
        SMALL + "sweep:\n" + "".join(f"  {'§' * (i == 0)}{c * 70}: {{{c * 70}: {{}}}}\n" for i, c in enumerate("ab")),
        "GROW143",
        help="labels",
    ),
    "wrong value in a sweep": _of(SMALL + "sweep:\n  training.seed: [0, §x]\n", "GROW103"),
    "wrong elsewhere by a value of a sweep": _of(
        SMALL + 'sweep:\n  training.seed: [0, 1]\n  x: {a: {}, b: {"stages[1].from": §last}}\n', "GROW122"
    ),
    "wrong elsewhere by a choice": _of(
        SMALL + 'sweep:\n  training.seed: [0, 1]\n  x: {a: {}, §b: {"stages[0].name": last}}\n', "GROW120"
    ),
    "wrong by two values of a sweep together": _of(
        SMALL + "sweep:\n  stages[0].name: [first, other]\n  stages[2].from: [null, §first]\n", "GROW121"
    ),
    "set a wrong value in a sweep": _set("sweep={training.seed: [0, §x]}", codes=("GROW103",)),
    # several at once, in the order of the text
    "several": _of(
        "§growth: 1\n§nam: x\nmodel: {hub: §3}\nstages:\n  - name: s\n    train: {steps: §-1, §dta: 1}\n",
        "GROW102",
        "GROW101",
        "GROW103",
        "GROW104",
        "GROW101",
    ),
    # --set
    "set without a value": _set("training.seed§", codes=("GROW020",)),
    "set without a path": _set("§=3", codes=("GROW020",)),
    "set with an open bracket": _set("stages§[0=3", codes=("GROW020",)),
    "set with two dots": _set("training§..seed=3", codes=("GROW020",)),
    "set on no item": _set("stages[§7].train.steps=3", codes=("GROW021",), help="it has 3"),
    "set on a huge item": _set(f"stages[§{'9' * 5000}].name=3", codes=("GROW021",)),
    "set on no stage": _set("stages[§wide].train.steps=3", codes=("GROW021",), help="`wider`"),
    "set inside a number": _set("growth.§x=3", codes=("GROW021",)),
    "set an unknown key": _set("training.§sed=3", codes=("GROW101",), help="`seed`"),
    "set in an unknown section": _set("§trainin.seed=3", codes=("GROW101",), help="`training`"),
    "set a wrong value": _set("stages[1].grow[0].factor=§four", codes=("GROW103",)),
    "set a wrong value deep in a value": _set("stages[1].grow[0].router={init: §cpy}", codes=("GROW105",)),
    "set no YAML": _set('name=§"x', codes=("GROW004",)),
    "set a control character": _set("name=§\x07", codes=("GROW003",)),
    "the second set": _set("training.seed=1", "training.seed=§x", codes=("GROW103",)),
}
