"""Planted secrets: keys of many issuers, made up by their public formats, in real documents; false hits on clean ones.

No key stands in this file: each is drawn when it is wanted. Some issuers' keys the step does not claim to know; they
are measured on a line of their own.
"""

import random
import re
import string
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.corpus_data import Row, jsonl_of, only
from bench.corpus_privacy import covers
from pipeline.screen import privacy
from pipeline.screen.privacy import Span

NUM_EACH = 50  # keys of a kind
CLEAN_MEGABYTES = 4  # of code and of prose each
ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "u": string.ascii_uppercase + "234567",
    "l": string.ascii_lowercase + string.digits,
    "h": "0123456789abcdef",
    "d": string.digits,
    "s": string.ascii_letters + string.digits + "-_",
    "b": string.ascii_letters + string.digits + "+/",
}
# `{a36}` stands for 36 characters of the alphabet "a".
CLAIMED = {
    "Hugging Face": "hf_{a34}",
    "GitHub": "ghp_{a36}",
    "GitHub, fine-grained": "github_pat_{a22}_{a59}",
    "GitLab": "glpat-{s20}",
    "AWS key id": "AKIA{u16}",
    "AWS secret key": "aws_secret_access_key = «{b40}»",
    "Google": "AIza{s35}",
    "OpenAI": "sk-{a20}T3BlbkFJ{a20}",
    "OpenAI, project": "sk-proj-{s74}T3BlbkFJ{s74}",
    "Anthropic": "sk-ant-api03-{s93}AA",
    "Stripe": "sk_live_{a24}",
    "Slack": "xoxb-{d12}-{d13}-{a24}",
    "SendGrid": "SG.{s22}.{s43}",
    "PyPI": "pypi-AgEIcHlwaS5vcmc{s150}",
    "npm": "npm_{a36}",
    "Telegram": "{d10}:AA{s33}",
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9.eyJ{s60}.{s43}",
    "password in an address": "postgres://{l8}:«{a16}»@db.{l8}.com:5432/{l6}",
    "RSA private key": "-----BEGIN RSA PRIVATE {KEY}-----\n{b64}\n{b64}\n{b40}\n-----END RSA PRIVATE {KEY}-----",
    "SSH private key": "-----BEGIN OPENSSH PRIVATE {KEY}-----\n{b70}\n{b22}\n-----END OPENSSH PRIVATE {KEY}-----",
}
OTHERS = {
    "Azure storage": "AccountKey=«{b86}==»",
    "Databricks": "dapi{h32}",
    "DigitalOcean": "dop_v1_{h64}",
    "Discord bot": "M{a23}.{a6}.{s38}",
    "Docker Hub": "dckr_pat_{s27}",
    "Grafana": "glsa_{a32}_{h8}",
    "Groq": "gsk_{a52}",
    "Heroku": "HEROKU_API_KEY=«{h8}-{h4}-{h4}-{h4}-{h12}»",
    "Mailgun": "key-{h32}",
    "New Relic": "NRAK-{u27}",
    "Shopify": "shpat_{h32}",
    "Slack webhook": "https://hooks.slack.com/services/T{u8}/B{u10}/{a24}",
    "Square": "sq0atp-{s22}",
    "Twilio": "SK{h32}",
    "Vault": "hvs.{s90}",
    "password, assigned": 'password = "«{a14}»"',
}
PLACES = (
    'API_KEY = "{}"\n',
    "export TOKEN={}\n",
    "Authorization: Bearer {}\n",
    '  "token": "{}",\n',
    "# old one, do not use: {}\n",
    "I used {} and it worked.\n",
)
PIECE = 3_000  # characters of a document


def drawn(form: str, rng: random.Random) -> tuple[str, int, int]:
    """(a text made by the form, start and end of the secret in it: what stands between « and », else all)."""
    text = re.sub(r"\{([a-z])(\d+)\}", lambda m: "".join(rng.choices(ALPHABETS[m[1]], k=int(m[2]))), form)
    text = text.replace("{KEY}", "KEY")
    if "«" not in text:
        return text, 0, len(text)
    before, inside, after = re.split("[«»]", text)
    return before + inside + after, len(before), len(before + inside)


def code(megabytes: float) -> list[str]:
    """Files of Python's own library, in a fixed order that is not the alphabet's."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*/*.py"))
    random.Random(0).shuffle(files)
    found, size = list[str](), 0.0
    for path in files:
        if size >= megabytes * 1_000_000:
            break
        found.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(found[-1])
    return found


def prose(data: Path, megabytes: float) -> list[str]:
    """PEPs and books."""
    found, size = list[str](), 0.0
    for pattern in ("python_peps/*.jsonl*", "classic_books/*.jsonl*"):
        for row in jsonl_of(only(data, pattern)):
            if size >= megabytes * 1_000_000:
                break
            found.append(row["text"])
            size += len(found[-1])
    return found


def recall(forms: dict[str, str], texts: Sequence[str], number: int) -> dict[str, float]:
    """The share of each kind's keys that are found, each in a document of its own at a line's end."""
    rng = random.Random(1)
    found: dict[str, float] = {}
    for kind, form in forms.items():
        hits = 0
        for at in range(number):
            secret, start, end = drawn(form, rng)
            before, after = PLACES[at % len(PLACES)].split("{}")
            text = rng.choice(texts)
            begin = rng.randrange(max(1, len(text) - PIECE))
            piece = text[begin : begin + PIECE]
            line = piece.find("\n", len(piece) // 2) + 1
            offset = line + len(before)
            planted = piece[:line] + before + secret + after + piece[line:]
            gold = Span(kind="secret", start=offset + start, end=offset + end)
            hits += any(covers(one, gold) for one in privacy.find(planted, ("secret",)))
        found[kind] = hits / number
    return found


def line(what: str, forms: dict[str, str], texts: Sequence[str], number: int, of: Callable[[float], bool]) -> Row:
    """Mean recall; the kinds for which `of` is true are named beside it."""
    found = recall(forms, texts, number)
    named = ", ".join(
        f"{kind} {value:.2f}" for kind, value in sorted(found.items(), key=lambda pair: pair[1]) if of(value)
    )
    return Row(
        what=what,
        on=f"{len(forms)} kinds, {number} of each, planted in PEPs, books and Python's library",
        value=f"{sum(found.values()) / len(found):.3f} on average",
        beside=named or "1.00 of every kind",
    )


def measure(data: Path, number: int = NUM_EACH, megabytes: float = CLEAN_MEGABYTES) -> list[Row]:
    """Recall for the kinds that the step claims and for others; false hits on clean code and prose."""
    clean = {"Python's library": code(megabytes), "PEPs and books": prose(data, megabytes)}
    texts = [text for group in clean.values() for text in group]
    hits, sizes, shown = {}, {}, []
    for name, group in clean.items():
        found = [text[one.start : one.end] for text in group for one in privacy.find(text, ("secret",))]
        hits[name], sizes[name] = len(found), sum(map(len, group)) / 1e6
        shown += [" ".join(secret.split())[:14] + ".." for secret in found]
    return [
        line("planted secrets, recall, issuers that the step claims", CLAIMED, texts, number, lambda value: value < 1),
        line("planted secrets, recall, other issuers", OTHERS, texts, number, lambda value: True),
        Row(
            what="secrets found in clean text",
            on=", ".join(f"{name} {size:.1f} MB" for name, size in sizes.items()),
            value=", ".join(f"{name} {count}" for name, count in hits.items()),
            beside="they begin: " + ", ".join(sorted(set(shown))[:6]) if shown else "",
        ),
    ]
