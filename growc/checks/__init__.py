"""The invariants, one file each."""
