"""`litellm` in the words of the scenarios, run by a Python of its own: `python -m clients.litellm_client ADDRESS`. Prints what became of each scenario as JSON.

LiteLLM cannot share our environment (docs/decisions/0010-litellm.md), so nothing of ours but the list of scenarios is imported here.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import litellm

from .scenarios import MODEL, SCENARIOS, NoWordsError, Said


class LiteLLM:
    """`litellm`, through its provider for OpenAI's protocol."""

    def __init__(self, address: str) -> None:
        self._to = {"api_base": f"{address}/v1", "api_key": "none"}

    def models(self) -> list[str]:
        return litellm.get_valid_models(
            check_provider_endpoint=True, custom_llm_provider="openai", **self._to
        )

    def chat(self, turns: Sequence[dict[str, str]], **options: Any) -> Said:
        told = {
            "model": f"openai/{options.get('model', MODEL)}",
            "max_tokens": options.get("tokens", 24),
            "temperature": options.get("temperature", 0),
        }
        told |= {k: options[k] for k in ("stream", "seed", "stop", "logprobs") if k in options}
        if "schema" in options:
            form = {"name": "answer", "schema": options["schema"], "strict": True}
            told["response_format"] = {"type": "json_schema", "json_schema": form}
        done = litellm.completion(messages=list(turns), max_retries=0, **told, **self._to)
        if options.get("stream"):
            said = Said("")
            for chunk in done:
                for choice in chunk.choices:
                    said.text += choice.delta.content or ""
                    said.finish = choice.finish_reason or said.finish
            return said
        choice = done.choices[0]
        found = choice.logprobs.content if getattr(choice, "logprobs", None) else ()
        counts = done.usage
        return Said(
            choice.message.content,
            choice.finish_reason,
            counts.prompt_tokens,
            counts.completion_tokens,
            [t.logprob for t in found],
        )

    def decide(self, state: Any, questions: dict[str, Any]) -> dict[str, dict[str, float]]:
        asked = [_question(name, q) for name, q in questions.items()]
        done = litellm.decisions(model=f"openai/{MODEL}", input=state, questions=asked, **self._to)
        answers = json.loads(done.model_dump_json())["answers"]
        return {
            name: {"true": a["probability"], "false": 1 - a["probability"]}
            if a["type"] == "predicate"
            else {str(p["value"]): p["probability"] for p in a["probabilities"]}
            for name, a in zip(questions, answers, strict=True)
        }

    def status(self, work: Callable[[], Any]) -> int:
        try:
            work()
        except NoWordsError:
            raise
        except Exception as e:
            return int(getattr(e, "status_code", 0))
        return 200


def _question(name: str, question: dict[str, Any]) -> dict[str, Any]:
    shared = {"name": name, "instructions": question["instructions"]}
    if question["type"] == "noul":
        return {"type": "predicate", **shared}
    if question["type"] == "score":
        return {"type": "score", **shared, "levels": [{"label": x} for x in question["criteria"]]}
    choices = [{"value": k, **({"description": v} if v else {})} for k, v in question["criteria"].items()]
    return {"type": "choice", **shared, "choices": choices}


def main(address: str) -> None:
    """Run every scenario."""
    litellm.telemetry = False
    client, found = LiteLLM(address), {}
    for name, scenario in SCENARIOS.items():
        try:
            scenario(client)
            found[name] = "ok"
        except NoWordsError as e:
            found[name] = f"no words: {e}"
        except Exception:
            found[name] = traceback.format_exc(limit=-4)[-1500:]
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
