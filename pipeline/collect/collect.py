"""The verb of `collect`: hands the job to the one source that the recipe names.

Each source writes `raw/` with `raw/sources.json`, and what else it has (conversations, prompts, evaluation items).
Try: `make collect RECIPE=storyworld`
"""

from pipeline.collect import files, pydocs, storyworld
from pipeline.stage import Job


def run(job: Job) -> dict[str, float]:
    """Writes the artifact and returns its metrics."""
    if job.recipe.storyworld is not None:
        return storyworld.collect(job.recipe.storyworld, job.out, job.seed)
    if job.recipe.pydocs is not None:
        return pydocs.collect(job.recipe.pydocs, job.out, job.seed)
    return files.collect(job.recipe.files, job.out)
