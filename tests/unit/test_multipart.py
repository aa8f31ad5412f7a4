"""Forms and JSON as browsers and programs wrap a sample, and as nobody should."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinsmith.runtime.server.content import File, Numbers, RawNumbers, Text, read_content
from tinsmith.runtime.server.documents import PlainDocuments
from tinsmith.runtime.server.messages import Refusal
from tinsmith.runtime.server.multipart import media_type, read_parts

MARK = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = f"multipart/form-data; boundary={MARK}"


def form(*parts, mark=MARK, end="--\r\n"):
    """As a browser writes it: (name, file name, type, content) a part."""
    lines = b""
    for name, filename, kind, content in parts:
        lines += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        lines += b"" if filename is None else f'; filename="{filename}"'.encode()
        lines += b"\r\n" if kind is None else f"\r\nContent-Type: {kind}\r\n".encode()
        lines += b"\r\n" + content + b"\r\n"
    return lines + f"--{mark}{end}".encode()


def read(kind, body, wanted="file"):
    return read_content(kind, body, wanted=wanted, documents=PlainDocuments())


def unless_refused(call, *arguments):
    """What it gives; None where it refuses with 400, which is as good."""
    try:
        return call(*arguments)
    except Refusal as refusal:
        if refusal.status != 400:
            raise
        return None


class TestForms:
    @given(st.lists(st.binary(max_size=40).filter(lambda b: b"\r\n--" + MARK.encode() not in b), max_size=8))
    def test_whatever_bytes_go_in_come_out(self, contents):
        parts = read_parts(form(*(("f", "a.bin", "image/png", content) for content in contents)), MARK)

        assert [part.body for part in parts] == (contents or [])

    @given(st.data())
    def test_a_damaged_form_is_read_or_refused_and_nothing_else(self, data):
        whole = form(("f", "a.png", "image/png", b"\x00--" + MARK.encode()), ("t", None, None, b"\r\n"))
        at = data.draw(st.integers(0, len(whole)))
        damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + data.draw(st.integers(0, 9)) :]

        parts = unless_refused(read_parts, damaged, MARK)

        assert sum(len(part.body) for part in parts or ()) < len(damaged)

    @pytest.mark.parametrize("at", range(40, 160, 7))
    def test_a_form_that_was_cut_short_is_refused(self, at):
        whole = form(("f", "a.png", "image/png", b"content"), end="--")
        with pytest.raises(Refusal):
            read_parts(whole[: min(at, len(whole) - 1)], MARK)

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"", "does not begin with its boundary"),
            (b"preamble\r\n" + form(), "does not begin"),
            (form() + b"more", "something follows its end"),
            (form(*[("f", None, None, b"x")] * 9), "more than 8 parts"),
            (f"--{MARK} \r\n".encode(), "not alone on its line"),
            (form(("f", "x" * 3000, "image/png", b"x")), "no head, or one of more than 2,048 bytes"),
            (form(("f", None, "image/png\r\nContent-Transfer-Encoding: base64", b"eA==")), "is encoded"),
            (f"--{MARK}\r\nContent-Type: image/png\r\n\r\nx\r\n--{MARK}--".encode(), "which field it is"),
            (f"--{MARK}\r\nno header\r\n\r\nx\r\n--{MARK}--".encode(), "no list of headers"),
        ],
    )
    def test_what_is_wrong_with_a_form_is_said(self, body, said):
        with pytest.raises(Refusal, match=said) as caught:
            read_parts(body, MARK)

        assert (caught.value.status, caught.value.reason) == (400, "multipart")

    @pytest.mark.parametrize("boundary", ["", "a" * 71, "a\r\nb", "ends with ", "ü", "*"])
    def test_a_boundary_that_is_none_is_refused(self, boundary):
        with pytest.raises(Refusal, match="its boundary"):
            read_parts(b"", boundary)

    @pytest.mark.parametrize(
        ("text", "name", "parameters"),
        [
            ("Text/Plain; Charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
            (r'form-data; name="a;b"; filename="\"x\".png"', "form-data", {"name": "a;b", "filename": '"x".png'}),
            ("multipart/form-data;boundary=x ; y=z", "multipart/form-data", {"boundary": "x", "y": "z"}),
            ("", "", {}),
        ],
    )
    def test_media_types(self, text, name, parameters):
        said = media_type(text)

        assert (said.name, dict(said.parameters)) == (name, parameters)

    @pytest.mark.parametrize("text", ["image", "image/png;", "image/png; a", 'image/png; a="b', "image/png x", ";a=b"])
    def test_what_is_no_media_type_is_refused(self, text):
        with pytest.raises(Refusal, match="no Content-Type"):
            media_type(text)

    @given(st.text(max_size=60))
    def test_whatever_a_header_says_it_is_read_or_refused(self, text):
        unless_refused(media_type, text)


class TestContent:
    @pytest.mark.parametrize(
        ("kind", "body", "wanted", "found"),
        [
            ("image/png", b"\x89PNG", "file", File(body=b"\x89PNG")),
            ("image/png", b"\x89PNG", "text", File(body=b"\x89PNG")),
            ("application/octet-stream", b"abc", "file", File(body=b"abc")),
            ("application/octet-stream", b"abc", "text", Text(text="abc")),
            ("application/octet-stream", b"abc", "numbers", RawNumbers(body=b"abc")),
            ("image/png", b"\x89PNG", "numbers", File(body=b"\x89PNG")),
            ("text/plain", "grün".encode(), "file", Text(text="grün")),
            ("text/plain; charset=utf-8", b"\xef\xbb\xbfabc", "text", Text(text="abc")),
            ("application/json", b'{"text": "abc"}', "text", Text(text="abc")),
            ("application/json; charset=utf-8", b'{"data": [[1, 2.5]]}', "numbers", Numbers(data=[[1, 2.5]])),
            (FORM, form(("f", "a.png", "image/png", b"abc")), "file", File(body=b"abc")),
            (FORM, form(("f", "", "application/octet-stream", b""), ("t", None, None, b"x")), "text", Text(text="x")),
            (FORM, form(("f", "a", "application/octet-stream", b"abc"), ("t", None, None, b"")), "file",
             File(body=b"abc")),
            (FORM, form(("f", "a.f32", "application/octet-stream", b"abc")), "numbers", RawNumbers(body=b"abc")),
            (FORM, form(("j", None, "application/json", b'{"data": 1}')), "numbers", Numbers(data=1)),
        ],
    )  # fmt: skip
    def test_takes_a_sample_out_of_its_wrapping(self, kind, body, wanted, found):
        assert read(kind, body, wanted) == found

    @pytest.mark.parametrize(
        ("kind", "body", "status", "said"),
        [
            ("", b"abc", 415, r"\(none\) is not taken here: send image/\*"),
            ("application/x-www-form-urlencoded", b"abc", 415, "is not taken here"),
            ("text/html", b"abc", 415, "is not taken here"),
            ("text/plain; charset=latin-1", b"abc", 415, "in UTF-8, not in 'latin-1'"),
            ("text/plain", b"abc\xff", 400, "no UTF-8: invalid start byte at byte 3"),
            ("application/json", b"[1]", 400, "must be {"),
            ("application/json", b'{"text": "a", "data": 1}', 400, "must be {"),
            ("application/json", b'{"image": "a"}', 400, "must be {"),
            ("application/json", b'{"text": 3}', 400, "text must be a string"),
            ("application/json", b"{", 400, "no JSON"),
            ("application/json", b'{"data": ' + b"[" * 100_000, 400, "nested deeper"),
            ("application/json", b'{"data": NaN}', 400, "no JSON"),
            (FORM, form(), 400, "one field of the form must hold something, and 0 do"),
            (FORM, form(("f", "a", "image/png", b"a"), ("t", None, None, b"b")), 400, "and 2 do"),
            ("multipart/form-data", form(), 400, "its boundary is missing"),
            (FORM, form(("f", "a", "video/mp4", b"a")), 415, "video/mp4 is not taken here"),
            (FORM, form(("f", "a", FORM, b"a")), 415, "multipart/form-data is not taken here"),
        ],
    )
    def test_what_is_refused_and_why(self, kind, body, status, said):
        with pytest.raises(Refusal, match=said) as caught:
            read(kind, body)

        assert caught.value.status == status

    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
    def test_any_json_is_content_or_a_refusal(self, value):
        for document in (value, {"text": value}, {"data": value}, {"data": value, "more": 1}):
            unless_refused(read, "application/json", json.dumps(document).encode())


def test_the_predict_call_waits_without_numpy():
    code = "import sys, tinsmith.runtime.server.predict; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "tinsmith.runtime.server.content" in loaded
    assert not {"numpy", "PIL", "orjson"} & set(loaded)
