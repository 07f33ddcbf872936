"""Objectives of the service: rules for Prometheus, error budgets, and the freeze of rollouts."""
