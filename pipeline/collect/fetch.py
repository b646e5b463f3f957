"""Files elsewhere, by fsspec address: copied as they are. A killed run keeps what it has, and the next one goes on.

Try: a source `{name: crawl, preset: common_crawl}` in collect.yaml, then `make collect`.
"""

import zlib
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.collect import raw
from pipeline.collect.source import Fetch
from pipeline.formats import SUFFIXES, form
from pipeline.progress import track
from pipeline.stage import UserError

LISTS = (".paths", ".paths.gz")  # a file that names files, one a line, relative to its own host
MAX_LIST = 200_000_000  # bytes, unpacked; Common Crawl's have 15 MB


def collect(section: Fetch, name: str, out: Path, resume: Path) -> dict[str, float]:
    """Copies the files to `out`, by way of `resume`, where those of a killed run lie."""
    where = f"collect.yaml: source '{name}'"
    try:
        addresses = spread(found(section, where), section.max_files)
        resume.mkdir(parents=True, exist_ok=True)
        for number, address in enumerate(track(addresses, len(addresses), name, "files")):
            target = resume / f"{number:05d}-{address.rpartition('/')[2]}"
            if not target.exists():
                copy(address, target)
    except ImportError as error:
        raise UserError(
            f"{where}: {error}. Install what reads such addresses, or copy the files and use files:."
        ) from None
    except (OSError, ValueError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno in raw.DISK:
            raise
        raise UserError(
            f"{where}: its files cannot be fetched: {type(error).__name__}: {str(error)[:200]}. This source needs a "
            "network; what was fetched is kept, and the same command goes on from there."
        ) from None
    out.parent.mkdir(parents=True, exist_ok=True)
    resume.rename(out)
    return {"files": len(addresses), "bytes": sum(path.stat().st_size for path in out.iterdir())}


def found(section: Fetch, where: str) -> list[str]:
    """Every file's address. Raises UserError for what corpus could not read and for what matches nothing."""
    import fsspec

    addresses: list[str] = []
    for address in section.addresses:
        filesystem, path = fsspec.core.url_to_fs(address)
        if "file" in (filesystem.protocol, *filesystem.protocol):
            raise UserError(
                f"{where}: {address} lies on this machine. Name its folder under files: instead of fetch:."
            )
        if path.endswith(LISTS):
            matches = listed(address)
        elif "*" in path:
            matches = sorted(filesystem.unstrip_protocol(match) for match in filesystem.glob(path))
        else:
            matches = [address]
        if not matches:
            raise UserError(f"{where}: no file matches {address}. Correct the address, or leave the source out.")
        addresses += matches
    if unknown := next((address for address in addresses if not form(address).suffix), None):
        raise UserError(f"{where}: {unknown} cannot be read. Accepted, also with .gz or .zst: {', '.join(SUFFIXES)}.")
    return addresses


def listed(address: str) -> list[str]:
    """The addresses in a list, each relative to the list's host or bucket."""
    import fsspec

    with fsspec.open(address, "rb") as file:
        data = file.read(MAX_LIST)
    if address.endswith(".gz"):
        data = zlib.decompressobj(31).decompress(data, MAX_LIST)
    root = "{0.scheme}://{0.netloc}/".format(urlsplit(address))
    lines = data.decode("utf-8").split()
    return [line if "://" in line else root + line for line in lines]


def spread(addresses: list[str], count: int | None) -> list[str]:
    """`count` of them at even distances, since neighbours in a crawl are alike; all where count is None."""
    if count is None or count >= len(addresses):
        return addresses
    return [addresses[number * len(addresses) // count] for number in range(count)]


def copy(address: str, target: Path) -> None:
    """Copies one file; the target is whole or absent."""
    import fsspec

    filesystem, path = fsspec.core.url_to_fs(address)
    part = target.with_name(target.name + ".part")
    filesystem.get_file(path, str(part))
    part.rename(target)
