"""GROW0xx: Files and YAML."""

from __future__ import annotations

from growc.diagnostics.code import Code, ExitCode

CODES: dict[str, Code] = {
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
        "counted from 0; stages may also be named. A key that is a path itself stands in quotes:\n"
        "`--set 'sweep[\"training.seed\"]=[0]'`.",
        ExitCode.CANNOT_RUN,
    ),
    "GROW021": Code(
        "Path of nothing",
        "The path of `--set`, or of a sweep's axis, leads through a list item or a stage that the spec does\n"
        "not have, or into a value that has no keys. A key that is merely absent is added.",
    ),
}
