"""What the gate's model sees before the question: one header line (who answers, how secret the desk is) and the request.

Training rows and requests at run time go through the same function, so the model never meets a form it was not trained on.
The header stays short because the models that ship are tiny; the full contract lies in `policies/contracts/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from .errors import InputError

Lang = Literal["ja", "en"]
LANGS: tuple[Lang, ...] = ("ja", "en")

LEVELS: Mapping[str, str] = {
    "公開": "public",
    "社内限定": "internal",
    "部外秘": "restricted",
    "極秘": "secret",
}
"""Clearance levels, least to most secret, with the word an English header shows."""

DEFAULT_CONTRACT = "general"
DEFAULT_LEVEL = "社内限定"
"""What a request gets when the caller names neither."""

ROLES: Mapping[str, Mapping[Lang, str]] = {
    "aerospace": {"ja": "航空宇宙係", "en": "aerospace"},
    "business": {"ja": "企業総務係", "en": "business"},
    "defense": {"ja": "防衛事務係", "en": "defense"},
    "finance": {"ja": "金融事務係", "en": "finance"},
    "general": {"ja": "総合窓口", "en": "front desk"},
    "information_systems": {"ja": "情報管理係", "en": "IT systems"},
    "medical": {"ja": "医療事務係", "en": "medical"},
    "transport": {"ja": "交通運輸係", "en": "transport"},
}
"""Role shown in the header, by contract; at most 12 characters."""

_JAPANESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f]")


def lang_of(text: str) -> Lang:
    """Return `ja` when the text has any kana or kanji, else `en`."""
    return "ja" if _JAPANESE.search(text) else "en"


def gate_state(
    request: str, lang: Lang | None = None, contract_name: str = DEFAULT_CONTRACT, level: str = DEFAULT_LEVEL
) -> str:
    """Return the state of a gate question: `role [level]`, a line break, and the request as it came.

    Args:
        request: the bare request.
        lang: language of the header; read off the request when None.
        contract_name: a key of ROLES.
        level: a key of LEVELS; an English header shows its English word.

    Raises:
        InputError: for an unknown contract or level.
    """
    if contract_name not in ROLES:
        raise InputError(f"There is no contract {contract_name!r}.", f"Use one of: {', '.join(ROLES)}.")
    if level not in LEVELS:
        raise InputError(f"There is no level {level!r}.", f"Use one of: {', '.join(LEVELS)}.")
    shown = lang or lang_of(request)
    return f"{ROLES[contract_name][shown]} [{level if shown == 'ja' else LEVELS[level]}]\n{request}"
