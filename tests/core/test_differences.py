from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.differences import differences

BEFORE = {
    "version": 1,
    "levels": [
        {"name": {"ja": "公開", "en": "public"}, "days": 365},
        {"name": {"ja": "極秘", "en": "secret"}, "days": 9},
    ],
    "rules": [{"name": "a", "all": [["x"]]}],
    "desks": {"default": {"ja": "担当", "en": "desk"}},
}


def test_what_changed_is_named_by_name_and_not_by_place():
    after = copy.deepcopy(BEFORE)
    after["version"] = 2
    after["rules"].insert(0, {"name": "b", "all": [["y"]]})
    after["levels"][0]["days"] = 30
    del after["desks"]["default"]["en"]
    assert [d.told() for d in differences(BEFORE, after)] == [
        "- desks.default.en = 'desk'",
        "~ levels[公開].days: 365 → 30",
        "+ rules[b].all = [['y']]",
        "+ rules[b].name = 'b'",
        "~ version: 1 → 2",
    ]


json = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=3), v, max_size=3),
)


@given(st.dictionaries(st.text(min_size=1, max_size=3), json, max_size=3))
def test_the_same_has_no_differences(document):
    assert differences(document, copy.deepcopy(document)) == []
    assert differences(document, {**document, "new key": 1}) != []
