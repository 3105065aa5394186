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
        "train stage before its learning rate falls; `source` is the model that `model` describes, and\n"
        "`sources.NAME` one of those under `sources`.",
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
        "a constant schedule, a cosine schedule, which falls from its warm-up on, or `anneal: 0` has no\n"
        "such state apart from the end of the stage: write plain `NAME`.",
    ),
    "GROW124": Code(
        "`from` in the first stage",
        "The first stage starts from the model that `model` describes (`from: source`), or from one of\n"
        "those under `sources`; there is no earlier stage to start from.",
    ),
    "GROW125": Code(
        "Several states where there is one",
        "A list of states in `from` is for grow stages whose first operator mixes models, such as\n"
        "branch_train_mix (`growc operators` says which do). A train stage goes on from one state, and so\n"
        "does any other operator.",
    ),
    "GROW126": Code(
        "Nothing to mix",
        "An operator that mixes models makes one of several: its stage lists their states, as\n"
        "`from: [source, math, code]`, and it is the first operator of the stage, since what comes after\n"
        "it finds one model.",
    ),
    "GROW127": Code(
        "A state that is mixed with itself",
        "`from` lists a state twice. Two branches that are the same say nothing new: two experts would be\n"
        "copies of each other, or a mean be pulled to one side without a word. List each state once.",
    ),
    "GROW128": Code(
        "A source that no stage starts from",
        "`sources` describes a model that is never read. A stage starts from it by `from: sources.NAME`, or\n"
        "mixes it with others by `from: [source, sources.NAME]`.",
    ),
    "GROW129": Code(
        "A name that means something else",
        "In `from`, `source` is the model that `model` describes, and `sources.NAME` one of those under\n"
        "`sources`; a stage of that name could not be told from them.",
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
        "Baselines are control arms that train the same budget without growth, at the source's size\n"
        "(`fixed_source`) or at the target's (`fixed_target`), or that grow in another way. Without a grow\n"
        "stage there is nothing to compare.",
    ),
    "GROW140": Code(
        "Axis of a sweep that sets nothing",
        "An axis with a list is named by the path of the value that it varies, as `training.seed: [0, 1]`\n"
        "or `stages[upcycle].from: [a.stable, b.stable]`. An axis with a mapping has a name and labels of\n"
        "its own, and each label sets values by such paths. The grammar of paths is that of `--set`.",
    ),
    "GROW141": Code(
        "What cannot be swept",
        "All arms of a run are trained and validated on the same text, laid out on the same devices, under\n"
        "one name: `data`, `parallel`, `name`, `growth` and `sweep` itself are the same for all of them.\n"
        "Stages may read different parts of the data: sweep `stages[NAME].train.data`.",
    ),
    "GROW142": Code(
        "Sweep that is too large",
        "A sweep has a point for every combination of its axes, at most 256. Name the combinations that\n"
        "matter with labels on one axis, or make several specs.",
    ),
    "GROW143": Code(
        "Axes or labels that look the same",
        "Points are named after their axes and labels, and their folders too: an axis by the last step of\n"
        "its path, a label by the letters, digits, `.`, `_` and `-` of its value. Two axes, or two labels of\n"
        "one axis, must differ in that, and names must be short enough for a folder. An axis with a mapping\n"
        "has a name and labels that you choose.",
    ),
}
