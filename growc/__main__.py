"""`python -m growc`, for launchers such as torchrun."""

from growc.cli.main import main

main()
