"""Twenty questions for a small chat model, and a text that it has not been trained on."""

from __future__ import annotations

__all__ = ["PROMPTS", "TEXT"]

PROMPTS = (
    "What is the capital of France?",
    "Tell me a long story about a lighthouse.",
    "Explain how a bicycle stays upright.",
    "What is 17 times 23? Explain every step.",
    "Write a Python function that returns the median of a list.",
    "List ten animals that live in the sea, with one fact about each.",
    "Translate into German: the train leaves at seven from platform two.",
    "Why is the sky blue? Answer for a child.",
    "Summarize: the budget was agreed, two hires were postponed, and the next meeting is in May.",
    "Write a polite letter that asks a neighbour to be quieter at night.",
    "What should I pack for two days in the mountains in October?",
    "Give three reasons for and three against working at night.",
    "Who wrote Faust, and what is it about?",
    "Describe the water cycle in five sentences.",
    "Answer as JSON with the keys name and age: Maria turned 34 last week.",
    "What is the difference between a virus and a bacterium?",
    "Write a poem of eight lines about rain in a city.",
    "How do I make tomato soup for four people?",
    "Correct the grammar: She don't likes apples, and he have went home.",
    "Describe how a film slate is used on a set.",
)

TEXT = (
    """
The crew arrived before sunrise, when the harbour was still a row of lamps in the fog. Nobody had slept well.
The generator had been loaded onto the wrong truck, and the second assistant spent the first hour on the
telephone, asking one hotel after another whether somebody had seen it in their yard. By seven the light was
already too flat for the shot that they had planned, so the director asked for the ladder instead, and for the
red coat, and for the boy who had been hired to carry both. He turned out to be afraid of heights. They gave the
ladder to the focus puller, who had climbed worse, and the boy was told to hold the slate. He took to it at
once. He wrote the scene in careful capitals, the take below it, and the roll in the corner, and he clapped so
hard in the first take that a gull left the roof of the fish hall and did not come back.

At noon the fog went as if a door had been opened. The far side of the bay stood there with every window, and
the sound recordist said that he could hear a radio on a boat that nobody could see. They waited for it to pass.
They waited for a crane to finish with a container, for a school class to cross the quay, and for a cloud shaped
like a shoe to get out of the sun. In the meantime the producer counted what was left of the day on her fingers
and started again from the thumb. When everything was quiet at last, the camera had no card in it. It took four
minutes to find one, and those four minutes were later the reason why the film has the ferry in it, white and
enormous, sliding in behind the red coat exactly on the last word. Everybody who has seen the film asks how much
the ferry cost. The director always answers that it was very expensive, and that it had to be ordered a year
ahead.
""".strip()
    .replace("\n\n", "\x00")
    .replace("\n", " ")
    .replace("\x00", "\n\n")
)
"""Prose written for this test, 1.9 kB."""
