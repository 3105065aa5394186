"""GROW1xx: The language: values, sections, stages."""

from __future__ import annotations

from growc.diagnostics.code import Code

CODES: dict[str, Code] = {
    "GROW100": Code(
        "Unknown version of the language",
        "`growth:` says for which version of the language a spec was written, so that old specs keep\n"
        "their meaning when the language changes. This growc knows version 1. A spec for a later\n"
        "version needs a newer growc.",
    ),
    "GROW101": Code(
        "Unknown key",
        "The language has no such key in this place. It may be misspelt, or indented into the wrong\n"
        "section. Unknown keys are errors, because a misspelt setting that is silently ignored costs a\n"
        "training run.",
    ),
    "GROW102": Code(
        "Missing key",
        "This mapping needs a key that it does not have. The place is that of the mapping.",
    ),
    "GROW103": Code(
        "Value of the wrong kind",
        "The key asks for another kind of value: a number, a text, a list, a mapping. Numbers in quotes\n"
        "are texts, `true` is not a number, and `on` and `yes` are texts in YAML 1.2. Where a whole\n"
        "number is asked, 14e9 is one and 2.5 is not.",
    ),
    "GROW104": Code(
        "Value out of range",
        "The value is of the right kind, but too small, too large, too short, too long, infinite, or\n"
        "not of the form that the key asks for.",
    ),
    "GROW105": Code(
        "Not one of the choices",
        "The key takes one of a few values. In `kind`, `name`, `rule` and the like, the value also\n"
        "decides which other keys there are.",
    ),
    "GROW106": Code(
        "Unknown operator",
        "`op` names a growth operator; `growc operators` lists them, and `growc explain NAME` shows the\npage of one.",
    ),
    "GROW107": Code(
        "Value that is not allowed",
        "The value is of the right kind and size, but breaks a rule of its own, which the message\n"
        "states. Names of stages and of parts of the data, for instance, become folders: letters,\n"
        "digits, `-` and `_`, at most 64.",
    ),
    "GROW108": Code(
        "Too many problems",
        "After a hundred problems growc stops explaining them one by one. Mend the first ones: later\n"
        "ones often follow from them.",
    ),
    "GROW110": Code(
        "Not exactly one source of the model",
        "`model` says where the first model comes from, by exactly one of `hub` (an id on the Hugging\n"
        "Face hub), `path` (a folder), `config` (a Hugging Face config; the weights are drawn from the\n"
        "seed) and `module` (Python code of yours).",
    ),
    "GROW111": Code(
        "Stage that does not do exactly one thing",
        "A stage either trains (`train: {steps: ...}`) or grows (`grow: [...]`). Growth followed by\n"
        "training is two stages, so that each state in between can be named, checked, and shared with\n"
        "other plans.",
    ),
    "GROW112": Code(
        "Revision without a hub",
        "`revision` chooses a branch, tag or commit of a model on the hub, and means nothing for other\nsources.",
    ),
    "GROW113": Code(
        "Not exactly one source of validation text",
        "`validation` is either a fraction of the training text that is held out (`{fraction: 0.02}`)\n"
        "or a source of its own (`{kind: text, path: held_out.txt}`); with both, it would be unclear\n"
        "what the loss is measured on.",
    ),
    "GROW114": Code(
        "Code without --allow-code",
        "`model.module` imports and calls a Python function. A spec from someone else could run\n"
        "anything that way, so growc asks for `--allow-code` on the command line each time.",
    ),
    "GROW120": Code(
        "Stage named twice",
        "Stages are known by their names: in `from`, in reports, and in the run folder. Each needs its\nown.",
    ),
    "GROW121": Code(
        "`from` a state that does not exist",
        "`from` names an earlier stage, for the state after it, or `NAME.stable`, for the state of a\n"
        "train stage before its learning rate falls.",
    ),
    "GROW122": Code(
        "`from` a later stage",
        "A stage can start only from a stage that is written before it; a stage that starts from\n"
        "itself, or from one that needs its own result, could never run. Put stages in an order in\n"
        "which they can run.",
    ),
    "GROW123": Code(
        "`.stable` without an anneal",
        "`NAME.stable` is the state of a train stage just before its learning rate falls. A grow stage,\n"
        "a constant schedule, or `anneal: 0` has no such state apart from the end of the stage: write\n"
        "plain `NAME`.",
    ),
    "GROW124": Code(
        "`from` in the first stage",
        "The first stage starts from the model that `model` describes; there is no earlier stage to\nstart from.",
    ),
    "GROW130": Code(
        "Unknown part of the data",
        "A train stage reads one of the parts that `data.parts` defines, by name. Without `data.parts`\n"
        "there is one, called `train`, which is also what a stage reads if it does not say.",
    ),
    "GROW131": Code(
        "Parts larger than the whole",
        "`data.parts` splits the training text into disjoint parts by fractions, so they cannot sum to\nmore than 1.",
    ),
    "GROW132": Code(
        "Batch that is not whole sequences",
        "`batch_tokens` is the size of one optimizer step in tokens, over all devices. It must be a\n"
        "multiple of `data.sequence_length`, as a step reads whole sequences.",
    ),
    "GROW133": Code(
        "Schedule longer than the stage",
        "`warmup` and `anneal` are fractions of the stage's steps: the first at its start, the second\n"
        "at its end. Together they can be at most 1.",
    ),
    "GROW134": Code(
        "Training without data",
        "A stage trains, and the spec has no `data` section. `data: {train: {kind: python_source}}`\n"
        "trains on the Python library's own source, which is on every machine.",
    ),
    "GROW135": Code(
        "Baseline of nothing",
        "Baselines are control arms that train the same budget without growth: at the source's size\n"
        "(`fixed_source`) or at the target's (`fixed_target`). Without a grow stage there is nothing to\n"
        "compare.",
    ),
}
