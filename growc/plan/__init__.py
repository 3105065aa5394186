"""The plan: what will change and what it will cost, frozen with hashes of all it depends on."""
