"""How one model trains on many devices: layout, precision, micro-batches, recomputation, the loss, the optimizer.

Only `distribute` touches transformers' distributed engine, whose interface changes with every minor version.
"""
