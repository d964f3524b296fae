"""Store: the cost lake that questions are asked of, its roll-ups and its catalogue."""
