"""From a growth graph and what the checks found to a plan: frozen, rendered, and compared with the world."""
