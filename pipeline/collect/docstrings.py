"""Docstrings from source text: parses with `ast`, never imports, so that nothing installed is run.

`read_module` gives a module's documentation as one text, and its pairs of signature and one-line summary.
"""

import ast
import inspect
import re
import warnings
from dataclasses import dataclass

MAX_SIGNATURE = 240  # characters: with its answer it must fit a small context
SUMMARY_WORDS = (3, 20)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A function or class: `signature` is its def or class line, after its class where it is a method."""

    name: str
    signature: str
    summary: str


@dataclass(frozen=True, kw_only=True)
class Module:
    """The documentation of a module."""

    text: str
    pairs: tuple[Pair, ...]


def read_module(source: str, name: str) -> Module | None:
    """The documentation in a module's source; None where it does not parse or has none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # a template, Python 2, or a file that no parser takes
    blocks, pairs = [], []
    docstring = _docstring(tree)
    if docstring:
        blocks.append(docstring)
    for node, parent in _definitions(tree, None):
        docstring = _docstring(node)
        if not docstring:
            continue
        signature = _signature(node, parent)
        blocks.append(f"{signature}\n{docstring}")
        summary = _summary(docstring)
        public = not node.name.startswith("_")
        if summary and public and len(signature) <= MAX_SIGNATURE:
            pairs.append(Pair(name=node.name, signature=signature, summary=summary))
    if not blocks:
        return None
    return Module(text=f"{name}\n\n" + "\n\n".join(blocks), pairs=tuple(pairs))


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(node: ast.AST, parent: ast.ClassDef | None) -> list[tuple[Definition, ast.ClassDef | None]]:
    """Functions and classes at the top level and in classes, in the order of the source; not those in functions."""
    found: list[tuple[Definition, ast.ClassDef | None]] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            found.append((child, parent))
            found.extend(_definitions(child, child))
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((child, parent))
        elif isinstance(child, ast.If | ast.Try):
            found.extend(_definitions(child, parent))
    return found


def _docstring(node: ast.AST) -> str:
    """The cleaned docstring, "" where there is none. Lone surrogates, which UTF-8 cannot hold, become "?"."""
    body = getattr(node, "body", None)
    if not body or not isinstance(body[0], ast.Expr) or not isinstance(body[0].value, ast.Constant):
        return ""
    value = body[0].value.value
    return inspect.cleandoc(value).strip().encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _signature(node: Definition, parent: ast.ClassDef | None) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        line = f"class {node.name}({bases}):" if bases else f"class {node.name}:"
    else:
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
        line = f"{word} {node.name}({ast.unparse(node.args)}){returns}:"
    line = line.encode("utf-8", "replace").decode("utf-8")
    return f"class {parent.name}:\n    {line}" if parent else line


def _summary(docstring: str) -> str | None:
    """The first line where it is a plain sentence of 3 to 20 words, else None."""
    first, _, rest = docstring.partition("\n")
    if rest and rest.split("\n", 1)[0].strip():
        return None  # the sentence goes on in the next line
    first = first.strip()
    low, high = SUMMARY_WORDS
    if not low <= len(first.split()) <= high or not (first.isascii() and first.isprintable()):
        return None
    # A field list, a signature repeated, a doctest or a heading is no summary.
    if re.match(r"[:>@*=.`\-]|\w+\(.*\)", first) or first.endswith(":") or not first[0].isalpha():
        return None
    return first
