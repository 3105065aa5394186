"""Every diagnostic code with its text; `growc explain CODE` prints it.

Ranges: 0xx files and YAML, 1xx the language, 2xx model sources and tracing, 3xx growth, 4xx invariants,
5xx data, 6xx plans and runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell sees."""

    CLEAN = 0
    FINDINGS = 1
    CANNOT_RUN = 2
    INTERRUPTED = 3


@dataclass(frozen=True)
class Code:
    """One kind of finding: a title, what it means and how to mend it, and the exit code it leads to."""

    title: str
    text: str
    exit: ExitCode = ExitCode.FINDINGS


CODES: dict[str, Code] = {
    # 0xx: files and YAML
    "GROW001": Code(
        "Unreadable file",
        "The spec does not exist, is a folder, or may not be read. The path is taken relative to the\n"
        "folder that growc was called in.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW002": Code(
        "File too large",
        "A spec is a few kilobytes of YAML; files past 512 KiB are refused before they are read, as\n"
        "they are most often data or weights named by mistake.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW003": Code(
        "Not a text",
        "YAML files are UTF-8 without control characters. Save the file as UTF-8, and write unusual\n"
        'characters as escapes in double quotes: "\\t", "\\u00e9", "\\U0001f600". Line separators of\n'
        "Unicode (U+0085, U+2028, U+2029) are refused too, as editors and YAML versions disagree on\n"
        "whether they end a line.",
    ),
    "GROW004": Code(
        "Malformed YAML",
        "The text does not follow the syntax of YAML 1.2. The usual reasons: an unquoted value that\n"
        "contains `: ` or starts with one of @ ` % { [ * &, lines of one mapping that start in\n"
        "different columns, or an open bracket.",
    ),
    "GROW005": Code(
        "Tab in the YAML",
        "YAML indents with spaces only, because tabs have no agreed width. Set the editor to insert\nspaces.",
    ),
    "GROW006": Code(
        "Duplicate key",
        "A mapping holds the same key twice. Most YAML readers silently keep the last one, so half of\n"
        "what was written would be ignored; growc refuses it. Remove one of the two.",
    ),
    "GROW007": Code(
        "Key that is no text",
        "Keys such as `1:`, `true:`, `null:` or `[a]:` are numbers, truth values, nothing or lists by\n"
        'the rules of YAML. Write them in quotes (`"1":`) if a text is meant.',
    ),
    "GROW008": Code(
        "Several documents",
        "A line `---` starts another YAML document. One file holds one spec; put the others into files\nof their own.",
    ),
    "GROW009": Code(
        "Unknown tag",
        "Tags such as `!!python/object` or `!include` ask a YAML reader to build special values or run\n"
        "code. A spec is plain data: texts, numbers, true, false, null, lists and mappings. `!!str 1`\n"
        "and the other tags of YAML's core schema are understood if the text fits them.",
    ),
    "GROW010": Code(
        "Merge of something else than a mapping",
        "`<<: *base` copies the keys of the mapping that is anchored as `&base` into this one, and `<<:\n"
        "[*a, *b]` those of several; keys written out win over merged ones. Nothing but mappings can be\n"
        "merged.",
    ),
    "GROW011": Code(
        "Alias of nothing",
        "`*name` repeats the value that was written earlier as `&name ...`. The anchor must come before\n"
        "the alias, and the alias cannot stand inside the value that it repeats.",
    ),
    "GROW012": Code(
        "Document too large or too deep",
        "A spec holds at most 20,000 values, counted after every alias is replaced by what it repeats,\n"
        "nested at most 64 deep. Some small files expand to billions of values; such a file is refused\n"
        "before it is expanded.",
    ),
    "GROW013": Code(
        "Number out of reach",
        "The text is a number by the rules of YAML, but no computer's: more than 400 characters, or\n"
        "past 1.8e308. Use quotes if it is meant as a text, and `.inf` if infinity is meant.",
    ),
    "GROW014": Code(
        "File without a spec",
        "A spec is one mapping with the keys `growth`, `name`, `model` and `stages`. This file is\n"
        "empty, or holds a list or a single value.",
    ),
    "GROW020": Code(
        "Malformed --set",
        "`--set` takes a path, `=` and a value in YAML: `--set training.seed=1`, `--set\n"
        "stages[1].grow[0].factor=4`, `--set stages[pretrain].train.steps=100`. Items of lists are\n"
        "counted from 0; stages may also be named.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW021": Code(
        "--set of nothing",
        "The path of `--set` leads through a list item or a stage that the spec does not have, or into\n"
        "a value that has no keys. A key that is merely absent is added.",
    ),
    # 1xx: the language
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
    # 2xx: model sources and tracing
    "GROW201": Code(
        "An unknown model type",
        "`model_type` of a config names the family of the model, in the spelling of transformers\n"
        "(`qwen3_moe`, `deepseek_v3`). This one is missing, or names no causal language model that the\n"
        "installed transformers can build. Code that a checkpoint brings along (`auto_map`) is never run.",
    ),
    "GROW202": Code(
        "A config that cannot be built",
        "transformers refuses the values of the config, or fails to build the model's modules from them:\n"
        "a value of the wrong type, a width that heads do not divide, a list that is not one value per\n"
        "layer. The message is transformers' own.",
    ),
    "GROW203": Code(
        "An impossible size",
        "A size in the config is negative, or zero where a model needs at least one, or the router is to\n"
        "choose more experts per token than there are. transformers accepts such configs and fails later,\n"
        "so growc checks them first.",
    ),
    "GROW204": Code(
        "A model that cannot be traced",
        "growc follows the forward pass on the meta device, where tensors have shapes but no values. A\n"
        "model whose Python code branches on the values of tensors cannot be followed, nor one whose sizes\n"
        "do not fit together: the message is then the one raised inside the model. Models that do not use\n"
        "the attention interface of transformers are refused too, as their cost would be miscounted.",
    ),
    "GROW205": Code(
        "A model folder or config that cannot be read",
        "`model.path` must be a folder with a `config.json`, and `model.config` a mapping or the path of\n"
        "such a file; both are relative to the spec. The file is missing, unreadable, or no JSON object.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW206": Code(
        "Pickled weights",
        "The folder holds weights as a Python pickle (`pytorch_model.bin`, `*.pt`, `*.pth`, `*.ckpt`) and\n"
        "none as safetensors. Loading a pickle can run any code its author put there, so growc never\n"
        "does. Convert it on a machine you can afford to lose, with `save_pretrained` of transformers.",
    ),
    "GROW207": Code(
        "A file name that leaves its folder",
        "The index of a sharded checkpoint may name plain files beside it, and nothing else. A name with\n"
        "a path separator, `..` or a NUL byte would let a checkpoint read files elsewhere on this machine.\n"
        "Do not use the checkpoint before you know how the name came there.",
    ),
    "GROW208": Code(
        "A damaged safetensors file",
        "The header of a weight file is not what the format allows: cut short, not JSON, a tensor twice,\n"
        "ranges that overlap, leave holes or end beyond the file, or a size that is not that of the shape.\n"
        "The copy is incomplete or was tampered with; fetch it again.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW209": Code(
        "Weights that do not fit together",
        "The index of a sharded checkpoint and the headers of its files disagree: a file is missing, a\n"
        "tensor is not where the index says, or one lies in two files. Or the folder has no weights at\n"
        "all. Fetch the checkpoint again, or write it anew with `save_pretrained`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW210": Code(
        "A model that the hub does not give",
        "`model.hub` is looked up in the local Hugging Face cache and then online. It is in neither: the\n"
        "name or revision is wrong, access needs a login (`hf auth login`), or there is no network. On a\n"
        "machine without one, fetch the model elsewhere (`hf download ID`) and use `model.path`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW211": Code(
        "A module that gives no model",
        "`model.module` names `package.module:function`; the function is called without arguments and must\n"
        "return a transformers `PreTrainedModel`, a causal language model of the class that transformers'\n"
        "Auto classes know for its config (register your own with `AutoModelForCausalLM.register`). It\n"
        "runs only with `--allow-code`.",
    ),
    "GROW212": Code(
        "A quantized checkpoint",
        "The weights of this folder are stored in a quantized format, where one tensor's bytes are split\n"
        "over blocks and scales. Growing would have to requantize. Load the model with transformers,\n"
        "dequantize it, and save that.",
    ),
    "GROW213": Code(
        "A misspelt config key",
        "transformers stores config keys it does not know and goes on with the default of the one that was\n"
        "meant. The key here is unknown to the model type and nearly the name of one it knows. Correct the\n"
        "spelling; keys that resemble none pass.",
    ),
    # 3xx: growth
    "GROW301": Code(
        "A model without experts",
        "The operator grows mixture-of-experts layers, and tracing found none in the model. Start from a\n"
        "model that has them (`growc operators` says what each operator grows).",
    ),
    "GROW302": Code(
        "A layer without experts",
        "`layers` names a decoder layer, counted from 0, that is dense. Many families keep their first\n"
        "layers dense; the message lists the layers with experts. `layers: all` takes just those.",
    ),
    "GROW303": Code(
        "A cap too small for the factor",
        "`cap` is the most extra copies that one expert may get. Factor f makes (f - 1) copies per expert\n"
        "on average, so with a smaller cap there is no way to hand out all of them. Raise `cap` to\n"
        "factor - 1 or more.",
    ),
    "GROW304": Code(
        "Free routing after exclusive routing",
        "The model has been grown with `routing: exclusive`: each group of siblings sends one winner into\n"
        "the top-K. Growing it on with `routing: free` would let siblings collide again and change the\n"
        "function of the layers grown before. Grow it with `routing: exclusive`.",
    ),
    "GROW305": Code(
        "Noise for a bias that is not there",
        "`router.bias_noise` is put on the bias of copies, and the router of this family has neither a\n"
        "selection bias (DeepSeek, GLM) nor a bias of its logits (gpt-oss). Leave it out; to tell siblings\n"
        "apart from the start, use `router: {init: split}`.",
    ),
    "GROW306": Code(
        "Replicas that do not add up",
        "`allocation: {rule: explicit}` needs one number for every source expert, each at least 1, and\n"
        "their sum must be factor * experts.",
    ),
    "GROW307": Code(
        "Routing groups of different sizes",
        "The router first chooses among equal groups of experts (`n_group`), so every group must get the\n"
        "same number of copies. Let the replicas of each group sum to factor * group size.",
    ),
    "GROW308": Code(
        "balance without a selection bias",
        "Loss-free balancing moves a bias that shifts the router's choice of experts, and this family's "
        "router has none. Use balance: {method: auxiliary, rate: 1e-2}, which adds a loss term, or "
        "method: none.",
    ),
    "GROW310": Code(
        "no second moment for the curvature score",
        "The curvature score divides by the norm of Adam's second moment, which exists only after a stage "
        "that trained with adamw. Train the source in an earlier stage, start from a growc checkpoint, or "
        "choose another score.",
    ),
    "GROW312": Code(
        "A score that needs gradients",
        "`growc grow` reads and writes weights and never runs the model. The scores gradient_squared,\n"
        "saliency and curvature are measured by running it forward and backward on data. Run the stage\n"
        "within `growc run`, or choose `score: weight_norm`, which follows from the weights alone.",
    ),
    # 4xx: invariants
    "GROW401": Code(
        "Programs that do not cover the model",
        "Every tensor of the grown model must have exactly one program, programs may read only what the\n"
        "source has, and no source tensor may vanish unread. An operator that breaks this would leave\n"
        "weights random or lose them. It is a fault of the operator: report it, or mend its `weight`.",
    ),
    "GROW402": Code(
        "A program of the wrong shape",
        "The shape that an operator's program evaluates to differs from the shape found by tracing a\n"
        "model of the grown config. It is a fault of the operator: its `config` and its `weight` disagree.",
    ),
    "GROW403": Code(
        "Active FLOPs change too much",
        "`invariants.active_flops.max_change` bounds the relative change of forward FLOPs per token, at\n"
        "`data.sequence_length` and router included, between the model that the plan starts from and the\n"
        "one after each grow stage. More experts at the same top-K cost a larger router: +0.4 % when\n"
        "Qwen3-30B-A3B doubles, less for wide experts. A larger top-K or width costs far more.",
    ),
    "GROW404": Code(
        "Too many parameters",
        "`invariants.total_params.max` bounds the parameters of every model in the plan, all experts\n"
        "counted. Lower the factor, grow fewer `layers`, or raise the limit.",
    ),
    "GROW405": Code(
        "A claim that does not hold",
        "An operator that claims to preserve the model exactly must leave every logit of a small float64\n"
        "twin within 1e-5 and its loss within 1e-6; one with free routing must land on the loss that the\n"
        "K_eff law predicts. Here it does not: the family routes in a way that the operator does not\n"
        "know. Do not grow this model with these settings; `routing: free` may still be honest.",
    ),
    "GROW406": Code(
        "No twin to prove the claim on",
        "To prove what an operator claims, growc makes the model small: same experts, same routing, small\n"
        "widths. This family could not be made small that way. The plan stands; measure the claim with\n"
        "`growc check --measure` before relying on it.",
    ),
    "GROW450": Code(
        "loss invariant broken at run time",
        "The validation loss measured right after a growth was higher than the one measured right before "
        "by more than invariants.loss.max_increase. The run stops before it spends anything on the grown "
        "model, which is not kept. With routing: free the K_eff law says in advance what the step costs; "
        "routing: exclusive with router init copy costs nothing.",
    ),
    "GROW451": Code(
        "nothing to measure on",
        "Measuring a loss takes validation text, and the spec has no data section. Add one, or leave --measure out: "
        "the static checks need no data.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW452": Code(
        "nothing to measure before the run",
        "--measure grows the source's own weights. A model that is only a config has none, and a growth that comes "
        "after a train stage starts from weights that do not exist yet. The run measures every growth as it comes, and "
        "stops where invariants.loss is broken.",
        ExitCode.CANNOT_RUN,
    ),
    # 5xx: data
    "GROW501": Code(
        "Data that cannot be read",
        "A path under `data` names no file, or a file the system refuses to open. Paths are relative\n"
        "to the folder of the spec; a path may be a file, a folder (every file below it) or a glob\n"
        "such as `texts/**/*.md`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW502": Code(
        "An empty corpus",
        "The source of training or validation data was found, but holds nothing: no matching file, or\n"
        "only empty ones. A folder of kind `jsonl` is searched for `*.jsonl`; name other endings with\n"
        "a glob.",
    ),
    "GROW503": Code(
        "A part of the data is too small",
        "After the split, a part (or the validation) has no data, or less than one window of\n"
        "`sequence_length` + 1 tokens. Files are never divided between parts when there are several,\n"
        "so a small fraction of few files can come out empty. Raise the fraction, give more data or\n"
        "smaller files, or shorten `sequence_length`.",
    ),
    "GROW504": Code(
        "Text that is not UTF-8",
        "A file of kind `text` or `jsonl` holds bytes that are not UTF-8, or a NUL byte, which no\n"
        "text has and which separates documents for the `bytes` tokenizer. Convert the file (`iconv\n"
        "-t utf-8`), or leave binary files out with a glob.",
    ),
    "GROW505": Code(
        "A malformed line of JSON",
        "Each line of a `jsonl` file must be one JSON object on its own; blank lines are skipped. A\n"
        "file that is one large JSON array must be rewritten to a line per document first.",
    ),
    "GROW506": Code(
        "A document without its text",
        "The JSON object on this line lacks the field that `field` names (`text` unless said\n"
        "otherwise), or holds something there that is not a string.",
    ),
    "GROW507": Code(
        "A token file of impossible length",
        "A file of kind `tokens` is nothing but ids of 2 bytes (`dtype: uint16`) or 4 (`uint32`),\n"
        "little-endian. Its size is not a multiple of that: the `dtype` is wrong, the file was cut\n"
        "short, or it has a header.",
    ),
    "GROW508": Code(
        "A token file of another format",
        "The file starts with the mark of a known format that is not a flat list of ids (a NumPy\n"
        "array with a header, a Megatron index, llm.c). Reading its header as tokens would train on\n"
        "noise. Write the ids alone to a flat file.",
    ),
    "GROW509": Code(
        "A token id beyond the vocabulary",
        "The data or its tokenizer has ids that the model's embedding has no row for. Either the\n"
        "tokenizer is not the model's, or the `dtype` of a token file is wrong, or `vocab_size` must\n"
        "grow.",
    ),
    "GROW510": Code(
        "A tokenizer that cannot be loaded",
        "`tokenizer` is `bytes`, a folder with a Hugging Face tokenizer, or an id on the hub. A hub\n"
        "id is looked up in the local cache and then online; on a machine without a network, download\n"
        "it beforehand (`hf download ID`) or give a folder. The tokenizer must have an end-of-text\n"
        "token: it separates the documents.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW511": Code(
        "A batch larger than its data",
        "One batch asks for more windows than the part has, so it would hold some of them twice.\n"
        "Lower `batch_tokens`, raise the part's fraction, or give more data.",
    ),
    "GROW512": Code(
        "A batch that does not divide among the ranks",
        "Every rank takes the same number of sequences, so `batch_tokens` / `sequence_length` must be\n"
        "a multiple of the number of ranks that share the data. Change `batch_tokens` or the number\n"
        "of processes.",
    ),
    "GROW513": Code(
        "Validation data that is also trained on",
        "A file belongs to both the training data and the validation source. A loss measured on it\n"
        "says nothing about other text. Take the file out of one of them, or use `validation:\n"
        "{fraction: ...}`, which splits without overlap.",
    ),
    "GROW514": Code(
        "Prepared data that does not fit its manifest",
        "The folder of prepared data lacks its manifest or a file that the manifest lists, or a file\n"
        "has another size: something else wrote there, or a token file changed after it was read.\n"
        "Remove the folder; it is made again.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW515": Code(
        "Prepared data that cannot be written",
        "The tokenized corpus could not be written, most often for want of space: it takes 2 bytes\n"
        "per token, or 4 for a vocabulary above 65536. Nothing half-written is left behind.",
        ExitCode.CANNOT_RUN,
    ),
    # 6xx: plans and runs
    "GROW601": Code(
        "stale plan",
        "A frozen plan holds hashes of the spec, of the source model and of growc's code. One of them "
        "changed since the plan was made, so running it would do something else than what was read and "
        "approved. Make the plan again.",
    ),
    "GROW602": Code(
        "a run without data",
        "A run trains, and measures the loss around every growth, so the spec needs a data section. To grow a "
        "checkpoint folder without any data, use `growc grow`.",
    ),
    "GROW603": Code(
        "a file that is no plan",
        "The file given as a plan cannot be read, is not JSON, or was written by another version of growc. Make the "
        "plan again with `growc plan SPEC --out FILE`; a spec to run has the ending `.growth.yaml`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW604": Code(
        "a plan that cannot be written",
        "The file that --out names cannot be written: its folder does not exist or belongs to someone else, or the "
        "disk is full. Nothing half-written is left behind.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW610": Code(
        "a state that belongs to another plan",
        "A checkpoint in the run folder was made by another spec, source or version of growc, so going on "
        "from it would mix two runs. Choose another run folder, or delete this one.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW611": Code(
        "a run folder that belongs to another run",
        "Every run folder belongs to one spec, one source model and one version of growc's code: that is "
        "what makes resuming safe. Choose another folder, or delete this one to start over.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW612": Code(
        "the ranks died",
        "The processes of the run ended without saying how: a rank was killed, ran out of memory, or hit "
        "a fault whose traceback stands above. Everything committed is safe, and the same command resumes "
        "from the last saved state.",
        ExitCode.INTERRUPTED,
    ),
    "GROW620": Code(
        "ranks that do not fit the layout",
        "parallel.fsdp times nothing else is the number of ranks, and parallel.ep divides it. Set both to "
        "auto to take whatever --nproc or torchrun gives.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW621": Code(
        "experts that do not divide among the ranks",
        "Every expert-parallel rank holds the same number of whole experts, in every stage of the plan. "
        "Choose parallel.ep so that it divides the number of experts before and after each growth.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW622": Code(
        "a family without expert parallelism",
        "Experts of this family see every token, scaled by its gate, so there is nothing to send between "
        "ranks. Leave parallel.ep at 1: its experts are sharded like all other tensors.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW623": Code(
        "a batch that does not divide among the ranks",
        "Every rank takes the same number of sequences of each batch; a mean over unequal shares would "
        "not be the mean of the batch. Make batch_tokens a multiple of sequence_length times the number "
        "of ranks.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW640": Code(
        "No such grow stage",
        "`growc grow --stage` names one stage of the spec that has `grow`. A stage that trains needs\n"
        "data, an optimizer and a device: `growc run` runs it.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW641": Code(
        "Weights that are not those of their config",
        "The tensors in the folder are not the ones that a model of its config.json has: one is\n"
        "missing, unknown, or of another shape. transformers would fill in random values or skip\n"
        "tensors and go on. Write the checkpoint anew with `save_pretrained` from the model that it\n"
        "came from.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW642": Code(
        "A destination that is taken",
        "The grown checkpoint is put together in a folder beside --to and takes its name when it is\n"
        "whole, so --to must not exist, must not lie inside the source, and nobody else may be writing\n"
        "it. An existing checkpoint is never written over: remove it yourself, or choose another place.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW643": Code(
        "Not enough space for the grown checkpoint",
        "The size of every file is known before a byte is written, and the disk has less free than\n"
        "that. Growing writes a second checkpoint and leaves the source as it is.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW644": Code(
        "A checkpoint that cannot be written",
        "The operating system refused to write: no permission, a full disk, or a quota. What was\n"
        "written so far has been removed; the source is untouched.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW645": Code(
        "A folder with another model",
        "The folder given with --from does not hold the model that the stage grows, going by the spec:\n"
        "another model_type, number of layers or experts, routing, or shape of a tensor. Give a\n"
        "checkpoint of the state that the stage starts from, or correct the spec.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW646": Code(
        "A source that cannot be read to its end",
        "The system refused to read a weight file, or the file is shorter than it was when its header\n"
        "was read: something else is writing to it. The grown checkpoint was discarded. Wait until the\n"
        "source is complete and readable, and start again.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW647": Code(
        "A dtype that cannot be grown",
        "The file stores a tensor in a format of 4 or 6 bits, or one that torch does not have. Such\n"
        "weights belong to blocks with scales, and growing would have to quantize again. Convert the\n"
        "checkpoint to bf16 first.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW648": Code(
        "Training state that was not grown",
        "The source is a checkpoint of `growc run` with the state of its optimizer in `training/`.\n"
        "`growc grow` grows weights only, so training on from the result starts with a fresh optimizer.\n"
        "Moments are grown by `growc run`, which follows the operator's program for them.",
    ),
    "GROW649": Code(
        "Tensors that were left out",
        "The source holds tensors that transformers ignores when it loads this family, such as the\n"
        "layers for multi-token prediction of DeepSeek and GLM. They are no part of the model that\n"
        "growc traces, so the grown checkpoint lacks them. Serve it without speculative decoding by\n"
        "them.",
    ),
    "GROW650": Code(
        "No folder to grow",
        "--from names nothing, or a file. It takes a folder with config.json and safetensors files: one\n"
        "from the hub, from `save_pretrained`, or `stages/NAME/checkpoint` of a run.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW630": Code(
        "Not a run folder",
        "`growc report` reads the folder that was given to `growc run` as --run-dir: it holds `plan.json`,\n"
        "`journal.jsonl` and `stages/`. This folder does not exist, or holds no plan. A checkpoint inside a run\n"
        "is not a run: give the folder above `stages/`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW631": Code(
        "A run with nothing to report yet",
        "No stage of this run has a committed checkpoint, so there is no loss to show. A report can be made of\n"
        "a run under way as soon as its first stage is finished; `stages/NAME/metrics.jsonl` can be read before.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW632": Code(
        "A damaged file in a run folder",
        "A file that the run wrote (`plan.json`, `summary.json`, `journal.jsonl`, or a stage's `result.json` or\n"
        "`metrics.jsonl`) cannot be read, or does not hold what it should. Only a last line that a crash cut\n"
        "short is forgiven. Restore the file; or delete the folder of its stage and run the same command again,\n"
        "which runs that stage anew.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW633": Code(
        "A report that cannot be written",
        "The file could not be made: its folder does not exist, is not writable, or the name belongs to a\n"
        "folder. An earlier report of that name is as it was. `--out` writes elsewhere.",
        ExitCode.CANNOT_RUN,
    ),
}
