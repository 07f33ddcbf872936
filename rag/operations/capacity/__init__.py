"""The capacity planner: formulas over a model's shapes, a load, and a table of GPUs."""
