"""GROW3xx: Operators on models that they do not fit."""

from __future__ import annotations

from growc.diagnostics.code import Code

CODES: dict[str, Code] = {
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
}
