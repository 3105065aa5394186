"""GROW2xx: Model sources and tracing."""

from __future__ import annotations

from growc.diagnostics.code import Code, ExitCode

CODES: dict[str, Code] = {
    "GROW214": Code(
        "weights that do not fit their config",
        "The folder's weights lack tensors that its config asks for, or hold others. transformers would fill what is "
        "missing with random numbers and train on; growc does not.",
    ),
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
        "A size in the config is negative, or zero where a model needs at least one, or far above that of any\n"
        "model; or the router is to choose more experts per token than there are. transformers accepts such\n"
        "configs and fails later, so growc checks them first.",
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
    "GROW215": Code(
        "A folder that holds an adapter",
        "Beside the weights lies an `adapter_config.json`: transformers loads such a folder as an adapter on\n"
        "top of a model from elsewhere, which growing would leave out. Merge the adapter into the model\n"
        "(`merge_and_unload` of peft), save that, and grow it.",
    ),
    "GROW216": Code(
        "Sequences longer than the table of positions",
        "The model has a learned embedding for each position (GPT-2, OPT), and `data.sequence_length` is\n"
        "larger than their number. Shorten the sequences, or begin with a model that has more positions.",
    ),
    "GROW218": Code(
        "A model of which a run leaves something out",
        "A run trains and saves a language model. The folder or hub name given holds more: towers for pictures or\n"
        "sound around it, or layers for multi-token prediction behind it. The checkpoints of a run lack them, and\n"
        "their configs promise none. `growc grow` on the folder keeps towers, and prediction layers where growth\n"
        "leaves them valid. After a run, put the language model's tensors back into the whole yourself. Of a hub\n"
        "model, only weights may be in the local cache: fetch the rest for the tokenizer to go along.",
    ),
    "GROW219": Code(
        "Parents with unlike tokenizers",
        "A stage mixes several models (`from: [source, math, code]`), and their folders have tokenizers that mean\n"
        "different tokens by one id. Rows of the embeddings are averaged or shared by id, so the result would mix\n"
        "what has nothing to do with each other, and no tokenizer would be the right one. Compared are the tokens of\n"
        "`tokenizer.json`, `vocab.json`, a sentencepiece model or a tiktoken file, by id, as far as both have them; a\n"
        "folder without any is not compared. Mix models of one tokenizer; `--allow-unlike-tokenizers` is for those\n"
        "who know that the ids that differ do not matter (renamed reserved tokens, for example).",
    ),
    "GROW220": Code(
        "A tokenizer file that cannot be read",
        "Parents of one stage are compared by what their tokenizer files say, and this file is damaged, or of a form\n"
        "that growc does not know. Fetch it again; `--allow-unlike-tokenizers` compares nothing.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW213": Code(
        "A misspelt config key",
        "transformers stores config keys it does not know and goes on with the default of the one that was\n"
        "meant. The key here is unknown to the model type and nearly the name of one it knows. Correct the\n"
        "spelling; keys that resemble none pass.",
    ),
}
