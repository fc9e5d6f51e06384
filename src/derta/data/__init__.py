"""Data in: files to triples, triples to token ids, token ids to the rows of an epoch."""
