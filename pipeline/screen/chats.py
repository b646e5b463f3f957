"""Conversations, prompts and preference pairs pass the corpus's privacy and decontamination steps before training.

`sft`, `preferences` and `ppo` let every row through a `Screening`: private data become placeholders, and a row that
holds an item of a benchmark in collect's evaluation/ is dropped. Writes certificates/<benchmark>.json in the stage's
artifact, which `evaluate` asks for as it asks for the corpus's.
"""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.artifact import canonical
from pipeline.screen import leaks
from pipeline.screen.keys import Screen
from pipeline.screen.privacy import scrub
from pipeline.stage import UserError

KEPT_SAMPLES = 20  # dropped rows whose text is kept, for each benchmark
SAMPLE = 300  # characters of it

Message = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Searched:
    """One set of rows that was searched: how many came, how many stayed, and what these are."""

    name: str
    rows: int = 0
    kept: int = 0
    digest: Any = None

    def row(self) -> dict[str, Any]:
        """As a certificate lists it; sha256: of the kept rows' messages, one JSON a line, placeholders in them."""
        return {"name": self.name, "rows": self.rows, "kept": self.kept, "sha256": self.digest.hexdigest()}


class Screening:
    """The books of one stage's rows.

    collect: the artifact whose evaluation/*.jsonl are searched for; None where the recipe has none, and then private
    data are all that is looked for. Raises UserError, naming the line, for a benchmark's file that holds no items.
    """

    def __init__(self, keys: Screen, collect: Path | None) -> None:
        self.keys = keys
        self.ngram = keys.decontaminate_ngram
        self.benchmarks = leaks.benchmarks(collect) if collect is not None and self.ngram is not None else []
        self.index = leaks.load(tuple(self.benchmarks), self.ngram or 0)
        self.edits: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.examples: list[dict[str, str]] = []  # of what was dropped: {"id", "reason", "text"}
        self.matches: list[dict[str, str]] = []
        self.searched: list[Searched] = []

    def begin(self, name: str) -> None:
        """The rows from here on are these: what the certificates and messages call them."""
        self.searched.append(Searched(name=name, digest=hashlib.sha256()))

    def screened(self, messages: Sequence[Message], where: str) -> list[Message] | None:
        """The messages with placeholders; None where they hold an item, and the row must not be trained on.

        where: names the row in what is written, so no path of this machine. Contents that are no text are left as
        they are, for the chat gate to refuse.
        """
        now = self.searched[-1]
        now.rows += 1
        matches = self._leaks(messages)
        clean = [self._scrubbed(message) for message in messages]
        if matches:
            self._drop(matches, clean, where)
            return None
        now.kept += 1
        now.digest.update(canonical(clean).encode("utf-8", "surrogatepass") + b"\n")
        return clean

    def finish(self, stage: str, out: Path) -> dict[str, float]:
        """Writes the certificates and says what was done; returns it as metrics.

        Raises UserError where of some rows not one is left.
        """
        reasons = {f"leak_{name}": count for name, count in sorted(self.dropped.items())}
        for one in self.searched:
            if one.rows and not one.kept:
                found = ", ".join(f"{name} {count}" for name, count in sorted(self.dropped.items()))
                raise UserError(
                    f"{stage}: not one of {one.rows} rows ({one.name}) is left: each shares "
                    f"{self.ngram} words in a row with an evaluation item ({found}). Give other "
                    f"data, or set another screen.decontaminate_ngram in {stage}.yaml."
                )
        if os.environ.get("RANK", "0") == "0":
            if self.ngram is not None and self.benchmarks:
                data = {"stage": stage, "data": [one.row() for one in self.searched]}
                leaks.certify(self.index, self.benchmarks, self.matches, data, out)
            if self.edits or reasons:
                total = sum(one.rows for one in self.searched)
                told = [f"{count} {kind} replaced" for kind, count in sorted(self.edits.items())]
                told += [f"{count} rows dropped for {reason}" for reason, count in reasons.items()]
                log.warning("%s: of %d rows screened: %s", stage, total, ", ".join(told))
        return {
            **{f"edited_{kind}": count for kind, count in sorted(self.edits.items())},
            **{f"dropped_{reason}": count for reason, count in reasons.items()},
        }

    def _leaks(self, messages: Sequence[Message]) -> list[leaks.Match]:
        """Items in the messages, which are read as one text: a question and its answer are two of them.

        An item of fewer than leaks.RUN words ("yes", say) counts where somebody asks it, not where it is answered.
        """
        if not self.benchmarks:
            return []
        texts = [message["content"] for message in messages if isinstance(message.get("content"), str)]
        found = {match.benchmark: match for match in self.index.inside("\n".join(texts))}
        for message in messages:
            asked = message.get("role") == "user" and isinstance(message.get("content"), str)
            for match in self.index.whole_lines(message["content"]) if asked else []:
                found.setdefault(match.benchmark, match)
        return list(found.values())

    def _scrubbed(self, message: Message) -> Message:
        content = message.get("content")
        if not isinstance(content, str) or not self.keys.privacy:
            return dict(message)
        clean, counts = scrub(content, self.keys.privacy)
        self.edits.update({kind: count for kind, count in counts.items() if count})
        return {**message, "content": clean}

    def _drop(self, matches: Sequence[leaks.Match], clean: Sequence[Message], where: str) -> None:
        """Books the row under the first benchmark, and in the certificate of each."""
        for match in matches:
            passage = scrub(match.passage, self.keys.privacy)[0]
            entry = {"document": where, "benchmark": match.benchmark, "item": match.item, "passage": passage}
            self.matches.append(entry)
        first = matches[0].benchmark
        self.dropped[first] += 1
        if self.dropped[first] <= KEPT_SAMPLES:
            text = "\n".join(str(message.get("content")) for message in clean)[:SAMPLE]
            self.examples.append({"id": where, "reason": f"leak_{first}", "text": text})
