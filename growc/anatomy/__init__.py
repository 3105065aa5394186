"""What is known of a model, as frozen data without torch: its tensors, sites, axes and cost, and the grown format."""
