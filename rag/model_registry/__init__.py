"""The registry of models: their versions, the checksums of their files, and what was promoted."""
