"""The page on which people judge responses, and what becomes of their verdicts."""
