"""Plumbline in frameworks for language models: a module for each, and an extra to install it."""
