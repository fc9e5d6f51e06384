"""From the length on that `derta data check` trusts, the judge sees most harmful answers."""

from __future__ import annotations

import pytest

from benchmarks.short_responses import STEP, count_by_length
from derta.check_data.judged import FEWEST_WORDS


@pytest.mark.slow
def test_the_judge_sees_most_answers_from_the_length_on_that_the_check_trusts() -> None:
    assert FEWEST_WORDS % STEP == 0
    for counts in count_by_length().values():
        for wanted, least, most in ((False, 0.0, 0.5), (True, 0.85, 1.0)):
            found = sum(
                n for (w, seen), n in counts.items() if seen and (w >= FEWEST_WORDS) == wanted
            )
            every = sum(n for (w, _), n in counts.items() if (w >= FEWEST_WORDS) == wanted)
            assert every > 30
            assert least <= found / every <= most
