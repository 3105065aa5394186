"""`python -m growc`, and `torchrun -m growc run ...` on a cluster."""

from growc.cli.main import main

main(prog_name="growc")
