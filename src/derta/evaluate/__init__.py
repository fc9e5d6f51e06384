"""The inspect-ai side: a provider for local models, tasks, scorer, and the run."""
