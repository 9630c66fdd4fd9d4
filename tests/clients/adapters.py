"""OpenAI's, Ollama's and System One's clients in the words of the scenarios; none of them is modified."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx2
import ollama
import openai
import system_one
import typesafe_sdk

from .scenarios import MODEL, NoWordsError, Said


class OpenAI:
    """`openai`. Every body that arrives is kept in `seen`, with its path, for whoever wants to look at its form."""

    def __init__(self, address: str, strict: bool = True) -> None:
        self.seen: list[tuple[str, Any]] = []
        http = httpx2.Client(event_hooks={"response": [self._keep]})
        self._client = openai.OpenAI(
            base_url=f"{address}/v1",
            api_key="none",
            max_retries=0,
            http_client=http,
            _strict_response_validation=strict,
        )

    def _keep(self, response: httpx2.Response) -> None:
        text = response.read().decode("utf-8")
        path = response.request.url.path
        if response.headers["content-type"].startswith("text/event-stream"):
            lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
            self.seen += [(f"{path} stream", json.loads(line)) for line in lines if line != "[DONE]"]
        else:
            self.seen.append((path if response.status_code == 200 else "error", json.loads(text)))

    def models(self) -> list[str]:
        return [m.id for m in self._client.models.list()]

    def chat(self, turns: Sequence[dict[str, str]], **options: Any) -> Said:
        done = self._client.chat.completions.create(messages=list(turns), **_openai(options))
        if options.get("stream"):
            return self._joined(done)
        choice, counts = done.choices[0], done.usage
        found = choice.logprobs.content if choice.logprobs else ()
        return Said(
            text=choice.message.content,
            finish=choice.finish_reason,
            read=counts.prompt_tokens if counts else 0,
            written=counts.completion_tokens if counts else 0,
            logprobs=[t.logprob for t in found],
            verdict=done.x_sekisho["judgement"],
        )

    def _joined(self, chunks: Any) -> Said:
        said = Said("")
        for chunk in chunks:
            for choice in chunk.choices:
                said.text += choice.delta.content or ""
                said.finish = choice.finish_reason or said.finish
        return said

    def complete(self, prompt: str, **options: Any) -> Any:
        """The older form, which this client alone has."""
        return self._client.completions.create(model=MODEL, prompt=prompt, **options)

    def decide(self, state: Any, questions: dict[str, Any]) -> dict[str, dict[str, float]]:
        asked = [_openai_question(name, q) for name, q in questions.items()]
        done = self._client.decisions.create(model=MODEL, input=state, questions=asked)
        return {
            name: {"true": a.probability, "false": 1 - a.probability}
            if a.type == "predicate"
            else {str(p.value): p.probability for p in a.probabilities}
            for name, a in zip(questions, done.answers, strict=True)
        }

    def status(self, work: Callable[[], Any]) -> int:
        try:
            work()
        except openai.APIStatusError as e:
            return e.status_code
        return 200


def _openai(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a scenario as OpenAI's."""
    told = {
        "model": options.get("model", MODEL),
        "max_tokens": options.get("tokens", 24),
        "temperature": options.get("temperature", 0),
    }
    told |= {k: options[k] for k in ("stream", "seed", "stop", "logprobs") if k in options}
    if "schema" in options:
        form = {"name": "answer", "schema": options["schema"], "strict": True}
        told["response_format"] = {"type": "json_schema", "json_schema": form}
    return told


def _openai_question(name: str, question: dict[str, Any]) -> dict[str, Any]:
    shared = {"name": name, "instructions": question["instructions"]}
    if question["type"] == "noul":
        return {"type": "predicate", **shared}
    if question["type"] == "score":
        return {"type": "score", **shared, "levels": [{"label": x} for x in question["criteria"]]}
    choices = [{"value": k, **({"description": v} if v else {})} for k, v in question["criteria"].items()]
    return {"type": "choice", **shared, "choices": choices}


class Ollama:
    """`ollama`."""

    def __init__(self, address: str) -> None:
        self._client = ollama.Client(host=address)

    def models(self) -> list[str]:
        return [m.model for m in self._client.list().models]

    def chat(self, turns: Sequence[dict[str, str]], **options: Any) -> Said:
        if options.get("logprobs"):
            raise NoWordsError("/api/chat is asked for no log-probabilities here")
        told = {"temperature": options.get("temperature", 0), "num_predict": options.get("tokens", 24)}
        told |= {k: options[k] for k in ("seed", "stop") if k in options}
        asked: dict[str, Any] = {"options": told, "stream": options.get("stream", False)}
        if "schema" in options:
            asked["format"] = options["schema"]
        done = self._client.chat(options.get("model", MODEL), list(turns), **asked)
        if options.get("stream"):
            parts = list(done)
            return Said("".join(p.message.content for p in parts), parts[-1].done_reason)
        return Said(done.message.content, done.done_reason, done.prompt_eval_count or 0, done.eval_count or 0)

    def decide(self, state: Any, questions: dict[str, Any]) -> dict[str, dict[str, float]]:
        return _probabilities(self._client.systemone(MODEL, state, questions).answers)

    def status(self, work: Callable[[], Any]) -> int:
        try:
            work()
        except ollama.ResponseError as e:
            return e.status_code
        return 200


class TypeSafe:
    """`typesafe-sdk`."""

    def __init__(self, address: str) -> None:
        self._client = typesafe_sdk.TypeSafeClient(api_key="none", base_url=address)

    def models(self) -> list[str]:
        return [m.name for m in self._client.models.list().models]

    def chat(self, turns: Sequence[dict[str, str]], **options: Any) -> Said:
        if options.get("model") == "another":  # the one thing this protocol can say of it: another model
            question = {"q": typesafe_sdk.Noul(instructions="?")}
            self._client.system_one(state="s", questions=question, model="another")
        raise NoWordsError("System One writes no text")

    def decide(self, state: Any, questions: dict[str, Any]) -> dict[str, dict[str, float]]:
        kinds = {"noul": typesafe_sdk.Noul, "choice": typesafe_sdk.Choice, "score": typesafe_sdk.Score}
        asked = {
            n: kinds[q["type"]](**{k: v for k, v in q.items() if k != "type"}) for n, q in questions.items()
        }
        got = self._client.system_one(state=state, questions=asked)
        nouls = {n: {"true": a.noul, "false": 1 - a.noul} for n, a in got.nouls.items()}
        both = {**got.choices, **got.scores}
        return nouls | {n: {str(k): p for k, p in a.probabilities.items()} for n, a in both.items()}

    def status(self, work: Callable[[], Any]) -> int:
        try:
            work()
        except typesafe_sdk.TypeSafeAPIError as e:
            return e.status
        except NoWordsError:
            return 413  # a text that is too long is a chat's matter
        return 200


class SystemOne(TypeSafe):
    """`system-one`, which lists no models."""

    def __init__(self, address: str) -> None:
        self._address = address

    def _client_of(self, model: str) -> system_one.SystemOne:
        return system_one.SystemOne(
            system_one.HTTPConfig(base_url=self._address, model=model, _env_file=None)
        )

    def models(self) -> list[str]:
        raise NoWordsError("this client lists no models")

    def chat(self, turns: Sequence[dict[str, str]], **options: Any) -> Said:
        if options.get("model") == "another":
            self._client_of("another").ask("s", {"q": system_one.Noul(instructions="?")})
        raise NoWordsError("System One writes no text")

    def decide(self, state: Any, questions: dict[str, Any]) -> dict[str, dict[str, float]]:
        kinds = {"noul": system_one.Noul, "choice": system_one.Choice, "score": system_one.Score}
        filled = {
            n: {**q, "criteria": {k: v or k for k, v in q["criteria"].items()}}
            if q["type"] == "choice"
            else q
            for n, q in questions.items()
        }
        asked = {
            n: kinds[q["type"]](**{k: v for k, v in q.items() if k != "type"}) for n, q in filled.items()
        }
        got = self._client_of(MODEL).ask(state, asked)
        nouls = {n: {"true": a.noul, "false": 1 - a.noul} for n, a in got.nouls.items()}
        both = {**got.choices, **got.scores}
        return nouls | {n: {str(k): p for k, p in a.probabilities.items()} for n, a in both.items()}

    def status(self, work: Callable[[], Any]) -> int:
        try:
            work()
        except system_one.APIError as e:
            return e.status
        except NoWordsError:
            return 413
        return 200


def _probabilities(answers: Any) -> dict[str, dict[str, float]]:
    """Answers of Ollama's `systemone`."""
    found = {}
    for name, a in answers.items():
        if getattr(a, "noul", None) is not None:
            found[name] = {"true": a.noul, "false": 1 - a.noul}
        else:
            found[name] = {str(k): p for k, p in a.probabilities.items()}
    return found


ADAPTERS = {"openai": OpenAI, "ollama": Ollama, "typesafe-sdk": TypeSafe, "system-one": SystemOne}
