"""The classic public sources by name: which data set, how its rows become text, its licence. Network only when used.

A preset is the keys of one section; those that a recipe gives beside it win. The commit of a Hub data set is the
recipe's to pin: `{name: wiki, preset: wikipedia, dataset: {revision: <40 hex digits>, max_documents: 100000}}`.
The four Common Pile sets hold openly licensed text with the licence stated row by row (Kandpal et al. 2025,
https://arxiv.org/abs/2506.05209).
"""

from dataclasses import dataclass
from typing import Any

# Rows of the Common Pile: id, text, source, and in `metadata` the row's own licence and address.
PILE = {"licence": "metadata.license", "url": "metadata.url"}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """section: of the source. keys: that section's. licence: in words, where a row states none of its own."""

    section: str
    keys: dict[str, Any]
    licence: str


PRESETS = {
    "common_crawl": Preset(
        section="fetch",
        keys={
            "addresses": ["https://data.commoncrawl.org/crawl-data/CC-MAIN-2025-05/warc.paths.gz"],
            "max_files": 1,  # of 90,000; one holds some 30,000 pages in 1 GB
        },
        licence="Common Crawl terms of use; each page belongs to its publisher",
    ),
    "wikipedia": Preset(
        section="dataset",
        keys={
            "path": "wikimedia/wikipedia",
            "config": "20231101.en",
            "columns": {"text": ["title", "text"]},
        },
        licence="CC-BY-SA-3.0 and GFDL",
    ),
    "github_code": Preset(
        section="dataset",
        keys={"path": "common-pile/stackv2_edu_filtered", "columns": PILE},
        licence="permissive, stated row by row",
    ),
    "arxiv": Preset(
        section="dataset",
        keys={"path": "common-pile/arxiv_papers_filtered", "columns": PILE},
        licence="CC-BY-4.0, CC-BY-SA-4.0 or CC0-1.0, stated row by row",
    ),
    "stack_exchange": Preset(
        section="dataset",
        keys={"path": "common-pile/stackexchange_filtered", "columns": PILE},
        licence="CC-BY-SA, of the version stated row by row",
    ),
    "books": Preset(
        section="dataset",
        keys={"path": "common-pile/project_gutenberg_filtered", "columns": PILE},
        licence="public domain in the United States",
    ),
}
