//! Benchmarks. Each prints its results together with a baseline measured in the same run.
