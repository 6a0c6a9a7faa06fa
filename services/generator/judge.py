"""Whether a text is a sentence of its task, as it comes and at its end: the one judge of every engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from captionstream.contracts.messages import Form
from services.generator.grammar import Reading, may_continue, read
from services.generator.guided.guide import Guide
from services.generator.guided.reading import reading_at_end
from services.generator.guided.way import BEGUN, Ways, advanced
from services.generator.writer import Piece, Task


def guide_for(task: Task) -> Guide | None:
    """What binds the words of the task; None where the grammar binds its letters. Guided by nothing is strict."""
    return task.guide if task.form is Form.GUIDED else None


@dataclass
class Judge:
    """Reads one text of a task. What is said is what was taken, without the space around it."""

    task: Task
    text: str = ""
    _ways: Ways = BEGUN

    def take(self, piece: Piece) -> bool:
        """Whether the text may go on after this piece, or is at its end."""
        self.text = (self.text + piece.text).lstrip()
        guide = guide_for(self.task)
        if guide is None:
            return may_continue(self.task.allowed, self.text.rstrip())
        self._ways = advanced(guide, self._ways, *piece)
        return bool(self._ways)

    def reading(self, author: str = "") -> Reading | None:
        """What the whole text says, if it is a sentence of the task. `author` signs what only the model says."""
        if guide_for(self.task) is None:
            return read(self.task.allowed, self.text.rstrip())
        return reading_at_end(self._ways, author)


def reading(task: Task, pieces: Iterable[Piece], author: str = "") -> Reading | None:
    """What a text in pieces says, if it is a sentence of the task."""
    judge = Judge(task)
    return judge.reading(author) if all(map(judge.take, pieces)) else None
