"""Settings of gate, eye and NLI service: which models, how they are corrected."""

from __future__ import annotations

from . import values
from .spec import Spec

MODELS: tuple[Spec, ...] = (
    Spec(
        "gate_model",
        values.text,
        "nano",
        "Base model folder for the gate: a name under `share`/models or a path.",
    ),
    Spec(
        "eye",
        values.choice("torch", "remote"),
        "torch",
        "What looks at images: a model in this process, or a vision server of your own.",
    ),
    Spec(
        "eye_model",
        values.text,
        "nano_vl",
        "Model folder of the torch eye: a name under `share`/models or a path.",
    ),
    Spec(
        "eye_url",
        values.address,
        None,
        "Root of the server the remote eye asks, `http://…`; it must be a machine of your own.",
    ),
    Spec(
        "eye_remote_model",
        values.optional,
        None,
        "Name of the vision model there; none takes the only one it lists.",
    ),
    Spec(
        "eye_pixels",
        values.whole(0, 100_000_000),
        0,
        "Pixels of an image sent there at the most, 110592 for an eye of ours; larger and smaller ones are scaled. 0 sends them as they are.",
    ),
    Spec("eye_key", values.optional, None, "Bearer token for that server.", secret=True),
    Spec(
        "eye_seconds",
        values.real(0.1, 3600),
        30.0,
        "Seconds for one image, from its bytes to its answers; loading the eye before the first one does not count.",
    ),
    Spec(
        "rubric_second_look",
        values.choice("off", "on"),
        "off",
        "`on`: where exactly two outcomes of a rubric tie, the image is looked at once more for what tells them apart; see docs/rubrics.md.",
    ),
    Spec(
        "keep_images",
        values.choice("off", "on"),
        "off",
        "`on` keeps an image file beside its judgement; otherwise only its digest is kept.",
    ),
    Spec(
        "cors_origins",
        values.optional,
        None,
        "Comma-separated origins of other sites whose pages may call this server, `http://localhost:3000`; none by default.",
    ),
    Spec("recipe", values.text, "gate", "Recipe of the gate: a name under `share`/recipes or a path."),
    Spec("nli_model", values.text, "nano-nli", "NLI classifier: a name under `share`/models or a path."),
    Spec(
        "nli_slow_model",
        values.optional,
        None,
        "A second, more careful NLI classifier, asked for as `slow`; none by default.",
    ),
    Spec(
        "nli_recipe",
        values.text,
        "nli-adapter",
        "Recipe of NLI adapters: a name under `share`/recipes or a path.",
    ),
    Spec(
        "nli_precision",
        values.choice("float32", "float64"),
        "float32",
        "Numbers the NLI classifier computes with; `float64` takes about twice as long. With both an answer has the same bits whatever is read beside it.",
    ),
    Spec("nli_batch", values.whole(1, 4096), 32, "Most pairs the NLI classifier reads at once."),
    Spec(
        "nli_queue",
        values.whole(1, 10_000_000),
        20_000,
        "NLI pairs that may wait; one more is refused with 429.",
    ),
    Spec("nli_max_pairs", values.whole(1, 1_000_000), 10_000, "Most pairs of one request to /nli."),
    Spec("nli_max_body_bytes", values.whole(1024, 1 << 30), 16 << 20, "Largest body of a request to /nli."),
    Spec(
        "nli_max_characters",
        values.whole(1, 100_000_000),
        100_000,
        "Longest premise or hypothesis; a longer one is an error of its pair.",
    ),
    Spec(
        "nli_corrections",
        values.whole(1, 1_000_000),
        100,
        "New corrections that make an adapter's training due.",
    ),
    Spec(
        "nli_correction_rate",
        values.real(0, 1),
        0.05,
        "Least share of corrections among new reviewed answers for that.",
    ),
    Spec("nli_days", values.real(0, 3650), 7.0, "Least days since the last training for that."),
    Spec(
        "nli_sample",
        values.real(0.001, 1),
        1.0,
        "Share of NLI answers that the house draws for review; adapters are proved on these alone.",
    ),
    Spec(
        "nli_rule",
        values.choice("better", "not_worse"),
        "better",
        "What an adapter must show on the reviewed hold-out: significantly better, or no worse than `nli_guard_margin`.",
    ),
    Spec("nli_accuracy", values.real(0, 1), 0.85, "Least accuracy of an adapter on the reviewed hold-out."),
    Spec(
        "nli_guard_margin",
        values.real(0, 1),
        0.05,
        "Most accuracy an adapter may lose on the general guard set, with 95 % confidence.",
    ),
    Spec(
        "nli_live_rows",
        values.whole(10, 1_000_000),
        50,
        "Reviewed answers over which an adapter's live Brier score is watched.",
    ),
    Spec(
        "nli_live_margin",
        values.real(0, 2),
        0.2,
        "How much worse than in its proof that score may be before the adapter is rolled back by itself.",
    ),
)
