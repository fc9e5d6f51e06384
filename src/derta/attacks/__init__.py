"""Scenarios that try to get past a refusal, one file each; single-turn ones are pure functions."""
