"""Tensor programs on real tensors: values by place, not by order, and the same bits whatever the sharding."""
