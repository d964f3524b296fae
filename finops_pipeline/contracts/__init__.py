"""What each table holds: one description per table, from which every other form is made."""
