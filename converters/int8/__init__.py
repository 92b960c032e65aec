"""The search for an INT8 network that passes a gate, its parts, and the report on it."""
