"""Language identification on the Universal Declaration of Human Rights, in pieces of 300 to 1,000 characters.

Every language that the shipped identifier claims and UDHR has, in every script and orthography that UDHR has it in.
Members of one ISO 639-3 macrolanguage count as one (MEMBERS).
"""

import time
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.corpus_data import Row, named
from pipeline.corpus.language import ENOUGH, identify, langid, middle

# UDHR's file names (ISO 639-3) for the labels of the identifier (ISO 639-1 where there is one).
PAIRS = """
ace:ace afr:af amh:am ast:ast arb:ar asm:as azj:az bak:ba bcl:bcl bel:be bul:bg ben:bn bre:br bos:bs cat:ca
ces:cs cym:cy dan:da deu:de dzo:dz ell:el eng:en epo:eo spa:es est:et eus:eu pes:fa fin:fi fao:fo fra:fr
fri:fy fuc:fuv gax:om gla:gd gle:ga glg:gl gug:gug guj:gu hau:ha heb:he hin:hi hrv:hr hat:ht hun:hu hye:hy
ibo:ig ind:id isl:is ita:it jav:jv jpn:ja kat:ka kaz:kk khk:mn khm:km kan:kn kin:rw kir:ky kor:ko lao:lo
lat:la lav:lv lin:ln lit:lt lnc:oc ltz:lb lug:lg mal:ml mar:mr mkd:mk mlt:mt mly:ms mya:my nep:ne nld:nl
nno:nn nob:no nso:nso pan:pa pbu:ps pcm:pcm plt:mg pol:pl por:pt prv:oc quy:qu quz:qu ron:ro rus:ru san:sa
sin:si slk:sk slv:sl sme:se sna:sn som:so sot:st als:sq srp:sr swe:sv swh:sw tam:ta tat:tt tel:te tgk:tg
tgl:tl tha:th tuk:tk tur:tr uig:ug ukr:uk urd:ur uzn:uz vec:vec vie:vi wln:wa ckb:ku xho:xh yor:yo cmn:zh
zul:zu qud:qu qug:qu qva:qu qvc:qu qvh:qu qvm:qu qvn:qu qwh:qu qxa:qu qxn:qu qxu:qu
"""
LABELS = dict(pair.split(":") for pair in PAIRS.split())
# Label -> the label of its macrolanguage: hbs, msa, nor, zho, ara, kur, lav, uzb.
MEMBERS = {
    "bs": "sr", "hr": "sr", "id": "ms", "nn": "no", "yue": "zh", "wuu": "zh", "arz": "ar", "ary": "ar", "sdh": "ku",
    "ckb": "ku", "ltg": "lv", "uzs": "uz",
}  # fmt: skip
MERGED = "bs hr sr; id ms; nn no; yue wuu zh; arz ary ar; ckb sdh ku; ltg lv; uzs uz"
SHORTEST, LONGEST = 300, 1_000  # characters of a document


def pieces(text: str) -> Iterator[str]:
    """Whole paragraphs put together to documents of SHORTEST to LONGEST characters."""
    document = ""
    for paragraph in filter(None, map(str.strip, unicodedata.normalize("NFC", text).splitlines())):
        longer = f"{document}\n{paragraph}".strip()
        if len(longer) > LONGEST:
            if len(document) >= SHORTEST:
                yield document
            longer = paragraph[:LONGEST]
        document = longer
    if len(document) >= SHORTEST:
        yield document


def documents(data: Path, labels: set[str]) -> list[tuple[str, str, str]]:
    """(UDHR's file, label, text) of every language that is among the labels."""
    found = []
    with zipfile.ZipFile(data / "udhr2" / "udhr2.zip") as archive:
        for name in sorted(archive.namelist()):
            file = Path(name).stem
            label = LABELS.get(file.split("_")[0])
            if name.endswith(".txt") and label in labels:
                found += [(file, label, text) for text in pieces(archive.read(name).decode("utf-8"))]
    return found


def accuracy(docs: list[tuple[str, str, str]], verdict: Callable[[str], str]) -> tuple[float, float, str]:
    """(accuracy, documents/s, the files most often mistaken)."""
    wrong: Counter[str] = Counter()
    started = time.process_time()
    found = [verdict(text) for _, _, text in docs]
    seconds = time.process_time() - started
    for (file, label, _), code in zip(docs, found, strict=True):
        if MEMBERS.get(label, label) != MEMBERS.get(code, code):
            wrong[f"{file} as {code}"] += 1
    worst = ", ".join(f"{pair} {n}" for pair, n in wrong.most_common(4))
    return 1 - wrong.total() / len(docs), len(docs) / seconds, worst


def measure(data: Path) -> list[Row]:
    """The line on language."""
    docs = documents(data, set(langid().labels))
    right, speed, worst = accuracy(docs, lambda text: identify(middle(text, ENOUGH))[0])
    alone, alone_speed, _ = accuracy(docs, lambda text: langid().classify(middle(text, ENOUGH))[0])
    return [
        Row(
            what="language, accuracy",
            on=f"udhr2, {len(docs)} documents, {len({label for _, label, _ in docs})} languages (one: {MERGED})",
            value=f"{right:.3f}, {speed:,.0f} documents/s",
            bar=">= 0.97",
            reached=right >= 0.97,
            beside=f"{named('py3langid')} alone {alone:.3f}, {alone_speed:,.0f} documents/s; mistaken, with "
            f"{named('pycld2', 'CLD2')}: {worst}",
        )
    ]
