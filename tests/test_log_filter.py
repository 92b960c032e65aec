from __future__ import annotations

import logging
import time

from edgepose.decoding.log_filter import PAUSE_S, NowAndThen


def test_thirty_warnings_a_second_become_one_in_ten_seconds(monkeypatch, caplog):
    log = logging.getLogger("edgepose.test_log_filter")
    log.addFilter(NowAndThen())
    for frame in range(30 * 21):
        monkeypatch.setattr(time, "monotonic", lambda frame=frame: 1000 + frame / 30)
        log.warning("crowded at %d s", frame // 30)
    monkeypatch.undo()
    assert PAUSE_S == 10
    assert caplog.messages == ["crowded at 0 s", "crowded at 10 s", "crowded at 20 s"]
