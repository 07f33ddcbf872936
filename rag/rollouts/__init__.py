"""Variants of the pipeline, and the rollouts that decide who gets them."""
