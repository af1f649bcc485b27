"""The 2024 paper: its claims, its figures, and the report of a sweep."""
