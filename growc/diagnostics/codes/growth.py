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
        "layers dense; the message lists the layers with experts. `layers: all` takes just those. Or a layer\n"
        "is named twice: it can only grow once in one operator.",
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
        "A measurement that needs the model to be run",
        "`growc grow` reads and writes weights and never runs the model. The scores gradient_squared,\n"
        "saliency, curvature and sensitivity are measured by running it forward and backward on data, and\n"
        "what layers compute without some experts (`by: reconstruction`), and means over calibration text\n"
        "(`keys: calibrated`), by running it forward. Run the stage within `growc run`, or choose\n"
        "`score: weight_norm`, or static keys, which follow from the weights alone.",
    ),
    "GROW313": Code(
        "A baseline that no operator has",
        "Some baselines are the same growth with one thing changed, and only some operators can change it:\n"
        "random_allocation gives the copies to random experts in the place of the best ones (an allocation\n"
        "by score), or keeps random experts or units; scaled_top_k scales the top-K with the number of\n"
        "experts, and random_experts starts the copies afresh. No operator on the way to the last stage has\n"
        "this control.",
    ),
    "GROW314": Code(
        "Two arms of a sweep that are one",
        "Two points of the sweep lead through the very same stages: what differs between them changes\n"
        "nothing that is trained or grown. Counted as two arms they would make errors look smaller than\n"
        "they are. How often a stage validates or saves, and what an invariant allows, makes no arm.",
    ),
    "GROW320": Code(
        "Moments to interpolate without interpolated weights",
        "`optimizer_state: interpolate` makes the moments of a copy from those of the two experts that\n"
        "`experts: {init: interpolate}` makes its weights from, in the same proportion. With any other\n"
        "initialisation there is no second expert. Choose another `optimizer_state`.",
    ),
    "GROW321": Code(
        "A top-K that cannot be scaled with this growth",
        "`top_k: scale` multiplies the number of experts per token by `factor`: a token that had an expert\n"
        "gets all of its copies, whose gates add up. That takes `routing: free`, and the same number of\n"
        "copies for every expert, which is `allocation: {rule: uniform}`.",
    ),
    "GROW322": Code(
        "A family whose top-K cannot be scaled",
        "growc runs the router on made-up logits to find the config key that sets the top-K, and what has\n"
        "to be scaled for the layer to compute the same when it chooses more. In this family no key sets\n"
        "the top-K (phimoe always chooses two), or the router is more than a linear map and a rule. Leave\n"
        "`top_k` at `fixed`.",
    ),
    "GROW323": Code(
        "Siblings that are not known, or told twice",
        "`merge_duplicates` needs to know which experts are copies of one. A model that was grown with\n"
        "`routing: exclusive` says so in its config; for one that routes freely give `factor` (every expert\n"
        "has as many copies) or `replicas` (the number of copies of each), and for only one of them.",
    ),
    "GROW324": Code(
        "Groups of siblings that do not fit the layer",
        "The sizes of the groups that `merge_duplicates` merges must sum to the number of experts of every\n"
        "merged layer, and where experts are routed in groups (`n_group`) siblings must stay within one of\n"
        "these, with as many left in each. Use `layers` where layers differ.",
    ),
    "GROW325": Code(
        "A top-K that does not fit the merged layer",
        "After merging, every token would get more experts than there are, or factor does not divide the\n"
        "top-K that `top_k: scale` is to divide. A growth with `top_k: scale` is undone by the same setting\n"
        "and the same factor; any other growth leaves the top-K as it was.",
    ),
    "GROW330": Code(
        "Noise in units of nothing",
        "Noise with `unit: std` is drawn in units of the standard deviation of the tensor that it is put on,\n"
        "and this tensor is constant: a selection bias that no training has moved yet, for example. The noise\n"
        "would be zero without a word. Use `unit: absolute`, or grow from a state that has been trained.",
    ),
    "GROW331": Code(
        "A score over tensors that could not be told apart",
        "`allocation: {over: ...}` scores experts by the tensors that lead into their intermediate units (fc1),\n"
        "by those that lead back (fc2), or by both apart. growc finds them by running one expert of a small\n"
        "model, and this family's experts could not be run or understood so. Use `over: all`.",
    ),
    "GROW332": Code(
        "Units of experts that could not be found",
        "Some initialisations work on the intermediate units of an expert, or on its gate, up and down matrices\n"
        "one by one. growc finds them by running one expert of a small model, and this family's experts could\n"
        "not be run or understood so. The message lists the initialisations that need none of it.",
    ),
    "GROW333": Code(
        "No other expert to mix with",
        "Initialisations that mix make a copy of two experts: its own and the next one. A layer with one expert\n"
        "has no next one, and every copy would be a plain copy without a word. Choose another initialisation.",
    ),
    "GROW334": Code(
        "A matrix without a singular value decomposition",
        "The svd_perturb and svd_mix initialisations decompose every matrix of the experts that they copy, and\n"
        "this failed. The usual reason is a weight that is NaN or infinite: the source's training diverged, or\n"
        "its file is damaged.",
    ),
    "GROW340": Code(
        "no siblings to release",
        "`release_siblings` lets copies compete freely that a router keeps apart, and this model's routers keep none\n"
        "apart. Only models grown with `routing: exclusive` have such routers.",
    ),
    "GROW341": Code(
        "a release within a release",
        "An annealed release (`over` above 0) has begun in an earlier stage. Train on, then finish it by\n"
        "`release_siblings` without `over`; nothing changes at that moment.",
    ),
    "GROW342": Code(
        "growth within a release",
        "The source's siblings are being released: its routers are neither exclusive nor free. Finish the release\n"
        "first, by `- op: release_siblings` in a stage before, or as the operator before this one.",
    ),
    "GROW343": Code(
        "A tensor that grows with the experts in an unknown way",
        "growc changes the number of experts in the config and looks which tensors change their size. One of them\n"
        "changes along another dimension than the first, or by another factor, or is a matrix that is neither the\n"
        "router's nor the experts'. Its entries would stand for other experts after growth, so growth is refused.",
    ),
    "GROW344": Code(
        "A selection bias that exclusive routing cannot reach",
        "Exclusive routing keeps losing siblings out of the choice of experts: their logits become minus infinity.\n"
        "This family adds its selection bias to the scores outside of the module that holds the router's rule,\n"
        "where a losing sibling with a large bias would be chosen all the same. `routing: free` grows the model as\n"
        "published.",
    ),
    "GROW350": Code(
        "no dense feed-forward network",
        "Operators that make experts of dense feed-forward networks need layers that have one: linear maps into\n"
        "intermediate units, an activation, and a linear map back, found by tracing. Layers with experts have none\n"
        "that could become a mixture.",
    ),
    "GROW351": Code(
        "a layer that cannot become a mixture",
        "`layers` names a layer without a dense feed-forward network, or one twice, or every second one of a single\n"
        "layer. The message lists the dense layers; they are counted from 0.",
    ),
    "GROW352": Code(
        "more experts for a token than there are",
        "`top_k` is larger than the number of experts that the operator makes.",
    ),
    "GROW353": Code(
        "dense networks of different widths",
        "All mixtures that one operator makes have experts of one size, and the chosen layers have feed-forward\n"
        "networks of different widths. Name layers of one width, and others in an operator of their own.",
    ),
    "GROW354": Code(
        "no class that can hold the experts",
        "growc looks for a class of transformers that has the dense model's other tensors and, with copies of the\n"
        "network for experts, computes its logits. Where there is none, a module of growc's takes stacks of linear\n"
        "maps (gated or not, with biases or not) around one activation. This model's network is built of other parts.",
    ),
    "GROW355": Code(
        "virtual groups that do not come out even",
        "Virtual-group upcycling splits the intermediate units of a dense network into `granularity` shards and lets\n"
        "top-K pick whole groups of them: the width, the number of experts and top_k must be multiples of it.",
    ),
    "GROW360": Code(
        "experts that do not divide into groups",
        "Every `group_size` neighbouring experts share one adjugate expert, so the number of experts must be a\n"
        "multiple of it. Where the router chooses among groups of its own, these are other groups.",
    ),
    "GROW361": Code(
        "adjugates that weigh more than experts",
        "What adjugate experts add is multiplied by `scale`, which the paper bounds by groups / experts, that is\n"
        "1 / group_size: with all gates alike, an adjugate then weighs no more than one of its experts. The published\n"
        "model has 0.05 for groups of 2.",
    ),
    "GROW362": Code(
        "a router that gives no token its experts",
        "Adjugate experts are computed for the groups that a token's experts belong to, and experts of this family\n"
        "see every token, scaled by its gate. Choose a family that routes by top-K.",
    ),
    "GROW363": Code(
        "experts that share weights already",
        "The model's experts share adjugates or the base of their deltas, so they can be neither copied, merged, nor\n"
        "given (further) adjugates one by one: which of them would share what is not defined. Grow the number of\n"
        "experts first, and give them adjugates then.",
    ),
    "GROW364": Code(
        "moments for what is new",
        "Deltas have no counterpart in the dense network whose gradient they could start with. `reset_new` keeps the\n"
        "optimizer state of all but them and the routers, and `reset` keeps none.",
    ),
    "GROW370": Code(
        "attention without heads that could route",
        "`router_upcycling` makes queries and keys of the attention before each mixture. It needs one linear map\n"
        "whose outputs are the queries of all heads, and one for their keys, fused or not, of the same input.\n"
        "Multi-head latent attention has maps of low rank, and so no such heads; and where a layer has several\n"
        "attentions as experts, none of them is the one before the mixture.",
    ),
    "GROW371": Code(
        "a mixture of routers that is one linear router",
        "With `combine: sum_logits` and keys that are parameters (`static` or `calibrated`) every expert has one key\n"
        "k_e, which meets the queries q_r of all routers: sum_r <q_r, k_e> = <sum_r q_r, k_e>. Queries are linear in\n"
        "the token, so their sum is one query, and the mixture computes what one linear router does, by more\n"
        "parameters. `combine: mean_softmax` is not linear in the token; nor are scores with `keys: token`.",
    ),
    "GROW372": Code(
        "settings of mixtures that are there already",
        "In a model with mixtures `router_upcycling` replaces their routers and keeps their experts, so the number of\n"
        "experts, the top-K, and the kind of gates are the model's. Leave these settings out.",
    ),
    "GROW373": Code(
        "keys that are made of tokens, for every router",
        "`combine: per_router_keys` gives every expert a key for each router. With `keys: token` each would be a\n"
        "matrix as large as a query projection, routers times experts of them. Use `keys: static` or\n"
        "`calibrated`, or another `combine`.",
    ),
    "GROW374": Code(
        "a setting that these keys have no use for",
        "`batches` are of the calibration text of `keys: calibrated`. `noise` is for keys that are made of the\n"
        "attention's key heads, which experts share: `calibrated` ones and those made of every `token`; `static` ones\n"
        "start at random. A setting that changed nothing would be taken for one that did, so it is refused.",
    ),
    "GROW375": Code(
        "a router that cannot be replaced",
        "`router_upcycling` takes the place of routers that have a row for every expert. Those that `nexus` makes\n"
        "have an embedding of a domain for each, and a projection that all share; and those that it made itself\n"
        "have been replaced already.",
    ),
    "GROW380": Code(
        "A number of experts that cannot stay",
        "`expert_pruning` needs `keep` or `drop`, one of them, unless the experts are written out. At least as many\n"
        "must stay as every token gets. Where the router first chooses among groups of experts (`n_group`), it\n"
        "compares them by the best two of each, so two of every group must stay at least, and enough for the top-K\n"
        "in the groups that a token gets.",
    ),
    "GROW381": Code(
        "An expert that is not there, or named twice",
        "`choose: {by: explicit}` names the experts that stay, counted from 0, each once. The same experts stay in\n"
        "every layer; use several `expert_pruning` operators with `layers` where layers differ.",
    ),
    "GROW382": Code(
        "Pruning of a model that routes among siblings",
        "The model was grown with `routing: exclusive`: each group of copies sends one winner into the top-K. Release\n"
        "the siblings or merge them first, and prune what is then an ordinary mixture of experts.",
    ),
    "GROW383": Code(
        "Skipping in a model that is not top-2",
        "Dynamic skipping leaves out the second of a token's two experts where its gate is small beside the first\n"
        "one's (arXiv 2402.14800). It is defined for models that give every token two experts.",
    ),
    "GROW384": Code(
        "Experts whose width cannot be changed alone",
        "`expert_slimming` writes fewer intermediate units into the config key that sets them, and makes gate, up and\n"
        "down of every expert smaller to match. It needs to know where these units lie, which growc finds by running\n"
        "one expert of a small model, and one config key that sets their number. The message says what is missing.",
    ),
    "GROW390": Code(
        "Models that cannot be mixed",
        "An operator that mixes makes every tensor of one model from the tensors of that name in several. They\n"
        "must be of one family, with the same tensors in the same shapes, and their configs must agree in what\n"
        "the model computes from its weights (activation, rotary base, norms). The grown model has one config, so\n"
        "where a difference is meant and small, write the same value into the config.json of all of them.",
    ),
    "GROW391": Code(
        "Settings that do not fit the states that are mixed",
        "A setting of an operator that mixes has an entry for each state that `from` lists, in their order, and\n"
        "the numbers differ; or what it asks for cannot be made of these states. The message says which.",
    ),
    "GROW392": Code(
        "Branches whose domains cannot be told apart",
        "`nexus` routes by the domains of branches: the mean, over the part of the data that a branch was trained on,\n"
        "of the seed's last hidden state. So every branch is trained in a stage of the spec, on a part of its own;\n"
        "branches of one part would have one embedding, and so the same row in every router. `nexus_extension` wants\n"
        "the same of the branch that it adds.",
    ),
    "GROW393": Code(
        "A model that `nexus_extension` cannot extend",
        "The first state in `from` is a model that `nexus` made, trained on or not: every mixture has a router that\n"
        "finds experts by the domains of their data, and chooses among all of them alike.",
    ),
    "GROW394": Code(
        "Domains that two models would embed",
        "The rows of a Nexus router are made of the domains of its experts' data, each the mean of a hidden state of\n"
        "the seed. What another model makes of the data of one more branch is no domain beside them. Third in `from`\n"
        "is the state that was the first when `nexus` made the model.",
    ),
    "GROW395": Code(
        "Attention that cannot become experts",
        "`bam` makes experts of attentions: one linear map each to queries, keys and values, and one back, all in one\n"
        "module of the layer. This model's maps are fused (GPT-2), of low rank (multi-head latent attention), or\n"
        "there is no attention, or more than one. `branch_train_mix` leaves the attention one, of mean weights.",
    ),
    "GROW396": Code(
        "Layers in an order that the model cannot have",
        "`deepen` and `stack` make every layer of the grown model from one of the source, and it must be of the\n"
        "same kind there: dense or a mixture, with the same window. A config says which layers are of which kind by\n"
        "a list (`layer_types`), by the numbers of those of a kind, by a count of the first ones\n"
        "(`first_k_dense_replace`) or by a period. Lists, numbers and counts follow the order, where they can say\n"
        "it; a period cannot be moved. Where layers share weights there are no copies of one of them.",
    ),
    "GROW397": Code(
        "A layer that cannot start closed",
        "`start: closed` makes layers that come again add nothing to the residual stream: it sets the last maps of\n"
        "each branch to 0, or the gain of the norm behind it. growc finds these on the model's trace. The message\n"
        "says what it found instead.",
    ),
    "GROW398": Code(
        "A width that growc does not know",
        "`widen` and `hypercloning` need to know what every dimension of a tensor holds that becomes longer:\n"
        "features of the residual stream, heads, or intermediate units, and whether it makes, reads or scales them.\n"
        "growc finds that on the model's trace. Nor may anything else follow the size, as a scale by its square\n"
        "root does in some families: it would change what the model computes. The message names the tensor, the\n"
        "number or the key.",
    ),
    "GROW399": Code(
        "A size that a width cannot have",
        "An axis becomes longer by copies of its features. Where a norm subtracts the mean (LayerNorm), or goes over\n"
        "all heads, each feature needs as many copies as every other: choose a multiple. Query heads stay with the\n"
        "key-value head of their source: there must be a place for each of them.",
    ),
    "GROW400": Code(
        "Copies that stay equal for ever",
        "A warning. Copies of a feature that start alike get the same gradients, so that an optimizer keeps them\n"
        "alike and the larger model learns what the smaller one would have. Noise that cancels over all copies, on\n"
        "the weights that read them, keeps what the model computes and lets them learn apart.",
    ),
}
