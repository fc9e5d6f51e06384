"""Tests of derta."""
