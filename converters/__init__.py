"""Programs that turn checkpoints into OpenVINO IR, and IR into INT8 behind a gate. Run them from a checkout:

python -m converters.export --help
python -m converters.fold --help
python -m converters.quantize --help
"""

import edgepose  # noqa: F401 (before any module here imports OpenVINO, which calls home otherwise)
