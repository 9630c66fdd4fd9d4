"""Arithmetic on a model: SO(8) rotations, gates, adapters on disk, baking, and export to GGUF."""

import logging

# peft imports bitsandbytes at once, which then says on every start that it could fetch faster kernels from elsewhere. It cannot, here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
