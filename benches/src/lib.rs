//! Measurements: each prints its figures beside those of what it is compared to, from one run.
