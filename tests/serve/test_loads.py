from __future__ import annotations

import asyncio
import os
import signal

from sekisho import metrics


def _loads(cause):
    return metrics.LOADS.labels(cause)._value.get()


def test_a_start_is_one_load_and_a_restart_another(llamacpp):
    async def live():
        engine = llamacpp()
        start, restart = _loads("start"), _loads("restart")
        await engine.start()
        try:
            assert (_loads("start"), _loads("restart")) == (start + 1, restart)
            old = engine.pid
            os.kill(old, signal.SIGKILL)
            async with asyncio.timeout(20):
                while engine.pid in (None, old) or not await engine.healthy():
                    await asyncio.sleep(0.02)
            assert (_loads("start"), _loads("restart")) == (start + 1, restart + 1)
        finally:
            await engine.stop()

    asyncio.run(live())
