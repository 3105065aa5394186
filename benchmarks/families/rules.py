"""How small each number of a config becomes: rules by what config classes call their fields, for no family apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

VOCABULARY = 256

IDS = re.compile(r"(_id|_ids|token_index|_token|_start|_end)$")
"""Fields that name tokens."""

DEPTH = re.compile(r"^(num_|n_|encoder_|decoder_)*(hidden_)?(layers?|blocks)$|^depth$")
"""Fields that count layers."""

TOP_K = r"experts?_per_tok|moe_?top_?k$|^top_k_experts$|^moe_k$|experts?_top_?k$"

RULES: tuple[tuple[str, int, bool], ...] = (
    (TOP_K, 2, True),
    (r"^topk_group$", 1, False),
    (r"^n_group$", 2, False),
    (r"shared_experts?$|^zero_expert_num$", 1, False),
    (r"experts$", 8, True),
    (r"^first_k_dense|dense_layers$|^moe_layer_start|^num_hash_layers$", 1, True),
    (r"max_window_layers", 2, False),
    (r"^indexer_kv_heads$", 1, False),
    (r"budget$|compress_ratio$|^clip", 4, False),
    (r"vocab|num_embeddings", VOCABULARY, False),
    (r"positions?$|position_embeddings$|^n_ctx$|max_seq_len", 128, False),
    (r"rotary_dim$", 4, False),
    (r"mamba_(n|num)_heads|linear_num_heads", 8, False),
    (r"groups$", 2, False),
    (r"head_(dim|size)$|_head_dim|d_kv$|d_head$|kv_channels|head_dims?$", 8, False),
    (r"(key_value|kv|key)_(attention_)?heads$|heads_kv$|kv_n_heads|num_kv", 2, False),
    (r"heads?$", 4, False),
    (r"rank$", 16, False),
    (r"top_?k|index_block|block_size|_blocks$|local_blocks", 4, False),
    (r"state_size|d_state$|state_dim", 8, False),
    (r"window|chunk|attention_span", 16, False),
    (r"(moe|expert).*(intermediate|ffn|hidden)", 24, False),
    (r"intermediate|ffn|inner|d_ff|feed_forward|mlp_dim|mlp_hidden|^dff$|ff_dim|d_ssm", 48, False),
    (r"patch_size", 8, False),
    (r"image_size", 32, False),
    (r"hidden_size|(in|out)put_size|hidden_dim|d_model|n_embd|embed|width|_dim$|^dim$|dim_model|projection", 32, False),
)
"""Pattern of a field's name, what it becomes, and whether it becomes so where it was smaller; the first that fits."""


@dataclass(frozen=True)
class Choice:
    """What is tried where the class does not take the first of each."""

    kv_heads: int = 2
    head_dim: int | None = 8
    hidden: int = 32
    fills: bool = False
    """Whether what has no default gets one."""
    top_k: int = 2

    def sizes(self, name: str, found: int) -> int | None:
        """What a rule's number becomes here; None: the class's own default."""
        if re.search(TOP_K, name):
            return self.top_k
        if re.search(r"head_(dim|size)$", name) and found == 8:
            return self.head_dim
        if found == 2 and re.search("(key_value|kv)", name):
            return self.kv_heads
        return self.hidden if found == 32 else found


CHOICES = tuple(
    Choice(kv_heads, head_dim, hidden, fills, top_k)
    for hidden in (32, 64, 128)
    for top_k in (2, 1)
    for fills in (False, True)
    for kv_heads in (2, 4)
    for head_dim in (8, None)
)


def smaller(fields: Mapping[str, Any], choice: Choice, depth: int) -> dict[str, Any]:
    """What the whole numbers of a config become, as far as a rule speaks of them and they change."""
    return {name: value for name, value in _ruled(fields, choice, depth) if value != fields[name]}


def _ruled(fields: Mapping[str, Any], choice: Choice, depth: int) -> Iterator[tuple[str, Any]]:
    ids = 3
    for name, value in fields.items():
        if name == "is_decoder":
            yield name, True
        if isinstance(value, list) and IDS.search(name) and any(isinstance(v, int) and v >= VOCABULARY for v in value):
            yield name, [2]
        if isinstance(value, bool) or not isinstance(value, int) or name.startswith("_"):
            continue
        if IDS.search(name):
            if value >= VOCABULARY:
                yield name, ids
                ids += 1
        elif DEPTH.search(name):
            yield name, depth
        elif found := next(((size, exact) for pattern, size, exact in RULES if re.search(pattern, name)), None):
            size = choice.sizes(name, found[0])
            if size is not None and (value > 0 or found[1]):
                yield name, size if found[1] else min(size, value)
