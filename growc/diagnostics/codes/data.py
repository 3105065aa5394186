"""GROW5xx: Training data."""

from __future__ import annotations

from growc.diagnostics.code import Code, ExitCode

CODES: dict[str, Code] = {
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
}
