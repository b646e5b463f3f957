"""What access tokens and private keys look like: corpus replaces them, and a push refuses a file that holds one.

Each kind of key is recognised by the prefix that its issuer gives it, so ordinary text is not touched, and looking for
the prefixes first (a search for fixed text) spares nearly every text the expressions. Where an expression names a
group `key`, that alone is the secret, and the rest is what it stands beside.
"""

import re
from collections.abc import Iterator

BASE64 = r"(?:[\s\\]n?|[\"'+,>#|])*[A-Za-z0-9+/=]"  # with what stands between the lines, also inside a string
# The head line, the lines of base64 below it, and the end line; of a key that is cut off what there is.
PRIVATE = (
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\s*(?:Proc-Type|DEK-Info|Version|Comment):[^\n]*)*"
    rf"(?:{BASE64}{{16,}})*(?:(?:{BASE64}{{1,15}})?[\s\\]*+n?[\"'+,>#|\s]*+"
    r"-----END (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----)?"
)
# What examples write where a password goes; bounded as a password is, or a long line would be read again and again.
NO_PASSWORD = (
    r"(?!(?:pass\w{0,64}|pwd?|[^\s@]{0,64}secret[^\s@]{0,64}|user\w{0,64}|tiger|token|key|x{1,64}"
    r"|\w{0,64}example\w{0,64}|\w{0,64}your\w{0,64}|\w{0,64}changeme\w{0,64})@)"
)

# kind: (the prefixes of which one must be there, the whole key)
KINDS = {
    "a Hugging Face token": (("hf_", "api_org_"), r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})",
    ),
    "a GitLab token": (("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "an AWS access key": (("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)(?![0-9A-Z]*EXAMPLE)[0-9A-Z]{16}\b"),
    "an AWS secret key": (
        ("ecret", "ECRET"),
        r"(?i:secret_?access_?key|aws_?secret_?key)[\"']?\s*[:=]\s*[\"']?"
        r"(?P<key>(?![A-Za-z0-9/+]*EXAMPLE)[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    "a Google key": (("AIza", "ya29."), r"\b(?:AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,})"),
    "an API key": (
        ("sk-",),
        r"\bsk-(?:(?:ant-[a-z]+\d+|proj|svcacct|admin|or-v\d)-(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{32,}"
        r"|(?:[a-z]+-)*[A-Za-z0-9_]{32,})",
    ),
    "a Stripe key": (("k_live_", "k_test_"), r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{20,}"),
    "a Slack token": (("xox", "xapp-"), r"\b(?:xox[abpr]|xapp-\d+)-[0-9A-Za-z-]{20,}"),
    "a SendGrid key": (("SG.",), r"\bSG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}"),
    "a PyPI token": (("pypi-",), r"\bpypi-[A-Za-z0-9_-]{60,}"),
    "an npm token": (("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a Telegram token": ((":AA",), r"\b\d{8,10}:AA[0-9A-Za-z_-]{33}(?![0-9A-Za-z_-])"),
    "a JSON web token": (("eyJ",), r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}"),
    "a password in an address": (
        ("://",),
        rf"://[^\s/:@?#<>\"'`{{}}$]{{1,64}}:{NO_PASSWORD}(?P<key>[^\s/:@<>\"'`{{}}$*]{{6,64}})@(?=\w)"
        r"(?!localhost|127\.|host\b|hostname|server\b|proxy\b|(?:[\w-]+\.)*example\b|(?:[\w-]+\.)*invalid\b)",
    ),
    "a private key": (("PRIVATE KEY",), PRIVATE),
}
TEXT = {prefixes: re.compile(pattern) for prefixes, pattern in KINDS.values()}
BYTES = {kind: re.compile(pattern.encode()) for kind, (_, pattern) in KINDS.items()}


def patterns(text: str) -> list[re.Pattern[str]]:
    """The expressions that can match somewhere in the text."""
    return [pattern for prefixes, pattern in TEXT.items() if any(prefix in text for prefix in prefixes)]


def spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every secret in the text; keys of two kinds may overlap."""
    for pattern in patterns(text):
        part = "key" if "key" in pattern.groupindex else 0
        yield from (match.span(part) for match in pattern.finditer(text))
