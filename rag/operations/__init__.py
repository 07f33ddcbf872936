"""The work of operators: backups, capacity, objectives, experiments, synthetic questions."""
