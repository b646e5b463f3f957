"""Reading by a table: each form of file gives its documents, each kind of bad input its reason; nothing vanishes."""

import csv
import gzip
import io
import json
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from pipeline.corpus import sources
from pipeline.corpus.nesting import MAX_DEPTH, too_deep
from pipeline.corpus.read import Reader
from pipeline.corpus.record import MAX_DOCUMENT, Refused
from pipeline.corpus.rows import document, loads
from pipeline.corpus.sources import Columns
from pipeline.corpus.step import Ledger
from pipeline.corpus.stream import Stream, next_member
from pipeline.formats import Form, form

TEXT = "The fox went down to the lake, und die Füchsin kam mit."
PAGE = f"<html><body><p>{TEXT}</p></body></html>"
ARCHIVES = Path(__file__).resolve().parents[2] / "shared" / "data" / "warc"


def zst(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


PACK = {"": bytes, ".gz": gzip.compress, ".zst": zst}


def pdf(text: str) -> bytes:
    """One page with one line of text; no cross-reference table, which PDFium makes up for."""
    drawn = b"BT /F1 12 Tf 72 700 Td (" + text.encode("cp1252") + b") Tj ET"
    return (
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
        b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R"
        b"/Resources<</Font<</F1 5 0 R>>>>>>endobj\n"
        b"4 0 obj<</Length " + str(len(drawn)).encode() + b">>stream\n" + drawn + b"\nendstream endobj\n"
        b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>endobj\n"
        b"trailer<</Root 1 0 R>>\n%%EOF"
    )


def table(*rows: dict, compression: str = "snappy") -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), sink, row_group_size=2, compression=compression)
    return sink.getvalue()


def separated(dialect: str, *rows: list[str]) -> bytes:
    sink = io.StringIO(newline="")
    csv.writer(sink, dialect).writerows(rows)
    return sink.getvalue().encode()


def warc(*pages: tuple[str, str, bytes], kind: str = "response", gzipped: bool = False, **http: str) -> bytes:
    """(address, content type, body) records, each in a gzip member of its own where asked."""
    sink = io.BytesIO()
    writer = WARCWriter(sink, gzip=gzipped)
    for url, media, body in pages:
        if kind == "response":
            status = http.get("status", "200 OK")
            headers = [("Content-Type", media), *(("Content-Encoding", v) for k, v in http.items() if k == "encoding")]
            head = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            record = writer.create_warc_record(url, kind, payload=io.BytesIO(body), http_headers=head)
        else:
            found = {"Content-Type": media}
            record = writer.create_warc_record(url, kind, payload=io.BytesIO(body), warc_headers_dict=found)
        writer.write_record(record)
    return sink.getvalue()


def arc(url: str, body: bytes) -> bytes:
    http = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    head = b"1 0 Example\nURL IP-address Archive-date Content-type Archive-length\n"
    version = b"filedesc://x.arc 0.0.0.0 20200101000000 text/plain " + str(len(head)).encode() + b"\n" + head + b"\n"
    return version + f"{url} 1.2.3.4 20200101000000 text/html {len(http)}\n".encode() + http + b"\n"


URL = "http://a.example/p"
FORMS = {
    "a.txt": (TEXT.encode(), "a.txt"),
    "a.md": (TEXT.encode(), "a.md"),
    "a.py": (TEXT.encode(), "a.py"),
    "a.html": (PAGE.encode(), "a.html"),
    "a.pdf": (pdf(TEXT), "a.pdf"),
    "a.jsonl": (json.dumps({"text": TEXT, "id": 7}).encode(), "7"),
    "a.csv": (separated("excel", ["id", "text"], ["7", TEXT]), "7"),
    "a.tsv": (separated("excel-tab", ["text", "id"], [TEXT, "7"]), "7"),
    "a.parquet": (table({"text": TEXT, "id": 7}), "7"),
    "a.warc": (warc((URL, "text/html", PAGE.encode())), URL),
    "a.warc.wet": (warc((URL, "text/plain", TEXT.encode()), kind="conversion"), URL),
    "a.arc": (arc(URL, PAGE.encode()), URL),
}


def reader(folder: Path, limit: int = MAX_DOCUMENT, **columns: object) -> Reader:
    (folder / "sources.json").write_text(
        json.dumps(
            [{"name": "x", "kind": "files", "path": "in", "licence": "", **({"columns": columns} if columns else {})}]
        )
    )
    (source,) = sources.load(folder)
    return Reader(source, Ledger(folder / "ledger", "read"), limit)


def read(folder: Path, files: dict[str, bytes], limit: int = MAX_DOCUMENT, **columns: object) -> list:
    """What a folder with these files gives: documents as dicts, refused ones as their reason."""
    (folder / "in").mkdir()
    for name, data in files.items():
        (folder / "in" / name).write_bytes(data)
    opened = reader(folder, limit, **columns)
    return [
        found.reason if isinstance(found, Refused) else found
        for name in opened.source.files
        for _, found in opened.parsed(name)
    ]


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_its_document(tmp_path, name, compression):
    data, wanted = FORMS[name]
    (found,) = read(tmp_path, {name + compression: PACK[compression](data)})
    assert TEXT in found["text"] and found["html"] == (PAGE in found["text"])
    assert found["id"] == (wanted + compression if wanted == name else wanted)


MEMBERS = [gzip.compress(json.dumps({"text": str(n)}).encode() + b"\n") for n in range(3)]
DAMAGED = MEMBERS[1][:12] + b"\x00\xff\x00\xff" + MEMBERS[1][16:]
PAGES = [warc((f"{URL}{n}", "text/plain", b"page %d " % n * 30), gzipped=True) for n in range(3)]
PLAIN = warc(*((f"{URL}{n}", "text/plain", b"page %d" % n) for n in (1, 2)))
# A record that is longer than it says, and one without an address.
LYING = gzip.compress(
    warc((URL, "text/plain", b"no such length"), kind="resource").replace(b"Content-Length: 14", b"Content-Length: 3")
)
NAMELESS = gzip.compress(warc((URL, "text/plain", b"x")).replace(b"WARC-Target-URI", b"WARC-Target-Nil"))
DEEP = f"<html>{'<div>' * 100_000}x{'</div>' * 100_000}</html>"
LONG = b'{"text": "' + b"a" * 5000 + b'"}\n'
ROW = b'{"text": "b"}\n'
# Its footer says that a column "text" may be null; what the row below makes of it ended pyarrow 26's process.
COLUMN = table({"text": TEXT})
BOMB = b'{"text": "' + b"a" * 3_000_000 + b'"}\n'


@pytest.mark.parametrize(
    ("name", "data", "limit", "expected"),
    [
        ("empty.txt", b"", None, ["empty"]),
        ("blank.txt", b" \n\t", None, ["empty"]),
        ("empty.jsonl", b"", None, []),
        ("empty.jsonl.gz", b"", None, ["broken_file"]),
        ("empty.parquet", b"", None, ["broken_file"]),
        ("cut.jsonl.gz", gzip.compress(ROW * 500)[:-9], None, ["b"] * 500 + ["broken_file"]),
        ("cut.txt.gz", gzip.compress(ROW * 500)[:-9], None, ["broken_file"]),
        ("cut.jsonl.zst", zst(ROW)[:-3], None, ["broken_file"]),
        ("damaged.jsonl.gz", MEMBERS[0] + DAMAGED + MEMBERS[2], None, ["0", "broken_file", "2"]),
        ("padded.jsonl.gz", MEMBERS[0] + b"\0" * 100_000, None, ["0"]),
        ("cut.warc.gz", b"".join(PAGES)[:-20], None, ["page 0", "page 1", "broken_file"]),
        ("damaged.warc.gz", PAGES[0] + PAGES[1][:60] + b"\xff" * 9 + PAGES[1][69:] + PAGES[2], None,
         ["page 0", "broken_file", "page 2"]),
        ("lying.warc.gz", PAGES[0] + LYING + PAGES[2], None, ["page 0", "no ", "page 2"]),
        ("nameless.warc.gz", PAGES[0] + NAMELESS + PAGES[2], None, ["page 0", "broken_file", "page 2"]),
        ("head.warc", PLAIN[: PLAIN.find(b"http://a.example/p2")], None, ["page 1", "broken_file"]),
        ("no.warc", b"this is no archive\n" * 9, None, ["broken_file"]),
        ("cut.parquet", table(*({"text": str(n)} for n in range(9)))[:-40], None, ["broken_file"]),
        ("name.parquet", COLUMN.replace(b"\x18\x04text", b"\x18\x04\x83ext"), None, ["broken_file"]),
        ("abort.parquet", COLUMN.replace(b"%\x02\x18\x04text", b"%\x71\x18\x04text"), None, ["broken_file"]),
        ("bomb.parquet", table({"text": "a" * 3_000_000}, compression="zstd"), 1000, ["decompression_bomb"]),
        ("long.jsonl", LONG + ROW, 1000, ["too_long", "b"]),
        ("long.txt", LONG, 1000, ["too_long"]),
        ("long.txt.gz", gzip.compress(LONG), 1000, ["too_long"]),
        ("long.csv", b"text\n" + LONG + b"b\n", 1000, ["too_long", "b"]),
        ("long.parquet", table({"text": "a" * 5000}, {"text": "b"}), 1000, ["too_long", "b"]),
        ("long.warc", warc((URL, "text/plain", LONG), (URL, "text/plain", b"b")), 1000, ["too_long", "b"]),
        ("bomb.txt.gz", gzip.compress(BOMB), 1000, ["too_long"]),
        ("bomb.jsonl.gz", gzip.compress(BOMB), 1000, ["too_long", "decompression_bomb"]),
        ("bomb.jsonl.zst", zst(BOMB), 1000, ["decompression_bomb"]),
        ("bomb.parquet.gz", gzip.compress(BOMB), 1000, ["decompression_bomb"]),
        ("bomb.warc", warc((URL, "text/html", gzip.compress(BOMB)), encoding="gzip"), 10_000, ["too_long"]),
        ("zstd.warc", warc((URL, "text/html", zst(PAGE.encode())), encoding="zstd"), None, ["content_encoding"]),
        ("deep.html", DEEP.encode(), None, ["too_deep"]),
        ("bytes.txt", b"caf\xe9 au lait", None, ["café au lait"]),
        ("wide.txt", "\ufeffwide".encode("utf-16-le"), None, ["wide"]),
        ("bytes.jsonl", b'{"text": "\xff"}\n' + ROW, None, ["bad_json", "b"]),
        ("rows.jsonl", b'[1]\n{"text": 5}\n{"text": " "}\n{"x": NaN, "text": "b"}\n{"text": "a\\ud800"}\n', None,
         ["bad_json", "no_text", "empty", "b", "a?"]),
        ("nested.jsonl", b"[" * 100_000 + b"\n" + ROW, None, ["bad_json", "b"]),
        ("rows.csv", b'\xef\xbb\xbftext,n\n"two\nlines",1\nshort\n\nb,2\n', None, ["two\nlines", "bad_csv", "b"]),
        ("quote.csv", b'text\nb\n"never closed\n' + b"x\n" * 900, 1000, ["b", '"never closed', *"x" * 900]),
        ("quote.tsv", b'a\ttext\n1\t"stray\n2\tb\n3\tend"\n4\t"q"\n', None, ['"stray', "b", 'end"', "q"]),
        ("two.tsv", b'a\ttext\n1\t"stray\n2\tb "said" c\n3\t"x"y\n', None, ['"stray', 'b "said" c', '"x"y']),
        ("quoted.tsv", b'a\ttext\n1\t"two\n\nlines"\n2\tb\n', None, ["two\n\nlines", "b"]),
        ("stray.csv", b'a,text\n1,"stray\n2,"b, c"\n3,"d"" e"\n', None, ['"stray', "b, c", 'd" e']),
        ("loose.csv", b'a,text\n1,"b, c" d\n2,"b" c, d\n3,e\n', None, ["b, c d", "bad_csv", "e"]),
        ("short.csv", b'a,b,text\n1,"two\nlines"\n2,,e\n', None, ["bad_csv", "e"]),
        ("vain.csv", b'a,text\n' + b'1,"never ""closed\n' * 900, 1000, ['"never ""closed'] * 900),
        ("cut.csv.gz", gzip.compress(b'text\nb\n"' + b"c\n" * 500)[:-9], None, ["b", '"c', *"c" * 499, "broken_file"]),
        ("moved.warc", warc((URL, "text/html", b"x"), status="301 Moved"), None, ["http_status"]),
        ("image.warc", warc((URL, "image/png", b"x")), None, ["media_type"]),
        ("log.warc", warc(("metadata://a/wget.log", "text/plain", b"x"), kind="resource"), None, []),
        ("scan.pdf", pdf(""), None, ["empty"]),
        ("no.pdf", b"%PDF-1.4 and nothing", None, ["broken_file"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_bad_input_is_counted_and_the_rest_is_read(tmp_path, name, data, limit, expected):
    found = read(tmp_path, {name: data}, limit or MAX_DOCUMENT)
    shown = [one if isinstance(one, str) else one["text"] for one in found]
    assert [one[:6] if one.startswith("page ") else one for one in shown] == expected


def test_memory_stays_small_whatever_a_line_unpacks_to(tmp_path):
    (tmp_path / "in").mkdir()
    packer = zlib.compressobj(wbits=31)
    with (tmp_path / "in" / "one.jsonl.gz").open("wb") as file:
        file.writelines(packer.compress(b"a" * 1_000_000) for _ in range(60))
        file.write(packer.flush())
    opened = reader(tmp_path, limit=1_000_000)
    tracemalloc.start()
    reasons = [found.reason for _, found in opened.parsed("one.jsonl.gz")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reasons == ["too_long", "decompression_bomb"]
    assert peak < 6_000_000


def test_broken_row_groups_count_each_row(tmp_path):
    good = table(*({"text": f"row {n} of many", "id": str(n)} for n in range(6)))
    chunk = pq.ParquetFile(io.BytesIO(good)).metadata.row_group(1).column(0)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    bad = good[:at] + b"\xff" * 8 + good[at + 8 :]
    found = read(tmp_path, {"a.parquet": bad})
    assert [one if isinstance(one, str) else one["id"] for one in found] == [
        "0",
        "1",
        "broken_file",
        "broken_file",
        "4",
        "5",
    ]


@pytest.mark.parametrize(
    ("row", "columns", "expected"),
    [
        ({"text": "a", "id": 3, "url": "u", "licence": "MIT"}, {}, ("a", "3", "u", "MIT", False)),
        ({"html": "<p>a", "id": None}, {}, ("<p>a", None, None, None, True)),
        ({"title": "T", "body": "b"}, {"text": ("title", "body")}, ("T\n\nb", None, None, None, False)),
        ({"title": "T", "body": None}, {"text": ("title", "body")}, ("T", None, None, None, False)),
        ({"text": "a", "meta": {"u": "x"}}, {"url": "meta.u", "licence": "meta.l"}, ("a", None, "x", None, False)),
        ({"text": "a", "meta.u": "y", "meta": {"u": "x"}}, {"url": "meta.u"}, ("a", None, "y", None, False)),
    ],
)
def test_columns_say_what_is_what(row, columns, expected):
    found = document(row, Columns(**columns))
    assert (found["text"], found["id"], found.get("url"), found.get("licence"), found["html"]) == expected


def test_numbers_that_are_none_and_lone_surrogates_are_json():
    assert loads(b'{"text": "a\\udc80", "n": Infinity}')["text"] == "a?"
    assert loads(b"{") is None


N = 20_000


@pytest.mark.parametrize(
    ("page", "deep"),
    [
        ("<div>" * (MAX_DEPTH + 1), True),
        ("<div>" * MAX_DEPTH + "<p>" * N + "<br>" * N + "</span>" * N, False),
        ("<div><span>a</span></div>" * N, False),
        ("<DIV><Span>a</SPAN></div>" * N, False),
        ("<ul><li>a<li>b</ul><table><tr><td>c<tr><td>d</table>" * N, False),
        ("<div></span>" * N, True),  # stray end tags
        ("<div></b></i></p>" * N, True),
        ("<a><div></a>" * N, True),
        ("<dIv\n class=x>" * N, True),
        ("<div><!-- </div> -->" * N, True),
        ("<!-- <div> -->" * N, False),
        ("<div><!-->--></div>" * N, False),
        ("<div><!--!></div>-->" * N, True),
        ("<div><?</div?>" * N, True),
        ("<div></ </div>" * N, True),
        ("<div><script>'</div>'</script>" * N, True),
        ("<script>'<div>'</script><STYLE><div></Style >" * N, False),
        ("<div><textarea></div></textarea>" * N, True),
        ("<div title='</div>' x=\"</div>\">" * N, True),
        ("<div title='>'></div>" * N, False),
        ("<div title='<div>'></div>" * N, False),
        ('<div a"></div><div b">' * N, True),  # a quotation mark in a name opens nothing
        ("<svg>" + "<path d='M0 0'/>" * N + "</svg>", False),
        ("<svg>" + "<tr>" * N, True),
        ("<svg>" + "<g a=b/>" * N, True),
        ("".join(f"<x{n}></x{n}>" for n in range(N)), False),
        ("<" * 500_000, False),
        ('<div a="' * 100_000, False),  # never ended, read once
        ("<div " * 200_000, False),
        ("<!--" * 200_000 + "<div>" * N, False),
        ("<script>" * 200_000 + "<div>" * N, False),
        ("<a" + " = " * 300_000 + "<div>" * N, True),
    ],
)
def test_depth_is_that_of_the_page(page, deep):
    assert too_deep(page) is deep


def test_several_tasks_read_each_record_once(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"".join(b'{"text": "%d"}\n' % n for n in range(10)))
    (tmp_path / "in" / "b.warc.gz").write_bytes(
        b"".join(PAGES) + warc((URL, "x/y", b""), kind="metadata", gzipped=True)
    )
    found = Counter()
    skipped = 0
    for rank in range(5):
        opened = reader(tmp_path)
        found.update((doc.id, doc.metadata["place"]) for doc in opened.run(rank=rank, world_size=5))
        skipped += passed_over(opened)
    assert set(found.values()) == {1} and len(found) == 13 and skipped == 1


@pytest.mark.skipif(not ARCHIVES.is_dir(), reason="the shared archives are not here")
@pytest.mark.parametrize("path", sorted(ARCHIVES.glob("*arc*")), ids=lambda path: path.name)
def test_records_of_real_archives_add_up(tmp_path, path):
    """A gzipped archive has a member a record, so members, counted without warcio, are what must be accounted for."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / path.name).symlink_to(path)
    opened = reader(tmp_path)
    documents = sum(1 for _ in opened.parsed(path.name))
    assert documents + passed_over(opened) == records(path.read_bytes())


def passed_over(opened: Reader) -> int:
    return sum(stat.total for name, stat in opened.stats.stats.items() if name.startswith("skipped_"))


def records(data: bytes) -> int:
    if not data.startswith(b"\x1f\x8b"):
        return data.count(b"WARC/1.0\r\n")
    count, at = 0, 0
    while (at := next_member(data, at)) >= 0:
        member = zlib.decompressobj(31)
        member.decompress(data[at:])
        count, at = count + 1, len(data) - len(member.unused_data) if member.eof else len(data)
    return count


def test_a_stream_of_plain_bytes_is_the_file(tmp_path):
    data = bytes(range(256)) * 1000
    assert io.BufferedReader(Stream(io.BytesIO(data), "", 10)).read() == data


@pytest.mark.parametrize(
    ("name", "suffix", "compression"),
    [
        ("a/b.TXT", ".txt", ""),
        ("crawl.warc.wet.gz", ".wet", ".gz"),
        ("a.tar.gz", "", ".gz"),
        (".txt", "", ""),
        ("folder.md/readme", "", ""),
        ("rows.jsonl.zst", ".jsonl", ".zst"),
        (".gz", "", ".gz"),
        ("file:///a%20b.pdf", ".pdf", ""),
    ],
)
def test_a_name_says_the_form(name, suffix, compression):
    assert form(name) == Form(suffix=suffix, compression=compression)
