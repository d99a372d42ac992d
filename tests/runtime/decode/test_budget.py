"""Answers in time, on a clock that only forwards move: whatever the options, no forward begins behind the deadline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from counts import examples
from decode_cases import cases, options
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import MASK, Toy, contract, prompt

from a2d.engines.errors import RequestError
from a2d.runtime.decode.budget import STALE, Clock, Lately, Slowness, Times
from a2d.runtime.decode.duration import seconds_of
from a2d.runtime.decode.forward import Forward
from a2d.runtime.decode.options import Options
from a2d.runtime.decode.rules import RULES
from a2d.runtime.decode.session import Session, TextResult
from a2d.runtime.decode.together import Together

TIMES = Times(step=1.0, step_far=1.0, commit=1.0, row=0.0, near=16, far=256, measured="measured by hand")


@dataclass
class Hand:
    """A clock whose hand every forward moves by the next of `spans`, the last again and again; and their starts."""

    spans: list[float] = field(default_factory=lambda: [1.0])
    at: float = 0.0
    starts: list[float] = field(default_factory=list)
    longest: float = 0.0

    def wrapped(self, runner):
        inner, hand = runner.run, self

        def run(request):
            answer = inner(request)
            if isinstance(request, Forward) and request.rows is not None:
                span = hand.spans.pop(0) if len(hand.spans) > 1 else hand.spans[0]
                hand.starts.append(hand.at)
                hand.at += span
                hand.longest = max(hand.longest, span)
            return answer

        runner.run = run
        return runner


def timed(toy: Toy, made, asked: Options, budget: float, hand: Hand, tokens=(5, 6, 7)) -> TextResult:
    session = toy.session(made)
    session.wrap = hand.wrapped
    clock = Clock(TIMES, budget, 0.0, lambda: hand.at)
    return session.stream(prompt(list(tokens)), asked, clock=clock).run()


@settings(max_examples=examples(40), deadline=None)
@given(cases(), st.sampled_from(list(RULES)), st.floats(1, 40), st.lists(st.floats(0.2, 6), min_size=1, max_size=5))
def test_no_forward_begins_behind_the_deadline(case, rule, budget, spans):
    asked = options(case, rule=rule) if rule in ("confidence", "prefix") else replace(
        options(case, rule=rule), threshold=None)  # fmt: skip
    hand = Hand(list(spans))
    result = timed(Toy(case["seed"]), case["contract"], asked, budget, hand, case["prompt"])
    assert all(start < budget for start in hand.starts) and hand.at < budget + hand.longest
    assert result.budget is not None and result.budget.seconds == budget
    assert MASK not in result.tokens and len(result.tokens) <= case["max_tokens"]
    assert result.stop_reason in ("stop", "length", "context", "budget")
    places = [place for early in result.budget.early for place in early.tokens]
    assert places == sorted(set(places)) and all(0 <= place < len(result.tokens) for place in places)
    assert result.tokens or result.stop_reason == "budget"


@settings(max_examples=examples(40), deadline=None)
@given(cases())
def test_time_enough_changes_nothing(case):
    toy, asked = Toy(case["seed"]), options(case)
    plain = toy.session(case["contract"]).generate(prompt(case["prompt"]), asked)
    result = timed(toy, case["contract"], asked, 1000.0, Hand(), case["prompt"])
    assert result.budget.early == () and result.budget.steps >= 1
    assert replace(result, budget=None, seconds=0, first_block_seconds=0) == replace(
        plain, seconds=0, first_block_seconds=0)  # fmt: skip


def test_the_plan_takes_the_steps_that_fit():
    asked = Options(max_tokens=16)  # blocks of 4: 4 of them or, with the prompt's tail, 5
    found = {budget: timed(Toy(2), contract(stop_token_ids=()), asked, budget, Hand()) for budget in (5, 8, 13, 16, 99)}
    assert [result.budget.steps for result in found.values()] == [1, 2, 3, 4, 4]
    assert all(result.stop_reason == "length" and len(result.tokens) == 16 for result in found.values())
    assert [result.forwards for result in found.values()] == sorted(result.forwards for result in found.values())


def test_a_machine_that_slows_down_accepts_what_is_left_and_says_which():
    asked = Options(max_tokens=16)
    hand = Hand([1.0, 1.0, 8.0, 1.0])
    result = timed(Toy(2), contract(stop_token_ids=()), asked, 20.0, hand)
    assert result.budget.early and hand.at <= 20.0 + hand.longest
    blocks = [early.block for early in result.budget.early]
    assert blocks == sorted(blocks) and result.budget.spent <= 20.0 + hand.longest


def test_an_answer_that_does_not_fit_is_cut_behind_whole_tokens():
    asked = Options(max_tokens=40)
    result = timed(Toy(2), contract(stop_token_ids=()), asked, 4.5, Hand())
    assert result.stop_reason == "budget" and 0 < len(result.tokens) < 40 and MASK not in result.tokens
    assert len(result.confidence) == len(result.tokens)


def test_a_prompt_that_takes_all_the_time_leaves_an_empty_answer():
    long = [5 + n % 20 for n in range(300)]  # read in three pieces, of which the first takes all the time
    result = timed(Toy(2), contract(), Options(max_tokens=8), 3.0, Hand([3.5]), long)
    assert (result.stop_reason, result.tokens, result.forwards) == ("budget", (), 1)
    late = Clock(TIMES, 3.0, 0.0, lambda: 3.1)
    result = Toy(2).session(contract()).stream(prompt([5, 6]), Options(max_tokens=8), clock=late).run()
    assert (result.stop_reason, result.tokens, result.forwards) == ("budget", (), 0)


def test_a_machine_that_was_busy_for_the_last_answer_is_for_this_one():
    asked, slow = Options(max_tokens=16), Slowness()
    slow.steps.add(2.0)
    session = Toy(2).session(contract(stop_token_ids=()))
    hand = Hand([2.0])
    session.wrap = hand.wrapped
    result = session.stream(prompt([5, 6, 7]), asked, clock=Clock(TIMES, 17.0, 0.0, lambda: hand.at, slow)).run()
    assert (result.budget.steps, result.stop_reason, len(result.tokens)) == (2, "length", 16)


def test_the_next_forward_is_expected_to_be_as_slow_as_the_slower_ones_of_late():
    now = [0.0]
    lately = Lately(10, 0.8, lambda: now[0])
    assert (lately.usual, lately.cautious) == (1.0, 1.0)
    for ratio in (9.0, *[1.0] * 7, 3.0, 2.0, 4.0):
        lately.add(ratio)
    assert (lately.usual, lately.cautious) == (1.0, 3.0)  # of the last ten: the first has gone
    lately.relax()
    assert lately.cautious == 3.0
    now[0] = 2 * STALE
    lately.relax()
    assert np.isclose(lately.cautious, 2.4)


def test_pictures_that_do_not_fit_are_refused_or_not_read():
    slow, now = Slowness(), [0.0]
    times = replace(TIMES, picture=0.5)
    clock = Clock(times, 8.0, 0.0, lambda: now[0], slow)
    assert clock.may_read(4)  # 2 s and a step
    clock.note_picture(4, 12.0)  # six times as slow as measured
    with pytest.raises(RequestError, match=r"got 8000 ms, expected 9000 ms or more: pictures take 8000 ms, and .*step"):
        Clock(times, 8.0, 0.0, lambda: now[0], slow).may_read(16)
    late = Clock(times, 8.0, 0.0, lambda: now[0], slow)
    assert not late.may_read(4)
    now[0] = 0.25
    result = Toy(2).session(contract()).stream(prompt([5, 6]), Options(max_tokens=8), clock=late).run()
    assert (result.stop_reason, result.forwards) == ("budget", 0)
    assert (result.budget.cut, result.budget.over, result.budget.spent) == ("pictures", 0.0, 0.0)
    assert not Clock(times, 8.0, 0.0, lambda: 0.0, slow).may_read(4)
    found = []
    for _ in range(9):
        slow.pictures._last -= 2 * STALE
        found.append(Clock(times, 8.0, 0.0, lambda: 0.0, slow).may_read(4))
    assert not found[0] and found[-1]  # it is tried again after a while


def test_what_is_cut_and_by_how_much_the_budget_is_missed_is_said():
    asked = Options(max_tokens=40)
    late = timed(Toy(2), contract(stop_token_ids=()), asked, 4.5, Hand([1.0, 1.0, 3.0])).budget
    assert late.cut == "answer" and late.over == late.spent - 4.5 == 0.5
    whole = timed(Toy(2), contract(stop_token_ids=()), asked, 900.0, Hand()).budget
    assert (whole.cut, whole.over) == ("", 0.0)
    long = [5 + n % 20 for n in range(300)]
    prompted = timed(Toy(2), contract(), Options(max_tokens=8), 3.0, Hand([3.5]), long).budget
    assert (prompted.cut, prompted.over) == ("prompt", 0.5)


def test_a_draft_is_not_an_answer():
    made = contract(context_mask="token_causal", shift="right_prev_row", stop_token_ids=())
    asked = Options(max_tokens=20, decode="speculative")
    whole = timed(Toy(1), made, asked, 1000.0, Hand())
    cut = timed(Toy(1), made, asked, 5.0, Hand())
    assert cut.stop_reason == "budget" and cut.tokens == whole.tokens[: len(cut.tokens)]


@pytest.mark.parametrize("budget", [0.5, 0.999])
def test_a_budget_shorter_than_a_step_is_refused_before_anything_runs(budget):
    engines = Toy().engines()
    hand = Hand()
    session = Toy().session(contract())
    session.wrap = hand.wrapped
    with pytest.raises(RequestError, match=r"budget: got .* ms, expected 1000 ms or more.*measured by hand"):
        session.stream(prompt([5, 6]), Options(), clock=Clock(TIMES, budget, 0.0, lambda: 0.0))
    assert hand.starts == [] and engines("backbone").calls == []


def test_a_sessions_own_clock_asks_for_the_times_first():
    toy, asked = Toy(), []

    class Timing:
        def __init__(self):
            self.slowness = Slowness()

        def __call__(self, plan):
            asked.append(plan.block)
            return replace(TIMES, step=1e-3, step_far=1e-3, commit=1e-3)

    plain = toy.session(contract())
    session = Session(plain.engine, plain.contract, plain.backbone.cache.shape, 200, times=Timing())
    result = session.generate(prompt([5, 6]), Options(max_tokens=8, budget="60 s"))
    assert asked == [contract().block_size] and result.budget.seconds == 60 and 0 < result.budget.spent < 60
    with pytest.raises(RequestError, match=r"budget: got 0\.5 ms, expected 1 ms or more: one step takes 1 ms"):
        session.clock(Options(budget="0.5ms"))
    with pytest.raises(RequestError, match="knows no times of its machine"):
        plain.clock(Options(budget="1 s"))


def test_side_by_side_each_keeps_its_own_time():
    toy, hand = Toy(2), Hand()
    together, made, pool = Together(), [], None
    for budget in (4.5, 500.0):
        session = Session(toy.engines(), contract(stop_token_ids=()), toy.session(contract()).backbone.cache.shape, 200,
                          pool=pool)  # fmt: skip
        pool = pool or session.share()
        clock = Clock(TIMES, budget, 0.0, lambda: hand.at)
        made.append(session.stream(prompt([5, 6, 7]), Options(max_tokens=40), clock=clock))
        together.join(made[-1])
    while len(together):
        hand.at += 1.0
        together.turn()
    assert [one.result.stop_reason for one in made] == ["budget", "length"]
    alone = toy.session(contract(stop_token_ids=())).generate(prompt([5, 6, 7]), Options(max_tokens=40))
    assert made[1].result.tokens == alone.tokens


@pytest.mark.parametrize(("text", "seconds"), [("200 ms", 0.2), ("200ms", 0.2), (" 1.5 s ", 1.5), ("3s", 3.0)])
def test_budgets_have_units(text, seconds):
    assert np.isclose(seconds_of(text), seconds)


@pytest.mark.parametrize("text", ["200", "0 ms", "-5 ms", "1 min", "", "ms", "1e3 ms", "2 days", "99999999 s", 200])
def test_anything_else_is_refused(text):
    with pytest.raises(RequestError, match="expected a time with its unit, as '200 ms' or '1.5 s'"):
        seconds_of(text)
    with pytest.raises(RequestError, match="budget"):
        Toy().session(contract()).stream(prompt([5, 6]), Options(budget=text))
