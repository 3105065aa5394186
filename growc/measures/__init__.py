"""What is measured in a run before an operator is bound: the same numbers under any sharding."""
