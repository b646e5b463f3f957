"""What access tokens and private keys look like: corpus replaces them, and a push refuses a file that holds one.

Each kind of key is recognised by the prefix that its issuer gives it, so ordinary text is not touched, and looking for
the prefixes first (a search for fixed text) spares nearly every text the expressions.
"""

import re

# kind: (the prefixes of which one must be there, the whole key)
KINDS = {
    "a Hugging Face token": (("hf_", "api_org_"), r"\b(?:hf|api_org)_[A-Za-z0-9]{30,}"),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})",
    ),
    "a GitLab token": (("glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "an AWS access key": (("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)(?![0-9A-Z]*EXAMPLE)[0-9A-Z]{16}\b"),
    "a Google key": (("AIza",), r"\bAIza[0-9A-Za-z_-]{35}"),
    "an API key": (("sk-",), r"\bsk-(?:[a-z]+-)*[A-Za-z0-9_]{32,}"),
    "a Stripe key": (("k_live_", "k_test_"), r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{20,}"),
    "a Slack token": (("xox",), r"\bxox[abpr]-[0-9A-Za-z-]{20,}"),
    "a SendGrid key": (("SG.",), r"\bSG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}"),
    "a PyPI token": (("pypi-",), r"\bpypi-[A-Za-z0-9_-]{60,}"),
    "an npm token": (("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a private key": (("PRIVATE KEY",), r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
}
TEXT = {prefixes: re.compile(pattern) for prefixes, pattern in KINDS.values()}
BYTES = {kind: re.compile(pattern.encode()) for kind, (_, pattern) in KINDS.items()}


def patterns(text: str) -> list[re.Pattern[str]]:
    """The expressions that can match somewhere in the text."""
    return [pattern for prefixes, pattern in TEXT.items() if any(prefix in text for prefix in prefixes)]
