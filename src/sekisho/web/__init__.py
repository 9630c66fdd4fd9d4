"""The HTTP face: System One, OpenAI chat, judgements and corrections, health and metrics. It knows the loop and decides nothing."""
