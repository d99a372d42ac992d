"""Decode in a process of its own and print its peak resident memory in bytes. Linux.

(Not by getrusage: a process begins there with the peak of the one that started it.)

usage: decode_memory.py BUNDLE PRECISION PROMPT_TOKENS[xSESSIONS] [IMAGE]
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import a2d
from a2d.runtime.decode.together import Together
from a2d.runtime.measure.bench import random_prompt

bundle, precision, tokens, *images = sys.argv[1:]
model = a2d.load(bundle, precision=precision, threads=1)
tokens, _, sessions = tokens.partition("x")
prompt = model.prompt(images=images) if images else random_prompt(model, int(tokens))
first, together = model.session(), Together()
for number in range(int(sessions or 1)):
    session = model.session(beside=first) if number else first
    together.join(session.stream(prompt, a2d.Options(max_tokens=32)))
while len(together):
    together.turn()
status = Path("/proc/self/status").read_text(encoding="utf-8")
print(1024 * int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[0]))
