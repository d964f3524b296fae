"""The benchmark harness on a tiny size: that its figures are figures, never how large they are."""
