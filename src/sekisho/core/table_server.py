"""Settings of the server: address, keys, lanes, limits."""

from __future__ import annotations

from . import values
from .spec import Spec

SERVER: tuple[Spec, ...] = (
    Spec(
        "host",
        values.text,
        "127.0.0.1",
        "Address the server binds; anything but loopback needs API keys or `tokens`, and TLS files.",
    ),
    Spec("port", values.whole(0, 65535), 8000, "Port the server binds; 0 takes a free one."),
    Spec(
        "tokens",
        values.optional,
        None,
        "Comma-separated bearer tokens; empty means loopback clients need none.",
        secret=True,
    ),
    Spec(
        "batch_tokens",
        values.optional,
        None,
        "Comma-separated further bearer tokens, whose requests take the batch lane.",
        secret=True,
    ),
    Spec(
        "api_key",
        values.optional,
        None,
        "API key with which this command line asks a running server.",
        secret=True,
    ),
    Spec(
        "tls_cert", values.optional_path, None, "Certificate chain (PEM) with which the server speaks HTTPS."
    ),
    Spec("tls_key", values.optional_path, None, "Private key (PEM) of `tls_cert`."),
    Spec(
        "separate_duties",
        values.choice("on", "off"),
        "off",
        "`on`: no key may both correct and promote, who filed a correction promotes nothing, and nobody decides on a request of their own.",
    ),
    Spec(
        "device",
        values.choice("cpu", "cuda"),
        "cpu",
        "Where the model runs; cuda that is absent ends the start.",
    ),
    Spec(
        "context",
        values.whole(256, 1_048_576),
        2048,
        "Tokens one request may use, prompt and answer together.",
    ),
    Spec(
        "slots",
        values.whole(1, 64),
        2,
        "Texts the engine writes at once; one place more is kept for decisions.",
    ),
    Spec("threads", values.whole(1, 256), 2, "Threads for engine and training."),
    Spec(
        "spare_slots",
        values.whole(0, 64),
        0,
        "Engine slots beyond `slots` in which batch work that made room keeps its cache.",
    ),
    Spec(
        "kv_type",
        values.choice("f32", "f16", "q8_0", "q4_0"),
        "f32",
        "Number type of the llamacpp engine's key-value cache; q8_0 and q4_0 turn flash attention on.",
    ),
    Spec(
        "memory_limit_mib",
        values.whole(0, 1 << 24),
        0,
        "Memory the llamacpp engine may be planned to take, checked at the start, not while it runs; 0 means what is free.",
    ),
    Spec(
        "queue",
        values.whole(1, 100_000),
        256,
        "Requests that may wait in the real-time lane; one more is answered 429.",
    ),
    Spec(
        "batch_queue",
        values.whole(1, 100_000),
        256,
        "Requests that may wait in the batch lane; one more is answered 429.",
    ),
    Spec(
        "batch_share",
        values.whole(0, 64),
        0,
        "Slots that real-time requests do not take away from batch work.",
    ),
    Spec(
        "ageing_seconds",
        values.real(0.1, 86_400),
        30.0,
        "When batch work has stood still for so long, its oldest request gets a turn between real-time ones.",
    ),
    Spec(
        "keep_awake",
        values.choice("on", "off"),
        "on",
        "`on`: no core sleeps while real-time requests are open, where this process may write to /dev/cpu_dma_latency; answers come sooner and power is spent.",
    ),
    Spec(
        "cores",
        values.choice("apart", "shared"),
        "shared",
        "`apart`: on Linux, where `threads` leaves a core free, llama.cpp keeps to `threads` cores of its own and the server to the others, for machines that do nothing else; `shared`: the system decides.",
    ),
    Spec(
        "deadline_seconds",
        values.real(0.05, 600),
        8.0,
        "Seconds for a decision and its ledger entry, for which the last one (of few, an eighth) is kept; later is ESCALATE.",
    ),
    Spec(
        "batch_deadline_seconds",
        values.real(1, 86_400),
        600.0,
        "The same for a decision or a text in the batch lane, waiting included.",
    ),
    Spec(
        "max_body_bytes",
        values.whole(1024, 1 << 30),
        1 << 20,
        "Largest request body, also after decompression.",
    ),
    Spec("max_questions", values.whole(1, 4096), 64, "Most questions of one request."),
)
