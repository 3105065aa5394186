"""GROW4xx: Invariants, proved and measured."""

from __future__ import annotations

from growc.diagnostics.code import Code, ExitCode

CODES: dict[str, Code] = {
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
        "twin and its loss within 1e-9; one with free routing must land on the loss that the K_eff law\n"
        "predicts, as closely. Here it does not: the family routes in a way that the operator does not\n"
        "know. Do not grow this model with these settings; `routing: free` may still be honest.",
    ),
    "GROW406": Code(
        "No twin to prove the claim on",
        "To prove what an operator claims, growc makes the model small: same experts, same routing, small\n"
        "widths. This family could not be made small that way. The plan stands; measure the claim with\n"
        "`growc check --measure` before relying on it.",
    ),
    "GROW407": Code(
        "Experts that growc did not find",
        "A mixture of experts is found where the trace of the model meets a module with a stack of experts, behind a\n"
        "router with a row for each. This config counts experts, and the count changes tensors or layers in which\n"
        "no such module was met. growc cannot say how many of these experts a token meets, so it shows the active\n"
        "parameters as unknown and counts FLOPs as if the module were dense; operators on experts do not apply.",
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
    "GROW453": Code(
        "a growth whose loss is not a number",
        "The model that a growth left computes infinities, or numbers that are none.\n"
        "Its operators draw or scale something so large that the precision of the run cannot hold what follows. The\n"
        "run stops before it spends anything on the grown model, which is not kept.",
    ),
}
