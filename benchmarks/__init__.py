"""How fast, and in how much memory: derta beside its peers. `make bench`; docs/benchmarks.md."""
