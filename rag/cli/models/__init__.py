"""`rag models`: the registry of models, and their conversion."""
