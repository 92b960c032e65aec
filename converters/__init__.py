"""Checkpoints to OpenVINO IR, and IR to INT8 behind a gate. Run from a checkout:

python -m converters.lightweight_openpose --help
python -m converters.hrnet --help
python -m converters.fold --help
python -m converters.quantize --help
"""

import edgepose  # noqa: F401 (before any module here imports OpenVINO, which calls home otherwise)
