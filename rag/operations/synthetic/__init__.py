"""The synthetic canary: a generated phrase that is ingested, asked about and deleted."""
