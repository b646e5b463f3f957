"""Talk to a run's model in the terminal: `python -m pipeline.talk --recipe storyworld` (`make chat`).

Takes the most aligned model that is finished (PPO before DPO before SFT before the base), or the one that --stage
names. A chat model answers; a base model goes on with the text that it is given. /new forgets the conversation, /quit
ends it. What is typed is never parsed for special tokens. Reads lines from a pipe too, one a turn.
"""

import argparse
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pipeline.artifact import manifest
from pipeline.chain import MODEL_STAGES
from pipeline.stage import UserError

BASE_STAGE = MODEL_STAGES[0]
QUIT, FORGET = "/quit", "/new"
UNFINISHED = "\ufffd"  # what the bytes of half a character decode to


@dataclass(kw_only=True)
class Talk:
    """A conversation with one model. `room` tokens of the window are kept free for each answer."""

    model: Any
    tokenizer: Any
    chats: bool
    window: int
    max_new_tokens: int
    temperature: float
    seed: int
    messages: list[dict[str, str]] = field(default_factory=list)
    turn: int = 0

    @property
    def room(self) -> int:
        """Tokens of the window that a prompt must leave."""
        return min(self.max_new_tokens, self.window // 2)

    def answer(self, text: str) -> Generator[str, None, None]:
        """The model's answer, in pieces as they come. Raises UserError for a message that does not fit the window."""
        from pipeline.chat import stop_ids
        from pipeline.generate import stream

        prompt, self.messages = self.prompt(text)
        self.turn += 1
        tokens = stream(
            self.model,
            self.tokenizer,
            prompt,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed + self.turn,
            stop_ids=stop_ids(self.tokenizer),
        )
        said = ""
        try:
            for piece in pieces(self.tokenizer, tokens):
                said += piece
                yield piece
        finally:
            # Also after Ctrl-C: what was said so far is what the next message follows.
            if self.chats:
                self.messages.append({"role": "assistant", "content": said.strip()})

    def prompt(self, text: str) -> tuple[list[int], list[dict[str, str]]]:
        """The token ids to go on from, and the messages in them: the oldest turns are left out until they fit."""
        from pipeline.chat import END_OF_TEXT, encode_text, render_prompt

        if not self.chats:
            end = self.tokenizer.get_vocab().get(END_OF_TEXT, self.tokenizer.eos_token_id)
            ids = [end, *encode_text(self.tokenizer, text)]
            return self._fitting(ids), []
        messages = [*self.messages, {"role": "user", "content": text}]
        ids = render_prompt(self.tokenizer, messages)
        while len(ids) > self.window - self.room and len(messages) > 1:
            messages = messages[2:]
            ids = render_prompt(self.tokenizer, messages)
        return self._fitting(ids), messages

    def _fitting(self, ids: list[int]) -> list[int]:
        most = self.window - self.room
        if len(ids) > most:
            raise UserError(f"that is too long: {len(ids)} tokens, and this model can take {most} and answer.")
        return ids


def pieces(tokenizer: Any, tokens: Iterable[int]) -> Iterator[str]:
    """The text of a token stream as it grows; a character whose bytes are not all there yet is held back."""
    seen: list[int] = []
    shown = ""
    for token in tokens:
        seen.append(token)
        text = tokenizer.decode(seen, skip_special_tokens=True)
        if text.endswith(UNFINISHED) or not text.startswith(shown):
            continue
        if text != shown:
            yield text[len(shown) :]
            shown = text
    text = tokenizer.decode(seen, skip_special_tokens=True)
    if text.startswith(shown) and text != shown:
        yield text[len(shown) :]


def choose(run: Path, stage: str | None) -> tuple[str, Path]:
    """The stage to talk to and its folder. Raises UserError where it is unfinished, or none is finished."""
    if stage is not None and stage not in MODEL_STAGES:
        raise UserError(f"--stage {stage}: gives no model to talk to. Accepted: {', '.join(MODEL_STAGES)}.")
    for candidate in [stage] if stage else list(reversed(MODEL_STAGES)):
        if manifest(run / candidate) is not None:
            return candidate, run / candidate
    wanted = f"the stage {stage}" if stage else f"a model ({', '.join(reversed(MODEL_STAGES))})"
    raise UserError(f"{run}: has not finished {wanted}. Run `make {stage or 'all'} RECIPE={run.name}` first.")


def open_talk(folder: Path, chats: bool, args: argparse.Namespace) -> Talk:
    """Loads the model of a finished stage."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    from pipeline.generate import window

    logging.disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = "auto" if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        folder / "model", dtype=dtype, use_safetensors=True, trust_remote_code=False
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", trust_remote_code=False)
    return Talk(
        model=model.to(device),
        tokenizer=tokenizer,
        chats=chats,
        window=window(model) or 2048,
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        seed=args.seed,
    )


def typed(prompt: str) -> Iterator[str]:
    """Lines from a terminal, with editing and history, or from a pipe, until their end."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    import readline  # noqa: F401  (its import gives input() editing and history)

    while True:
        try:
            yield input(prompt)
        except (EOFError, KeyboardInterrupt):
            return


def converse(talk: Talk, lines: Iterable[str], out: TextIO) -> None:
    """Answers each line until the lines end or one says /quit. Ctrl-C ends an answer, not the conversation."""

    def write(text: str) -> None:
        out.write(text)
        out.flush()

    for line in lines:
        text = line.strip() if talk.chats else line
        if text.strip() == QUIT:
            break
        if text.strip() == FORGET:
            talk.messages = []
            write("(forgotten)\n")
            continue
        if not text and talk.chats:
            continue
        _answer(talk, text, write)


def _answer(talk: Talk, text: str, write: Callable[[str], None]) -> None:
    spoken = talk.answer(text)
    try:
        for piece in spoken:
            write(piece)
        write("\n\n")
    except KeyboardInterrupt:
        spoken.close()
        write(" (stopped)\n\n")
    except UserError as error:
        write(f"({error})\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.talk", description=str(__doc__).splitlines()[0])
    parser.add_argument("--recipe", default="storyworld", help="whose run to talk to")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--stage", help=f"one of {', '.join(MODEL_STAGES)}; default: the last that is finished")
    parser.add_argument("--max-new-tokens", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        if args.max_new_tokens < 1 or args.temperature < 0:
            raise UserError("--max-new-tokens must be at least 1, and --temperature at least 0.")
        stage, folder = choose(args.runs / Path(args.recipe).name, args.stage)
        talk = open_talk(folder, stage != BASE_STAGE, args)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    what = "answers what you write" if talk.chats else "goes on with what you write"
    sys.stdout.write(f"Talking to {folder}/model ({stage}): it {what}. {FORGET} forgets, {QUIT} ends.\n")
    sys.stdout.flush()
    converse(talk, typed(f"{'you' if talk.chats else 'text'}> "), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
