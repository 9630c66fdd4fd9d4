"""The one prompt of the house: how a state and a typed question become text before the label.

The same Jinja text goes into the torch engine, the trainer, `decision_template.jinja` and the GGUF's `systemone` template, so that
all of them show the model the same tokens. Text from outside is never parsed for special tokens: see `SPECIAL`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .question import Question

END, SYSTEM, USER, ASSISTANT, CLOSE = "<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = (END, SYSTEM, USER, ASSISTANT, CLOSE)
TOKEN = re.compile(r"(<\|[^|]+\|>|</?s>|\[/?INST\])")
"""How the control tokens of the families below are spelt."""

DECISION_TEMPLATE = (
    "{% macro text(x) %}{% if x is string %}{{ x }}{% elif x is not none %}{{ x | tojson(separators=(',', ':')) }}"
    "{% endif %}{% endmacro %}"
    "<|user|>{{ text(state) }}\n"
    "{% if instructions %}{{ text(instructions) }}\n{% endif %}"
    "{% for o in options %}{{ letters[loop.index0] }} {{ o.key }}"
    "{% set described = text(o.description) %}{% if described %}: {{ described }}{% endif %}{{ '\\n' }}{% endfor %}"
    "<|end|><|assistant|>"
)
"""Decision prompt. It ends right before the label; `letters` is set from LETTERS when it is exported.

The line break after an option is an expression: llama.cpp and transformers drop a bare one after a block tag. Objects become
compact JSON in the sender's key order: llama.cpp would print an object as nothing at all.
"""

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Chat prompt, in the shape transformers, llama.cpp and Ollama read."""

EYE_CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}{% endfor %}"
)
"""What an eye of the house reads: the image, then the question, and nothing else."""
IMAGES = "{% for image in images %}{{ image }}{% endfor %}"
"""Where llama.cpp puts the images of a decision; a template without it gets none of them."""
EYE_DECISION_TEMPLATE = IMAGES + "{{ instructions }}"
"""The same for a decision; an eye of the house reads no state."""

DIALECTS: Mapping[str, Mapping[str, str]] = {
    "Phi-3": {token: token for token in SPECIAL},
    "ChatML": {
        END: "<|endoftext|>",
        SYSTEM: "<|im_start|>system\n",
        USER: "<|im_start|>user\n",
        ASSISTANT: "<|im_start|>assistant\n",
        CLOSE: "<|im_end|>\n",
    },
    "Llama 3": {
        END: "<|end_of_text|>",
        SYSTEM: "<|start_header_id|>system<|end_header_id|>\n\n",
        USER: "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        ASSISTANT: "<|start_header_id|>assistant<|end_header_id|>\n\n",
        CLOSE: "<|eot_id|>",
    },
    "Mistral": {END: "</s>", USER: "<s>[INST]", ASSISTANT: "[/INST]", CLOSE: ""},
}
"""What other families' models read where those of the house read one special token.

A prompt of the house has one turn of a user, so where a family begins every text with a token, USER does. Mistral has no role for a system; an answer is
closed by END. Before its tokenizer v3 `[INST]` was text.
"""


def in_dialect(template: str, words: Mapping[str, str]) -> str:
    """A Jinja template of the house in another family's words; line breaks become expressions, or they would be dropped after a block and at the end."""
    for token, said in words.items():
        if said != token:
            template = template.replace(token, said.replace("\n", "{{ '\\n' }}"))
    return template


_ASCII = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_HIRAGANA = (
    "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわをん"
    "がぎぐげござじずぜぞだづでどばびぶべぼっゃゅょ"
)
_KATAKANA = (
    "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン"
    "ガギグゲゴザジズゼゾダデドバビブベボパピプペポッャュョー"
)
_KANJI = "日一大年人会国本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回新場体学下目外山手道家書元"
LETTERS = (_ASCII + _HIRAGANA + _KATAKANA + _KANJI)[:255]
"""Labels of options, in order; each is one token. Past z come kana and, for the longest lists, the commonest kanji."""


def decision_parts(state: str, question: Question) -> list[tuple[str, bool]]:
    """Return the decision prompt as (text, is_special) parts, `DECISION_TEMPLATE` spelt out.

    Only parts marked special may be tokenised as special tokens; a client's `<|end|>` stays eight plain characters.
    """
    lines = [state]
    if question.instructions:
        lines.append(question.instructions)
    for letter, option in zip(LETTERS, question.options, strict=False):
        lines.append(f"{letter} {option.key}" + (f": {option.description}" if option.description else ""))
    return [(USER, True), ("\n".join(lines) + "\n", False), (CLOSE, True), (ASSISTANT, True)]


def chat_parts(messages: Sequence[tuple[str, str]], prompt: bool = True) -> list[tuple[str, bool]]:
    """Return a conversation of (role, text) as (text, is_special) parts, `CHAT_TEMPLATE` spelt out."""
    parts: list[tuple[str, bool]] = []
    for role, text in messages:
        parts += [(f"<|{role}|>", True), (text, False), (CLOSE, True)]
    return [*parts, (ASSISTANT, True)] if prompt else parts


def split_special(text: str) -> list[str]:
    """Cut `text` inside every spelling of a special token, after its first character.

    Tokenising the pieces one by one can never give a special token, whatever a tokenizer does with added tokens; every part of the
    house that turns outside text into tokens cuts it here, so that all of them see the same ids.
    """
    pieces, start, at = [], 0, text.find("<|")
    while at != -1:
        pieces.append(text[start : at + 1])
        start, at = at + 1, text.find("<|", at + 1)
    return [p for p in [*pieces, text[start:]] if p]
