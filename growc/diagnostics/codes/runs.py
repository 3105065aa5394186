"""GROW6xx: Plans, runs, reports and checkpoint folders."""

from __future__ import annotations

from growc.diagnostics.code import Code, ExitCode

CODES: dict[str, Code] = {
    "GROW601": Code(
        "stale plan",
        "A frozen plan holds hashes of the spec, of the source model and of the versions of what growc computes. "
        "One of them changed since the plan was made, so that running it may do something else than what was read "
        "and approved. Make the plan again. A spec file that is gone does not matter: the plan holds its text.",
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
    "GROW605": Code(
        "a kernel that a family's experts do not have",
        "Experts of most families, and those that growc puts into dense models, can be computed by several kernels.\n"
        "Others have only their own code, which is what kernels.experts: auto takes.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW606": Code(
        "a kernel that does not run here",
        "A kernel that the spec asks for is not installed, or needs another device or precision: grouped_gemm and\n"
        "flash attention run in bf16 on GPUs, flex_attention has no backward on a CPU. Set it to auto, or install it.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW607": Code(
        "a kernel that a family's attention does not have",
        "Not every family can compute its attention by every kernel: some add something to the scores that a kernel\n"
        "does not know. Set kernels.attention to auto, or to one that the message names.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW608": Code(
        "layers that cannot be compiled here",
        "kernels.compile writes code that a compiler has to translate: a C++ compiler and Python's headers on a CPU,\n"
        "Triton and a C compiler on a GPU. Install them, or leave kernels.compile at false.",
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
    "GROW613": Code(
        "a run folder in use",
        "Another process holds the lock of this run folder. Two runs in one folder would write over each other's "
        "states. The lock goes with the process that holds it, however it ends.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW614": Code(
        "a run folder that cannot be used",
        "The run folder cannot be made or written: its name belongs to a file, or the permissions forbid it.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW615": Code(
        "data that changed during a run",
        "The text that a run reads is not the text it began with. Stages that are done were trained and validated on "
        "the old one, so going on would compare what cannot be compared, and held-out text could be trained on.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW616": Code(
        "training diverged",
        "The training loss became infinite or not a number, so nothing that follows could mean anything. Lower the "
        "learning rate, lengthen the warmup, or set clip_norm.",
    ),
    "GROW617": Code(
        "a fault in a rank",
        "A process of the run failed in a way that growc did not foresee; its traceback stands above. What is "
        "committed is safe, but the same command will likely fail again.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW618": Code(
        "a damaged record of a run",
        "A line of the journal or of a stage's metrics is no JSON, though it ends like one: something else wrote into "
        "the file. Delete the line; a line that a crash cut short is no problem.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW619": Code(
        "a folder that is no run folder",
        "The folder of --run-dir has folders in it that no run wrote, or a model. A run would put its plan, data and\n"
        "stages among them. Choose a folder that does not exist, or one with logs at most.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW620": Code(
        "ranks that do not fit the layout",
        "parallel.fsdp times parallel.replicate is the number of ranks, and parallel.ep divides parallel.fsdp. Set\n"
        "fsdp and ep to auto to take whatever --nproc or torchrun gives.",
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
    "GROW624": Code(
        "experts that share weights under expert parallelism",
        "Adjugate experts belong to groups of experts, and experts made of deltas share a base: ranks that hold "
        "some of the experts cannot do without the others' part. Leave parallel.ep at 1: all of it is sharded "
        "like all other tensors.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW625": Code(
        "micro-batches that do not divide a rank's share",
        "Every rank computes its share of a batch in micro-batches of the same number of sequences, and adds up their\n"
        "gradients. Make training.micro_batch a divisor of batch_tokens / sequence_length / ranks, or auto.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW626": Code(
        "more shards than experts",
        "Experts are sharded by expert: where a layer has fewer experts than parallel.fsdp, some ranks hold none of\n"
        "them, and those that hold one need the memory for it that all were to share. Raise parallel.replicate, which\n"
        "keeps several copies of the model, each over fewer ranks.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW627": Code(
        "layers that cannot be computed again",
        "Activation checkpointing runs a layer's forward a second time in the backward, and the class of this\n"
        "family does not allow it. Set training.activation_checkpointing to none.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW628": Code(
        "a head whose output is used in an unknown way",
        "Losses are computed from the head's output in chunks, so that logits never exist whole. What a family does\n"
        "with that output (scales, caps, shifts it) is found by trying, and what this family does was not.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW635": Code(
        "moments in bf16 of an optimizer that has none",
        "`precision: {moments: bf16}` says how adamw's two moments and muon's mean of gradients are kept. sgd has no\n"
        "mean: with momentum it keeps a sum of gradients, which in fp32 takes as much memory as both moments of adamw\n"
        "do in bf16. Leave precision.moments at fp32, or train with adamw or muon.",
    ),
    "GROW636": Code(
        "a mean that bf16 cannot follow",
        "With `precision: {moments: bf16}` means of gradients and of their squares are rounded to 8 significant bits\n"
        "after every step. A step moves a mean by 1 - decay of what it is away from the gradient, and a move of less\n"
        "than 2^-8 of the mean may be lost: so the mean stands still up to 2^-8 / (1 - decay) of itself away from\n"
        "where it belongs. That is 8 % at a decay of 0.95 and a fifth at 0.98 (a tenth of an update, if it is the\n"
        "second moment, whose root divides); from 0.996 on a moment that has grown never falls again. Set beta1,\n"
        "beta2 or momentum to at most 0.98, or keep the moments in fp32.",
    ),
    "GROW637": Code(
        "bf16 on a device without it",
        "The GPU has no instructions for bf16 (those before Ampere have none): products would be emulated, at a\n"
        "fraction of the speed of fp32, or fail. Train with `precision: fp32`, and not with muon, which iterates in\n"
        "bf16, or run on another device.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW638": Code(
        "a family that mixes types",
        "With `precision: bf16` weights and activations are bf16. This family multiplies them with a table that stays\n"
        "fp32, which torch refuses. Train it with `precision: fp32`.",
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
        "tensors and go on. Save the model that it came from anew: with `save_pretrained`, or its state\n"
        "dict with `torch.distributed.checkpoint.save`, whose names may all have one prefix in front.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW642": Code(
        "A destination that is taken",
        "The new checkpoint is put together in a folder beside --to and takes its name when it is\n"
        "whole, so --to must not exist, must not lie inside the source, and nobody else may be writing\n"
        "it. An existing checkpoint is never written over: remove it yourself, or choose another place.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW643": Code(
        "Not enough space for the new checkpoint",
        "The size of every file is known before a byte is written, and the disk has less free than\n"
        "that. Growing and unpacking write a second checkpoint and leave the source as it is.",
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
        "was read: something else is writing to it. The new checkpoint was discarded. Wait until the\n"
        "source is complete and readable, and start again.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW647": Code(
        "A dtype that cannot be grown",
        "The file stores a tensor in a format of 4 or 6 bits, one that torch does not have, or as whole\n"
        "numbers where the model has fractions. Such weights belong to blocks with scales, and growing\n"
        "would have to quantize again. Convert the checkpoint to bf16 first.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW648": Code(
        "Files that were left behind",
        "Everything beside the weights goes along with a grown checkpoint byte for byte: tokenizers, processors,\n"
        "code, licences, templates, in subfolders too. What holds the old model does not: weights in other\n"
        "formats (pickles, GGUF, ONNX, `original/`, `consolidated.*` with their `params.json`) and the state of a\n"
        "trainer. A reader that prefers such a format would load the model before growth. Convert the grown\n"
        "checkpoint where you need one.",
    ),
    "GROW649": Code(
        "Tensors that were left out",
        "The source holds tensors that transformers ignores when it loads this family, such as buffers that\n"
        "follow from the config, or parts beside the language model that `--text-only` leaves behind. They are\n"
        "no part of the model that growc traces, so the grown checkpoint lacks them; `growth.json` and the model\n"
        "card say so, too.",
    ),
    "GROW667": Code(
        "Parts that cannot stay around the grown language model",
        "The folder holds a whole model (of pictures or sound and text), of which the language model is a part. Its\n"
        "towers go along byte for byte where transformers' class for the whole takes the grown language model: one\n"
        "of the same type, with other sizes. Exclusive routing, experts in a model that had none, layers that differ\n"
        "in size, and distributed checkpoints of a state dict make another type of it. Grow it in another way\n"
        "(`routing: free` in every layer), or take the language model alone with `--text-only`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW668": Code(
        "Prediction layers that were left behind",
        "Layers for multi-token prediction (DeepSeek-V3, GLM-4.5, Qwen3.5) lie beside the model's own. Readers build\n"
        "them from the same fields of the config, the number of experts among them, so they fit no longer once one of\n"
        "these has changed. They stay byte for byte where none has. Where they are left behind, the config says that\n"
        "there are none (`num_nextn_predict_layers: 0`, or the key that it has), and so do `growth.json` and the\n"
        "model card: serve the model without speculative decoding by them, or train new ones.",
    ),
    "GROW650": Code(
        "No checkpoint folder",
        "The path names nothing, or a file. `growc grow --from` and `growc pack` take a folder with config.json\n"
        "and safetensors files: one from the hub, from `save_pretrained`, or `stages/NAME/checkpoint` of a run;\n"
        "`growc grow` also one with config.json and a torch distributed checkpoint (`.metadata` and `*.distcp`)\n"
        "of the model's state dict; and `growc unpack` what `growc pack` wrote.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW651": Code(
        "A stage at several points of a sweep",
        "With a sweep, `growc grow --stage` needs the name that the stage has in `growc plan`, such as\n"
        "`seed=1,from=b.stable/upcycle`; the stage's own name is enough where all points share it. One arm can\n"
        "also be chosen by leaving the sweep out: `--set 'sweep={}'`, with the arm's values by further `--set`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW652": Code(
        "A growth that cannot be gone on with",
        "A stopped `growc grow` leaves a folder beside --to, with `.partial` at the end of its name, from\n"
        "which the same command goes on. Its plan or one of its weight files is damaged or missing, so\n"
        "something else has written there. Remove that folder; the next call starts anew.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW653": Code(
        "A growth stopped by the system",
        "The operating system refused to read or write while bytes were moved: a full disk, a quota, a\n"
        "fault of the disk, no permission. What is done is kept in a folder beside --to, with `.partial`\n"
        "at the end of its name; the same command goes on from there. The source is untouched.",
        ExitCode.INTERRUPTED,
    ),
    "GROW654": Code(
        "A source that changed",
        "A weight file of the source was written to, replaced or removed between the call that planned the\n"
        "growth and the end of the growth, so the new checkpoint would mix two models. Let nothing write\n"
        "to the source, remove the folder named, and run the command again.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW655": Code(
        "A tensor that was not written as planned",
        "`--verify` read what was written, and a tensor is not the function of the source's bytes that it\n"
        "was planned to be. The new checkpoint was not given its name. Nothing but a fault of memory or\n"
        "disk, another process that writes into the folder, or a fault in growc does this.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW656": Code(
        "No manifest to verify by",
        "`growc verify` compares a checkpoint with its `growc.manifest.json`, which `growc grow --verify`\n"
        "writes. This folder has none, or it is no longer what growc wrote.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW657": Code(
        "A checkpoint that differs from its manifest",
        "A weight file was altered, added, removed or damaged since the checkpoint was grown. Fetch the\n"
        "file again from where the copy came from, or grow the checkpoint again: equal calls give equal\n"
        "bytes.",
    ),
    "GROW659": Code(
        "The process that reads the model died",
        "`growc grow` traces the model in a process of its own, which ended without a word: killed for memory,\n"
        "or by a fault of growc, whose traceback stands above. Nothing was left behind.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW660": Code(
        "A file beside the weights that cannot go along",
        "The tokenizer, the generation defaults, the model card, the lineage (`growth.json`), and whatever else\n"
        "lies beside the weights belong to a checkpoint. In this folder one of them is no regular file: a folder,\n"
        "a pipe, a device, or a link to nothing, as a half-fetched cache has; or a folder that is a link back to\n"
        "one above it. Without it the new checkpoint would be incomplete. Fetch it, or remove it. `growc pack`\n"
        "takes every file along, and their names must be Unicode.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW662": Code(
        "Several folders to grow from",
        "`growc grow` streams the tensors of one checkpoint into a grown one. An operator that mixes several\n"
        "models reads as many checkpoints: put their folders under `sources`, list them in `from`, and let\n"
        "`growc run` do the stage; its checkpoint is a folder like any other.",
    ),
    "GROW661": Code(
        "A training state that cannot be grown",
        "`training/` in the source is damaged, asks to run code (its index is a pickle, of which growc reads\n"
        "only what torch writes), or is the state of another model. Fetch the checkpoint again; without the\n"
        "folder, the weights grow alone, and training on from them starts with a fresh optimizer.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW663": Code(
        "A distributed checkpoint that cannot be grown",
        "A torch distributed checkpoint consists of `.metadata`, which says where every piece of every\n"
        "tensor lies, and of `*.distcp` files with the pieces. A file is missing, cut short or damaged, the\n"
        "pieces do not make up their tensors, or the index, a pickle, asks for something that no index needs\n"
        "(it is never run). Fetch the checkpoint again, or save it anew with all its ranks.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW664": Code(
        "A layout that the model cannot be stored in",
        "`--layout` asks for names and shapes on disk that transformers would not turn back into this model's\n"
        "tensors: it knows no way there for this family, or one that does not lead back. Leave the option out\n"
        "to keep the source's layout, or ask for another one.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW665": Code(
        "A tensor that is not what the operator means",
        "`--verify` reads the source and the grown folder again and holds every tensor against a second account of\n"
        "the operator, which was written from its description and shares nothing with the programs that grew the\n"
        "folder. Rows that are moved must be the same bits; computed and drawn ones the same numbers, up to half of\n"
        "the last place of the stored dtype and 2^-20 of the largest number that goes in. The message names the\n"
        "tensor, the row and what it should hold. The two accounts differ, so one of them is wrong: a fault of growc,\n"
        "unless something wrote into the folder. The new checkpoint was not given its name. Please report the spec\n"
        "and the config of the source.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW666": Code(
        "An operator without a second account",
        "`--verify` holds a grown folder against a second account of its operators. This operator has none, so the\n"
        "folder was proved to be what the tensor programs say, and nothing says that these are right.",
    ),
    "GROW670": Code(
        "A lineage that tells no siblings",
        "`growc pack` takes from `growth.json` which experts are copies of one, to store those that have been\n"
        "trained since as deltas. Here it is damaged, or names what this version does not know. Equal tensors are\n"
        "found without it, and everything comes back all the same; what differs just takes its full size.",
    ),
    "GROW671": Code(
        "A folder that is packed already, or not packed",
        "`growc pack` takes a checkpoint folder and writes a packed one, `growc unpack` the other way round. A\n"
        "packed folder is known by its index, `growc.packed.jsonl`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW672": Code(
        "A packed checkpoint that is damaged",
        "A file of the packed folder is missing, cut short or altered, its index and its files do not fit each\n"
        "other, or what was unpacked does not have the digest that it had when it was packed. The checkpoint was\n"
        "not given its name. Fetch the packed folder again, or pack the checkpoint again if it is still there.",
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
    "GROW634": Code(
        "A torch that is too old",
        "The torch that is installed lacks what growc and transformers use of it. Install a version in the range that\n"
        "the message names; pip does so by itself unless it is told to leave dependencies alone.",
        ExitCode.CANNOT_RUN,
    ),
}
