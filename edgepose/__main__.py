"""`python -m edgepose`, for where the command is not on the path."""

from edgepose.cli.main import program

program()
