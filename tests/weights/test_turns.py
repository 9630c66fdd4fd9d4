"""A chat template in Go's language says what Jinja says of the same conversation."""

from __future__ import annotations

import jinja2
import pytest

from sekisho.weights.turns import turns_of
from tiny_mistral import TEKKEN, V1, V3, V7

LLAMA2 = (
    "{% for m in messages if m.role != 'system' %}{% set rules = messages[0].content if messages[0].role == 'system' %}"
    "{% set text = '<<SYS>>\n' + rules + '\n<</SYS>>\n\n' + m.content if loop.first and rules else m.content %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
QWEN = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are kind.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
FORMS = {"v1": V1, "v3": V3, "tekken": TEKKEN, "v7": V7, "llama 2": LLAMA2, "llama 3": LLAMA3, "qwen": QWEN, "phi 3": PHI3}  # fmt: skip
RULES, ASKS, HEARS, AGAIN = (
    ("system", "Be brief.\n短く。"),
    ("user", "Hi there"),
    ("assistant", "Hello."),
    ("user", 'And <b>you</b> "x"?'),
)
TALKS = (
    (ASKS,),
    (ASKS, HEARS, AGAIN),
    (ASKS, HEARS, AGAIN, HEARS, ASKS),
    (RULES, ASKS),
    (RULES, ASKS, HEARS, AGAIN, HEARS, ASKS),
)


def rendered(template, said):
    def refuse(message):
        raise jinja2.TemplateError(message)

    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(template).render(
        messages=[{"role": r, "content": t} for r, t in said], add_generation_prompt=True, bos_token="<s>", eos_token="</s>", raise_exception=refuse,
    )  # fmt: skip


@pytest.mark.parametrize("said", TALKS)
@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_reads_as_the_template_has_it(form, said):
    turns = turns_of(FORMS[form], "<s>", "</s>", written=False)
    if form == "v1" and said[0] == RULES:
        # refused by the template: Mistral's own library puts the text before the first user's
        said = ((ASKS[0], f"{RULES[1]}\n\n{ASKS[1]}"), *said[2:])
        assert turns.text((RULES, ASKS, *said[1:])) == rendered(V1, said).removeprefix("<s>")
    else:
        assert turns.text(said) == rendered(FORMS[form], said).removeprefix("<s>")


def test_the_system_text_stands_where_the_template_has_it():
    places = {form: turns_of(template).place for form, template in FORMS.items()}
    assert [places[f] for f in ("v1", "v3", "tekken", "llama 2")] == ["first", "last", "last", "first"]
    assert {places[f] for f in ("v7", "llama 3", "qwen", "phi 3")} == {"front"}


def test_the_same_in_go():
    """Compared with Go's own text/template, over all these forms and conversations."""
    assert turns_of(V7, "<s>", "</s>", written=False).go() == (
        "{{ $asked := false }}{{ if .System }}[SYSTEM_PROMPT]{{ $.System }}[/SYSTEM_PROMPT]{{ else }}{{ end }}"
        '{{ range $i, $_ := .Messages }}{{ if eq .Role "user" }}[INST]{{ $asked = true }}{{ .Content }}'
        "{{ if eq (len (slice $.Messages $i)) 1 }}[/INST]{{ else }}[/INST]{{ end }}"
        '{{ else if and $asked (eq .Role "assistant") }}{{ .Content }}</s>{{ end }}{{ end }}'
    )
    assert (
        "{{ if and $.System (not $asked) }}[INST] {{ $.System }}\n\n{{ else }}[INST] {{ end }}"
        in turns_of(V1).go()
    )
    assert "{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}" in turns_of(V3).go()


def test_the_token_that_begins_a_text_is_left_out_where_it_is_put_there_anyway():
    assert turns_of(V3, "<s>", "</s>").begin == "<s>"
    assert turns_of(V3, "<s>", "</s>", written=False).begin == ""


@pytest.mark.parametrize("form", FORMS)
def test_a_conversation_whose_oldest_question_was_dropped_loses_the_answer_to_it_and_nothing_else(form):
    """Ollama drops the oldest messages of one that is too long, and keeps the system text."""
    turns = turns_of(FORMS[form], "<s>", "</s>", written=False)
    assert turns.text((RULES, HEARS, AGAIN)) == turns.text((RULES, AGAIN))
    assert turns.text((HEARS, AGAIN, HEARS, ASKS)) == turns.text((AGAIN, HEARS, ASKS))


def test_both_roles_close_a_turn_alike_where_they_do():
    """So that a default system text is whole without any turn."""
    assert turns_of(QWEN).begin == "<|im_start|>system\nYou are kind.<|im_end|>\n"
    assert {f: turns_of(FORMS[f]).close for f in ("qwen", "phi 3", "llama 3")} == {
        "qwen": "<|im_end|>\n", "phi 3": "<|end|>\n", "llama 3": "<|eot_id|>",
    }  # fmt: skip


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages }}",
        "{% for m in messages %}",
        "{{ strftime_now('%d') }}" + V7,
        V7.replace("m['content']", "m['content'].upper()"),
        "{{ '{{ x }}' }}" + V7,
        "{% if strftime_now is defined %}{{ strftime_now('%d') }}{% else %}26 Jul{% endif %}" + V7,
        "{% for m in messages %}{{ '<u>{' + m.content + '}' }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{% for m in messages if m.role != 'system' %}{{ m.content }}!{% endfor %}",
        "{{ raise_exception('never') }}",
    ],
    ids=[
        "all",
        "broken",
        "today",
        "changed",
        "Go's own",
        "today at times",
        "a brace",
        "zero",
        "deaf",
        "refused",
    ],
)
def test_what_is_no_such_form_is_not_written(template):
    assert turns_of(template, "<s>", "</s>") is None
