"""A certificate as a page for people: one HTML file with nothing from elsewhere, the certificate
itself at its end."""

from datetime import UTC, datetime
from html import escape

from notary.certificate import Verified

_STYLE = """
body{font:16px/1.5 Georgia,serif;max-width:46em;margin:3em auto;padding:0 1em;color:#222}
h1{font-size:1.6em;border-bottom:3px double #888;padding-bottom:.4em}
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:normal;color:#666;
vertical-align:top;padding:.3em 1.5em .3em 0;white-space:nowrap}td{padding:.3em 0;
overflow-wrap:anywhere}code,pre{font:13px/1.4 monospace}pre{background:#f6f6f2;padding:1em;
overflow:auto}@media print{details{display:none}}
"""


def page(verified: Verified, certificate: bytes, timestamps: list[str]) -> str:
    """The page of a certificate that was verified. `timestamps`: a line on each."""
    entry = verified.entry
    rows = [
        ("Object", f"s3://{entry.bucket}/{entry.key}"),
        ("Version", entry.version_id or ""),
        ("Written", entry.time),
        ("Size", f"{entry.size:,} bytes"),
        ("SHA-256", entry.sha256 or ""),
        ("Hash of", "the bytes as clients read them")
        if entry.of == "object"
        else ("Hash of", "the bytes as stored, encrypted with the client's key"),
        ("Datacenter", f"{entry.dc} ({entry.dc_id})"),
        ("Log", f"{verified.origin}, entry {verified.position:,} of {verified.size:,}"),
    ]
    rows += [("Witness", f"{one.name}, {_date(one.seconds)}") for one in verified.witnesses]
    rows += [("Signed, key not given", name) for name in verified.unknown]
    rows += [("Timestamp", line) for line in timestamps]
    table = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(_visible(value))}</td></tr>"
        for name, value in rows
    )
    title = escape(_visible(f"Certificate of s3://{entry.bucket}/{entry.key}"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>Certificate</h1>"
        "<p>The datacenter named below has stored an object with these bytes, under this name, and"
        " has entered it into a log that cannot be changed unseen.</p>"
        f"<table>{table}</table>"
        "<p>This page is for reading. What proves it is the certificate, below or as a file of its"
        " own, and the datacenter's public keys:</p>"
        "<pre>farshore notary verify FILE CERTIFICATE --keys KEYS</pre>"
        "<details><summary>The certificate</summary>"
        f"<pre>{escape(certificate.decode())}</pre></details></html>\n"
    )


def _visible(text: str) -> str:
    """What turns text around, hides it or is none of HTML is shown by its number."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
