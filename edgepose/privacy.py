"""Switches off the telemetry of the packages that edgepose stands on, for the process.

OpenVINO, when it is imported, and NNCF, when it quantises, report to an analytics host through the package
openvino-telemetry: they look the host up at every start, and keep an identity and statistics in `~/intel`. Both do without
it where it is not installed. So, to them, it is not. Nothing of the user's is read or written, a consent that was given or
declined stays as it is, and other programs are not concerned.
"""

from __future__ import annotations

import sys

TELEMETRY = "openvino_telemetry"


def keep_quiet() -> None:
    """Make `import openvino_telemetry` fail as if it were not installed, unless somebody has imported it already."""
    # None in sys.modules is Python's own way to say that there is no such module: the import raises ModuleNotFoundError.
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type]
