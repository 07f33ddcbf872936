"""Experiments: faults in a test deployment under load, and whether its steady state holds."""
