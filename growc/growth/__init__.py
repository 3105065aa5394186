"""The growth graph: model states, and the training and growing between them."""
