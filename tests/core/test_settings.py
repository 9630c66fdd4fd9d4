from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.core.errors import SettingsError
from sekisho.core.settings import load
from sekisho.core.spec import ENV_PREFIX
from sekisho.core.table import TABLE

GOOD = {
    "home": "/a/home",
    "share": "/a/share",
    "engine": "fake",
    "weights": "q8_0",
    "exports": "f16, q8_0,",
    "host": "::1",
    "port": "9001",
    "tokens": "a, b,,",
    "api_key": "sekisho_x",
    "tls_cert": "/a/cert.pem",
    "tls_key": "/a/key.pem",
    "separate_duties": "on",
    "remote_url": "http://127.0.0.1:1",
    "remote_model": "m",
    "remote_key": "k",
    "remote_fallback_url": "http://127.0.0.1:2",
    "remote_fallback_model": "n",
    "remote_fallback_key": "l",
    "remote_decisions": "logprobs",
    "remote_temperatures": "none",
    "batch_tokens": "nightly",
    "device": "cuda",
    "context": "512",
    "slots": "3",
    "threads": "4",
    "spare_slots": "1",
    "kv_type": "q8_0",
    "memory_limit_mib": "900",
    "queue": "7",
    "batch_queue": "9",
    "batch_share": "1",
    "ageing_seconds": "12.5",
    "batch_deadline_seconds": "90",
    "keep_awake": "off",
    "cores": "apart",
    "deadline_seconds": "2.5",
    "max_body_bytes": "2048",
    "max_questions": "5",
    "gate_model": "other",
    "eye": "remote",
    "eye_model": "other",
    "eye_url": "http://127.0.0.1:1",
    "eye_remote_model": "a",
    "eye_pixels": "110592",
    "eye_key": "k",
    "eye_seconds": "9",
    "rubric_second_look": "on",
    "keep_images": "on",
    "cors_origins": "http://localhost:3000",
    "recipe": "mine",
    "policy": "strict",
    "alpha": "0.01",
    "confidence": "0.9",
    "witness": "/a/witness.jsonl",
    "retention": "3,chat=0.5",
    "certificate_days": "30",
    "os_log": "syslog",
    "os_log_socket": "/a/log",
    "egress": "10.0.0.1:514",
    "clock_tolerance_seconds": "5",
    "escalation_hours": "5",
    "escalation_lease_minutes": "9",
    "nli_model": "/a/nli",
    "nli_slow_model": "/a/slow",
    "nli_recipe": "/a/nli.toml",
    "nli_precision": "float64",
    "nli_batch": "16",
    "nli_queue": "100",
    "nli_max_pairs": "50",
    "nli_max_body_bytes": "4096",
    "nli_max_characters": "999",
    "nli_corrections": "20",
    "nli_correction_rate": "0.2",
    "nli_days": "1.5",
    "nli_rule": "not_worse",
    "nli_accuracy": "0.7",
    "nli_guard_margin": "0.01",
    "nli_live_rows": "60",
    "nli_sample": "0.5",
    "nli_live_margin": "0.2",
    "witness_url": "http://127.0.0.1:4/witness",
    "pdf_font": "/a/font.ttf",
    "log_level": "debug",
}
BAD = {
    "home": " ",
    "engine": "vllm",
    "host": "",
    "port": "65536",
    "device": "tpu",
    "context": "1.5",
    "slots": "0",
    "deadline_seconds": "nan",
    "max_questions": "many",
    "alpha": "0",
    "retention": "chat=1",
    "egress": "a.example:80,b:99999",
    "log_level": "loud",
}


def test_every_setting_has_a_name_a_default_that_parses_and_a_sentence():
    assert len(TABLE) == len({s.name for s in TABLE}) >= 20
    for spec in TABLE:
        default = spec.value_of_default()
        assert default is None or spec.parse(default) == default
        assert spec.help.endswith(".")


@pytest.mark.parametrize("name", [s.name for s in TABLE])
def test_flag_beats_environment_beats_file_beats_default(name, tmp_path):
    file, raw = tmp_path / "s.toml", GOOD[name]
    file.write_text(f'{name} = "{raw}"\n')
    spec = next(s for s in TABLE if s.name == name)
    parsed = spec.parse(raw)
    assert load(env={}, file=file).values[name] == parsed
    for flags, env, source in [
        ({}, {}, "file"),
        ({}, {spec.env: raw}, "env"),
        ({name: raw}, {spec.env: raw}, "flag"),
    ]:
        settled = load(flags=flags, env=env, file=file)
        assert (settled.values[name], settled.sources[name]) == (parsed, source)
        assert getattr(settled, name) == parsed
    assert load(env={}, file=_empty(tmp_path)).sources[name] == "default"


def test_a_wrong_token_is_not_shown(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('tokens = ["hush-1", "hush-2"]\n')
    with pytest.raises(SettingsError) as error:
        load(env={}, file=file)
    assert "tokens (file): expected a text" in str(error.value)
    assert "hush" not in str(error.value)


def test_the_home_of_an_unknown_user_is_a_problem_like_any_other():
    with pytest.raises(SettingsError) as error:
        load(env={"SEKISHO_HOME": "~no-such-user-here/x", "SEKISHO_PORT": "many"})
    assert "SEKISHO_HOME" in str(error.value)
    assert "SEKISHO_PORT" in str(error.value)


def _empty(folder: Path) -> Path:
    file = folder / "empty.toml"
    file.write_text("")
    return file


def test_the_given_examples_cover_the_table():
    assert set(GOOD) == {s.name for s in TABLE}


@given(st.sets(st.sampled_from(sorted(BAD)), min_size=1))
def test_every_wrong_value_is_reported_at_once(names):
    with pytest.raises(SettingsError) as caught:
        load(env={ENV_PREFIX + n.upper(): BAD[n] for n in names})
    assert len(caught.value.problems) == len(names)
    for name in names:
        assert sum(ENV_PREFIX + name.upper() + ":" in p for p in caught.value.problems) == 1


def test_wrong_values_of_a_lower_layer_are_reported_too(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("port = 70000\nprot = 1\n")
    with pytest.raises(SettingsError) as caught:
        load(flags={"port": "8001"}, env={"SEKISHO_ENGINE": "x"}, file=file)
    text = str(caught.value)
    assert "port (file)" in text
    assert "did you mean port?" in text
    assert "SEKISHO_ENGINE: expected one of llamacpp, torch, remote, fake, got 'x'" in text


@pytest.mark.parametrize("text", ["port = ", "\xff", "port = 1\nport = 2", "a = " + "[" * 3000])
def test_a_file_that_is_no_toml_is_a_problem_not_a_traceback(tmp_path, text):
    file = tmp_path / "s.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match="cannot be read as TOML"):
        load(env={}, file=file)


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        load(env={"SEKISHO_CONFIG": str(tmp_path / "none.toml")})


def test_another_address_needs_tls():
    tls = {"SEKISHO_TLS_CERT": "/a/cert.pem", "SEKISHO_TLS_KEY": "/a/key.pem"}
    for missing in ({}, *({k: v} for k, v in tls.items())):
        with pytest.raises(SettingsError, match="not loopback"):
            load(env={"SEKISHO_HOST": "0.0.0.0", **missing})
    settled = load(env={"SEKISHO_HOST": "0.0.0.0", "SEKISHO_TOKENS": " a ,, b", **tls})
    assert settled.token_list() == ("a", "b")
    assert not settled.is_loopback()
    assert load(env={}).is_loopback()


@pytest.mark.parametrize("line", ["witness = true", "share = 5"])
def test_a_path_is_a_text(tmp_path, line):
    file = tmp_path / "s.toml"
    file.write_text(line)
    with pytest.raises(SettingsError, match="expected a non-empty text"):
        load(env={}, file=file)


def test_a_share_of_slots_that_are_not_there():
    with pytest.raises(SettingsError, match="more than the 2"):
        load(env={"SEKISHO_BATCH_SHARE": "3"})
    assert load(env={"SEKISHO_BATCH_SHARE": "3", "SEKISHO_SLOTS": "3"}).batch_share == 3


@given(st.integers())
def test_ports_are_whole_numbers_in_range(port):
    if 0 <= port <= 65535:
        assert load(flags={"port": port}, env={}).port == port
    else:
        with pytest.raises(SettingsError):
            load(flags={"port": port}, env={})


@pytest.mark.parametrize("value", [True, 1.5, "1e3", None, [], "１0x"])
def test_what_is_no_whole_number_is_refused(value):
    spec = next(s for s in TABLE if s.name == "slots")
    with pytest.raises(ValueError):
        spec.parse(value)


def test_there_is_no_setting_by_another_name():
    with pytest.raises(AttributeError):
        _ = load(env={}).colour


def test_what_is_wrong_is_said_once_and_in_our_words(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text(f"port = {'1' * 5000}")
    with pytest.raises(SettingsError) as error:
        load({"retention": "abc"}, env={}, file=file)
    assert error.value.problems[1:] == ["retention: expected days from 0 to 36500, got 'abc'"]
    assert error.value.problems[0].endswith("a number has too many digits")


@pytest.mark.parametrize("value", ["", ",", "f16;q8_0", "f16,q3", 3])
def test_what_names_no_kinds_of_files_is_refused(value):
    with pytest.raises(SettingsError, match=r"expected some of f16, bf16, q8_0, q6_k, q5_k_m, q4_k_m"):
        load(flags={"exports": value}, env={})
