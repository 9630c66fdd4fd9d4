"""What an eye learns beside the answers, and what is thrown away afterwards."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Helpers(nn.Module):
    """What is learnt beside the answers, and thrown away afterwards.

    A vision token shall resemble the question whose evidence it shows: the cosine between the two is a label's logit. Other things that can be seen have a linear
    label, and the mean and the greatest of the vision tokens say the answers too.
    """

    def __init__(self, width: int, others: int, criteria: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((criteria,), 8.0))
        self.offset = nn.Parameter(torch.full((criteria,), -4.0))
        self.others = nn.Linear(width, others)
        self.pooled = nn.Linear(2 * width, criteria)
        nn.init.constant_(self.others.bias, -3.0)
        nn.init.constant_(self.pooled.bias, -2.0)

    def forward(self, seen: Tensor, questions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[images, tokens, criteria + others]` and `[images, criteria]`.

        Args:
            seen: vision tokens `[images, tokens, width]`.
            questions: embeddings of the questions' last tokens `[criteria, width]`.
        """
        alike = functional.normalize(seen.float(), dim=-1) @ functional.normalize(questions.float(), dim=-1).T
        where = torch.cat((self.slope * alike + self.offset, self.others(seen).float()), dim=-1)
        return where, self.pooled(torch.cat((seen.mean(1), seen.amax(1)), dim=-1))
