"""The engine: executes a plan stage by stage, and resumes where it stopped."""
