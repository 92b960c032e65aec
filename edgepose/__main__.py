"""`python -m edgepose`, for where the command is not on the path."""

import sys

from edgepose.cli.main import main

sys.exit(main())
