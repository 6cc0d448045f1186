"""Benchmarks: scripts that measure the package. `index.py` lists them, `README.md` says how."""
