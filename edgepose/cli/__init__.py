"""The command `edgepose`."""
