"""A causal LM as the trainer sees it: a batch in, option logits and hidden states out, through one `forward`, which is what DDP and FSDP watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ..weights.shards import read_out


class Decider(nn.Module):
    """Wraps a model, adapted by PEFT or not.

    Args:
        model: a transformers causal LM, or the language part of a vision-language model.
        layers: whose outputs are given, from 0; the last one's, normed, when empty.
    """

    def __init__(self, model: Any, layers: Sequence[int] = ()) -> None:
        super().__init__()
        self.adapted = model
        self._layers = tuple(layers)

    @property
    def plain(self) -> Any:
        """The transformers model inside."""
        return self.adapted.get_base_model() if hasattr(self.adapted, "get_base_model") else self.adapted

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, options: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Read the option logits at the last place.

        The output head is applied to that place alone: on a small model it is a third of the arithmetic.

        Args:
            input_ids: `[batch, seq]`, padded on the left.
            attention_mask: `[batch, seq]`.
            options: `[batch, most]` token ids of the option labels, -1 where a row has fewer.

        Returns:
            Logits `[batch, most]` with -inf where a row has fewer options; the last hidden states `[batch, seq, hidden]`; those of `layers`, each of that shape.
        """
        base = self.plain
        out = base.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            use_cache=False,
            output_hidden_states=bool(self._layers),
        )
        last = out.last_hidden_state
        full = read_out(base, last[:, -1])
        picked = full.gather(1, options.clamp(min=0)).float().masked_fill(options < 0, float("-inf"))
        # hidden_states begins with the embeddings.
        inner = tuple(out.hidden_states[1:][i] for i in self._layers) or (last,)
        return picked, last, inner
