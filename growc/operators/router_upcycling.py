"""Router Upcycling: dense to mixtures of experts, and of routers that start as heads of the attention before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from growc.anatomy.grown_format import DOMAIN_ROUTER, MIXTURE_OF_ROUTERS, inside_layer, modules_of, with_modules
from growc.anatomy.matches import Kept, Match, NewRouter, OfMixture, RouterRows
from growc.anatomy.model_graph import ModelGraph
from growc.anatomy.replicas import Replicas
from growc.anatomy.sites import AttentionSite, FfnSite, Heads, MoeRequest, MoeSite, ResolvedMoe
from growc.operators.claims import Moments, Paper, Preserves, Problem
from growc.operators.dense_to_moe import FromDense
from growc.operators.example import Example
from growc.operators.facets import Drops, Measures, Remarks
from growc.operators.means import MeanTokens, mean_token
from growc.operators.measures import Measure
from growc.programs import Deferred, Expr, Init, Made, Source

SETTLED = ("experts", "top_k", "gates")
"""Settings that a model with mixtures has settled."""


class RouterUpcycling(FromDense, Measures, Drops, Remarks):
    """Every mixture gets R = heads / 2 routers, made of the heads of the attention just before it.

    Heads are paired greedily: the first that is left, with the one left whose query matrix is most like its own (by
    cosine). Router r has the query matrices of its pair, one above the other: the query q_r(x) of a token x is as wide
    as two heads. It scores expert e by s_re = <q_r(x), k_e> / sqrt(width), and all routers together route by

    - `mean_softmax`: the mean over r of softmax_e(s_re);
    - `per_router_keys`: the softmax of sum_r <q_r(x), k_re> / sqrt(width), where an expert has a key for each router;
    - `sum_logits`: the softmax of sum_r s_re.

    Keys k_e come from the key heads of pair e: `static` ones are parameters, and start as what these heads make of a
    random token, another one for every key; with `token` they are made of the token that is routed,
    k_e(x) = [W_K of pair e] x. `calibrated` keys are static too, and start as the mean of those over `batches` of
    calibration text: keys are linear, so this is [W_K of pair e] times the mean of what enters the router (the network
    whose place it takes), measured in a run. Beyond R experts pairs come again; there `noise` on W_K tells the keys of
    `token` and `calibrated` apart. With `per_router_keys` an expert's calibrated keys are all the same at first, so
    that the start is that of sum_logits; their gradients differ as queries do.

    Of the three ways `mean_softmax` alone is not linear in the token while keys are static, and so not one linear
    router in disguise: sum_logits is <sum_r q_r, k_e>, and per_router_keys is the linear router with the matrix
    sum_r k_re^T W_r / sqrt(width), another parametrisation and another start of the same functions. With keys made of
    tokens scores are quadratic.

    Experts are copies: with gates that sum to 1 the function stays what it was, whatever the router. A model that has
    mixtures already keeps its experts, and gets these routers in the place of its own.

    From the paper's abstract and summaries of it: routers from heads of the preceding attention, in greedy pairs by
    cosine similarity; experts' keys; scores summed over routers; top-2; copied experts; auxiliary and z-loss. All else
    is reconstructed (its text was not at hand): which attention, which tensors the keys come from, where the softmax
    is, and how keys start, calibrated ones included. Biases of projections, norms of queries and keys, and rotations by
    position are left out.
    """

    op: ClassVar = "router_upcycling"
    paper: ClassVar = Paper("2509.00679", "Router Upcycling", 2025)

    combine: Literal["mean_softmax", "per_router_keys", "sum_logits"] = Field(
        default="mean_softmax",
        description="how routers decide together: by the mean of their softmaxes, or by the sum of their scores, with "
        "keys of their own or with the same ones (which one linear router could do as well)",
    )
    keys: Literal["static", "calibrated", "token"] = Field(
        default="static",
        description="static: an expert's key is a parameter; calibrated: one that starts as the mean key over "
        "calibration text; token: it is made of the token, by the expert's key heads",
    )
    noise: float = Field(
        default=0.1,
        ge=0,
        le=100,
        description="keys made of tokens, and calibrated ones: what tells experts with the same key heads apart, in "
        "units of the standard deviation of the key projection",
    )
    batches: int = Field(default=8, ge=1, le=10_000, description="calibration batches, for calibrated keys")

    @property
    @override
    def measure(self) -> Measure | None:
        return MeanTokens(self.batches) if self.keys == "calibrated" else None

    @override
    def problems(self, model: ModelGraph) -> Iterator[Problem]:
        if not model.moe:
            yield from super().problems(model)
            return
        for setting in SETTLED:
            if setting in self.model_fields_set:
                message = f"{model.model_type} has mixtures of experts, and this operator replaces their routers only"
                yield Problem("GROW372", message, f"leave {setting} out", (setting,))
        missing = [] if isinstance(self.layers, str) else [n for n in self.layers if n not in _layers(model.moe)]
        if missing or not self.sites(model):
            known = f"layers with experts: {', '.join(map(str, _layers(model.moe)))}"
            yield Problem("GROW302", f"layer {[*missing, '1 of 1'][0]} has no experts", known, ("layers",))
            return
        if not isinstance(self.layers, str) and len(set(self.layers)) < len(self.layers):
            yield Problem("GROW302", "a layer is given twice", "give it once", ("layers",))
            return
        for site in model.moe:
            path = inside_layer(site.router, site.layer)
            kind = modules_of(model.config, site.layer).get(path, {}).get("kind")
            if kind == DOMAIN_ROUTER:
                message = f"the router of layer {site.layer} finds experts by the domains of their data"
                yield Problem("GROW375", message, "`nexus_extension` gives it one more")
                return
            if kind == MIXTURE_OF_ROUTERS and site in self.sites(model):
                message = f"layer {site.layer} has a mixture of routers already"
                yield Problem("GROW375", message, "leave the layer out of `layers`", ("layers",))
                return
        yield from self.own_problems(model)

    @override
    def own_problems(self, model: ModelGraph) -> Iterator[Problem]:
        if self.combine == "per_router_keys" and self.keys == "token":
            yield Problem("GROW373", "keys made of tokens, for every router", "write keys: static", ("keys",))
        if self.keys != "calibrated" and "batches" in self.model_fields_set:
            message = f"batches of calibration text say nothing of {self.keys} keys"
            yield Problem("GROW374", message, "write keys: calibrated, or leave batches out", ("batches",))
        if self.keys == "static" and "noise" in self.model_fields_set:
            message = "noise tells keys apart that are made of key heads, and static ones start at random"
            yield Problem("GROW374", message, "write keys: calibrated, or leave noise out", ("noise",))
        for site in self.sites(model):
            if not _plain(_attention(model, site.layer)):
                yield Problem(
                    "GROW370",
                    f"layer {site.layer} has no attention whose projections of queries and keys are told apart",
                    "leave the layer out" if model.moe else "`sparse_upcycling` draws its routers",
                )
                return

    @override
    def sites(self, model: ModelGraph) -> tuple[MoeSite | FfnSite, ...]:
        if not model.moe:
            return super().sites(model)
        match self.layers:
            case "all":
                return model.moe
            case "alternate":
                return model.moe[1::2]
            case list():
                return tuple(site for site in model.moe if site.layer in self.layers)

    @override
    def wants(self, model: ModelGraph) -> MoeRequest | None:
        return None if model.moe else super().wants(model)

    @override
    def preserves(self, model: ModelGraph) -> Preserves:
        return Preserves.NOT if model.moe else super().preserves(model)

    @override
    def allocate(self, site: MoeSite | FfnSite, scores: tuple[float, ...] | None = None, seed: str = "") -> Replicas:
        return (1,) * site.num_experts if isinstance(site, MoeSite) else super().allocate(site)

    @override
    def config(
        self, model: ModelGraph, replicas: Mapping[int, Replicas], moe: ResolvedMoe | None = None
    ) -> dict[str, Any]:
        routers = moe.routers if moe else {site.layer: site.router for site in model.moe}
        keys = "token" if self.keys == "token" else "static"
        change = {"kind": MIXTURE_OF_ROUTERS, "keys": keys, "combine": self.combine}
        return with_modules(
            moe.config if moe else model.config,
            {site.layer: {inside_layer(routers[site.layer], site.layer): change} for site in self.sites(model)},
        )

    @override
    def siblings(self, before: Mapping[int, Replicas], replicas: Mapping[int, Replicas]) -> dict[int, Replicas]:
        """Experts that stay are who they were."""
        return super().siblings(before, {layer: made for layer, made in replicas.items() if len(made) == 1})

    @override
    def drops(self, model: ModelGraph) -> frozenset[str]:
        return frozenset(f"{site.router}.weight" for site in self.sites(model) if isinstance(site, MoeSite))

    @override
    def weight(self, tensor: Match) -> Expr:
        match tensor:
            case RouterRows() | NewRouter() if _is_made(tensor):
                return self.routed(tensor)
            case Kept() | OfMixture():
                return Source(tensor.name)
            case _:
                return super().weight(tensor)

    @override
    def routed(self, tensor: RouterRows | NewRouter) -> Expr:
        if not _is_made(tensor):
            return Init(tensor.shape, "zeros", 0.0, tensor.name)
        mixture, (attention,) = tensor.site, tensor.attention
        query, key = attention.query_heads, attention.key_heads
        assert query is not None
        assert key is not None
        inputs = tuple(Source(f"{name}.weight") for name in (*attention.query, *attention.key))
        how: dict[str, float] = {"width": attention.qk_width, **_placed("query", query, attention.heads)}
        if tensor.name.endswith(".queries"):
            return Made("router_queries", inputs[:1], (query.rows,), tensor.shape, (*how.items(),))
        how |= {**_placed("key", key, attention.kv_heads), "experts": mixture.num_experts}
        noise, per_router = {"noise": self.noise}, {"per_router": int(self.combine == "per_router_keys")}
        vectors: tuple[Deferred, ...] = ()
        match self.keys:
            case "static":
                function, how = "router_keys", how | per_router
            case "calibrated":
                function, how = "router_mean_keys", how | noise | per_router
                vectors = (Deferred(mean_token(mixture.layer), attention.inputs),)
            case "token":
                function, how = "router_key_projections", how | noise
        return Made(function, inputs, (query.rows, key.rows), tensor.shape, (*how.items(),), tensor.name, vectors)

    @override
    def gradient(self, tensor: Match) -> Expr:
        match tensor:
            case RouterRows() | NewRouter() if _is_made(tensor):
                return Init(tensor.shape, "zeros", 0.0, tensor.name)
            case Kept() | OfMixture():
                return Source(tensor.name)
            case _:
                return super().gradient(tensor)

    @override
    def moments(self, tensor: Match) -> Moments:
        match tensor:
            case RouterRows() | NewRouter() if _is_made(tensor):
                return Moments(None, None, keep_step=False)
            case OfMixture() if self.optimizer_state != "reset":
                return Moments(Source(tensor.name), Source(tensor.name), keep_step=True)
            case _:
                return super().moments(tensor)

    @override
    def remarks(self, model: ModelGraph) -> Iterator[Problem]:
        if self.combine == "sum_logits" and self.keys != "token":
            yield Problem(
                "GROW371",
                "routers whose scores are summed over the same keys are one linear router: "
                "sum_r <q_r, k_e> = <sum_r q_r, k_e>",
                "write combine: mean_softmax",
                ("combine",),
            )


def _is_made(tensor: RouterRows | NewRouter) -> bool:
    """Whether it is one of the tensors of a mixture of routers."""
    router = tensor.site.router
    return tensor.name in (f"{router}.weight", f"{router}.queries")


def _layers(moe: tuple[MoeSite, ...]) -> list[int]:
    return [site.layer for site in moe]


def _attention(model: ModelGraph, layer: int) -> AttentionSite | None:
    found = [site for site in model.attention if site.layer == layer]
    return found[0] if len(found) == 1 else None


def _plain(attention: AttentionSite | None) -> bool:
    """Whether the heads of queries and keys are known."""
    return attention is not None and attention.query_heads is not None and attention.key_heads is not None


def _placed(which: str, heads: Heads, count: int) -> dict[str, int]:
    """Where heads lie, as parameters of `growc.numerics.router_init`."""
    place = {"heads": count, "start": heads.start, "stride": heads.stride, "transposed": int(heads.transposed)}
    return {f"{which}_{name}": number for name, number in place.items()}


EXAMPLES = {
    "mean": Example({"experts": 4}, Preserves.EXACTLY, source="dense"),
    "apart": Example(
        {"experts": 8, "combine": "per_router_keys", "optimizer_state": "reset_new"}, Preserves.EXACTLY, source="dense"
    ),
    "sum": Example(
        {"experts": 4, "combine": "sum_logits", "layers": "alternate", "optimizer_state": "gradient"},
        Preserves.EXACTLY,
        source="dense",
    ),
    "token": Example({"experts": 4, "keys": "token"}, Preserves.EXACTLY, source="dense"),
    "token-sum": Example(
        {"experts": 4, "keys": "token", "combine": "sum_logits", "gates": "softmax"}, Preserves.NEARLY, source="dense"
    ),
    "calibrated": Example({"experts": 4, "keys": "calibrated"}, Preserves.EXACTLY, source="dense"),
    "calibrated-sum": Example(
        {"experts": 4, "keys": "calibrated", "combine": "sum_logits"}, Preserves.EXACTLY, source="dense"
    ),
    "calibrated-apart": Example(
        {"experts": 4, "keys": "calibrated", "combine": "per_router_keys"}, Preserves.EXACTLY, source="dense"
    ),
    "in a mixture": Example({}, Preserves.NOT),
}
