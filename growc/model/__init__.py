"""From a model's source to what it is: tensors, sites, axes and cost, traced without weights."""
