"""From a base and examples to an adapter: recipe, batches, losses, fit, checkpoints."""

import logging

# peft imports bitsandbytes at once, which then says on every start that it could fetch faster kernels from elsewhere. It cannot, here.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
