"""What the benchmark scripts share: timing, memory, records, problems, comparisons."""
