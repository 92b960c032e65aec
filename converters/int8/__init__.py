"""The search for an INT8 network: recipes, gates, and the report."""
