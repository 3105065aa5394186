"""The engine: the types that it computes in, what it adds up, and what it computes again."""
