"""The command line: commands and views, nothing else."""
