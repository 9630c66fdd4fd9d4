from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.serve.streaming import StopCutter, TextStream


def decode(ids) -> str:
    return bytes(ids).decode("utf-8", "replace")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_bytes_one_by_one_give_whole_characters(text):
    stream = TextStream(decode)
    pieces = [stream.push(b) for b in text.encode()]
    assert "".join(pieces) == text
    assert not any("\ufffd" in p for p in pieces)


@given(st.binary(max_size=30))
def test_wrong_bytes_come_out_as_they_decode_but_for_an_unfinished_end(data):
    stream = TextStream(decode)
    out = "".join(stream.push(b) for b in data)
    whole = decode(data)
    assert whole in (out, out + "\ufffd")


@given(st.lists(st.text("abc", max_size=4)), st.lists(st.text("abc", min_size=1, max_size=3), max_size=2))
def test_a_text_ends_before_the_first_stop_however_it_arrives(pieces, stop):
    cutter = StopCutter(stop)
    out = "".join(cutter.push(p) for p in pieces) + cutter.flush()
    whole = "".join(pieces)
    # The stop that is complete first ends the text; of those, the one that begins first.
    ends = [whole.find(s) + len(s) for s in stop if s in whole]
    assert cutter.stopped == bool(ends)
    if not ends:
        assert out == whole
    else:
        assert whole.startswith(out)
        assert not any(s in out for s in stop)
        assert any(whole.startswith(s, len(out)) for s in stop)
