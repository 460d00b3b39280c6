"""Uploads by POST of a form, as browsers send them.

A form is a PutObject in other clothes. Its fields are read and bounded (`gateway.form`), what
signature there is of its policy is verified, the policy must allow the fields
(`gateway.post_policy`), and then fields become the headers they stand for, the file becomes the
body, and the operation PutObject is authorised and run as ever: so everything it can do, a form
can.

A form without a policy is anonymous. Nothing but its fields says what it does: `x-amz-*` headers,
which no policy covers, are refused.

How large the file is cannot be known before its end, since fields may follow it. A small one is
gathered first; of a larger one the Content-Length that PutObject sees is only a bound
(`Request.length_is_bound`).
"""

from collections.abc import Mapping
from urllib.parse import SplitResult, quote, urlencode, urlsplit, urlunsplit

from multidict import CIMultiDict, CIMultiDictProxy

from gateway import errors, sigv2, sigv4
from gateway.chunked import PayloadMode
from gateway.context import Config, Credential, Credentials
from gateway.errors import S3Error, invalid_argument
from gateway.form import Form, boundary_of
from gateway.limits import SMALL_BYTES_MAX
from gateway.post_policy import check_policy, read_policy
from gateway.reply import Reply, header_line, xml_reply
from gateway.request import DerivedRequest, Request
from gateway.sigv4 import AuthKind, AuthResult, Lookup
from gateway.target import Target, check_key
from gateway.xmltext import child_texts, children, escape, parse_document

_HEADERS = {
    "acl": "x-amz-acl",
    "cache-control": "Cache-Control",
    "content-disposition": "Content-Disposition",
    "content-encoding": "Content-Encoding",
    "content-language": "Content-Language",
    "content-md5": "Content-MD5",
    "content-type": "Content-Type",
    "expires": "Expires",
}
"""Fields that stand for a header; `x-amz-*` fields stand for the one of their name."""
_SIGNATURE_V4 = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_NO_HEADERS = frozenset(
    ("x-amz-algorithm", "x-amz-credential", "x-amz-signature", "x-amz-security-token")
)
_REFUSED = frozenset(
    ("x-amz-content-sha256", "x-amz-decoded-content-length", "x-amz-trailer", "x-amz-tagging")
)
"""They say how a body is sent; and `tagging` is the field for tags."""
_KEPT = ("Host", "User-Agent", "Referer", "Origin")
_NOT_FILLED = frozenset(("policy", *_SIGNATURE_V4, "awsaccesskeyid", "signature"))
_FILENAME = "${filename}"
_URL_CHARS_MAX = 2048
_STATUS = {"200": 200, "201": 201}


class FormUpload(DerivedRequest):
    """The PutObject that a form asks for. `read` gives the file; `answer` says it as forms want."""

    __slots__ = ("_fields", "_form", "_held", "_size", "_sizes")
    length_is_bound = True
    put_event = "ObjectCreated:Post"

    def __init__(self, request: Request, form: Form, fields: Mapping[str, str]) -> None:
        super().__init__(request)
        self.continue_due = False
        self._form = form
        self._fields = fields
        self._held: list[bytes] = []
        self._size = 0
        self._sizes: tuple[int, int] | None = None

    async def prepare(self, request: Request, sizes: tuple[int, int] | None) -> None:
        """Take the headers, and of the file as much as a small one has."""
        self._sizes = sizes
        headers = CIMultiDict(
            (name, request.headers[name]) for name in _KEPT if name in request.headers
        )
        headers.update(_as_headers(self._fields))
        bound = int(request.headers["Content-Length"]) - self._form.taken - self._form.ending_bytes
        held: list[bytes] = []
        size = 0
        while size <= SMALL_BYTES_MAX and (piece := await self._next()):
            held.append(piece)
            size += len(piece)
        if size <= SMALL_BYTES_MAX:
            bound = size
        held.reverse()
        self._held = held
        headers["Content-Length"] = str(max(bound, 0))
        self.headers = CIMultiDictProxy(headers)

    async def read(self) -> bytes:
        return self._held.pop() if self._held else await self._next()

    async def _next(self) -> bytes:
        """The next bytes of the file, within the sizes that the policy allows."""
        piece = await self._form.file()
        self._size += len(piece)
        if self._sizes is not None:
            least, most = self._sizes
            if self._size > most:
                extra = {"ProposedSize": str(self._size), "MaxSizeAllowed": str(most)}
                raise S3Error("EntityTooLarge", extra=extra)
            if not piece and self._size < least:
                extra = {"ProposedSize": str(self._size), "MinSizeAllowed": str(least)}
                raise S3Error("EntityTooSmall", extra=extra)
        return piece

    def answer(self, reply: Reply) -> Reply:
        """What PutObject has answered, as the form asks for it."""
        fields, target = self._fields, self.target
        lines = reply.head.split("\r\n")
        etag = next((line[6:] for line in lines if line.startswith("ETag: ")), "")
        url = _redirect(fields.get("success_action_redirect") or fields.get("redirect") or "")
        if url is not None:
            query = urlencode({"bucket": target.bucket, "key": target.key, "etag": etag})
            whole = urlunsplit(url._replace(query=f"{url.query}&{query}" if url.query else query))
            return Reply(303, reply.head + header_line("Location", whole))
        place = (
            f"http://{self.headers.get('Host', '')}{self.raw_path.rstrip('/')}/{quote(target.key)}"
        )
        head = reply.head + header_line("Location", place)
        status = _STATUS.get(fields.get("success_action_status", ""), 204)
        if status != 201:
            return Reply(status, head)
        return xml_reply(
            f"<PostResponse><Location>{escape(place)}</Location>"
            f"<Bucket>{escape(target.bucket)}</Bucket><Key>{escape(target.key)}</Key>"
            f"<ETag>{escape(etag)}</ETag></PostResponse>",
            201,
            head,
        )


async def read_upload(
    request: Request, credentials: Credentials, now: float, config: Config
) -> FormUpload:
    """The upload that a form asks for, authenticated and within its policy, not yet authorised."""
    boundary = boundary_of(request.headers.get("Content-Type", ""))
    if request.auth.kind is not AuthKind.ANONYMOUS:
        message = "A form is signed in its fields, not in the Authorization header or the query."
        raise S3Error("InvalidRequest", message)
    if "Content-Length" not in request.headers:
        raise S3Error("MissingContentLength")
    unsigned = [name for name in request.headers if name.lower().startswith("x-amz-")]
    if unsigned:
        raise errors.headers_not_signed(unsigned)
    form = Form(boundary, request.read)
    fields = _filled(await form.fields(), form.filename)
    upload = FormUpload(request, form, fields)
    found: Credential | None = None

    def secret(access_key: str) -> str | None:
        nonlocal found
        found = credentials.lookup(access_key)
        return None if found is None else found.secret

    upload.auth = _authenticate(fields, secret, now, config)
    upload.user = "" if found is None else found.user
    sizes: tuple[int, int] | None = None
    bucket = request.target.bucket
    if "policy" in fields:
        policy = read_policy(fields["policy"])
        check_policy(policy, fields, bucket, now)
        sizes = policy.sizes
    key = fields.get("key", "")
    if not key:
        message = (
            "Bucket POST must contain a field named 'key'.  If it is specified, please check the "
            "order of the fields."
        )
        raise invalid_argument(message, "key", "")
    check_key(key)
    upload.target = Target(bucket, key, {})
    await upload.prepare(request, sizes)
    return upload


def _filled(fields: dict[str, str], filename: str) -> dict[str, str]:
    """With the file's name in place of its variable: what stands after the path, if it has one."""
    name = filename.replace("\\", "/").rpartition("/")[2]
    return {
        field: value if field in _NOT_FILLED else value.replace(_FILENAME, name)
        for field, value in fields.items()
    }


def _authenticate(
    fields: Mapping[str, str], lookup: Lookup, now: float, config: Config
) -> AuthResult:
    version_4 = any(name in fields for name in _SIGNATURE_V4)
    version_2 = "awsaccesskeyid" in fields or "signature" in fields
    if version_4 and version_2:
        raise errors.two_auth_mechanisms()
    if not version_4 and not version_2:
        if "policy" in fields:
            raise _missing("AWSAccessKeyId")
        return AuthResult(None, AuthKind.ANONYMOUS, PayloadMode.UNSIGNED)
    for name in ("policy", *(_SIGNATURE_V4 if version_4 else ("AWSAccessKeyId", "signature"))):
        if not fields.get(name.lower()):
            raise _missing(name)
    if version_2:
        if not config.signature_v2:
            raise errors.unsupported_authorization("AWS", "")
        access_key, kind = fields["awsaccesskeyid"], AuthKind.FORM_V2
        sigv2.verify(access_key, [fields["policy"]], fields["signature"], lookup)
    else:
        access_key, kind = sigv4.verify_form(fields, lookup, now, config), AuthKind.FORM
    if "x-amz-security-token" in fields:
        raise S3Error("InvalidToken")
    return AuthResult(access_key, kind, PayloadMode.UNSIGNED)


def _missing(name: str) -> S3Error:
    message = (
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the "
        "order of the fields."
    )
    return invalid_argument(message, name, "")


def _as_headers(fields: Mapping[str, str]) -> dict[str, str]:
    """The headers that fields stand for. Fields that stand for none mean nothing."""
    headers: dict[str, str] = {}
    for field, value in fields.items():
        name = _HEADERS.get(field, field)
        if field == "tagging":
            name, value = "x-amz-tagging", _tags(value)
        if name in _REFUSED and field != "tagging":
            raise invalid_argument("This field cannot be in a form.", field, value)
        if (field not in _HEADERS and not name.startswith("x-amz-")) or name in _NO_HEADERS:
            continue
        if name in headers:
            raise invalid_argument("Two fields stand for one header.", field, value)
        if not name.isascii() or not sigv4.HEADER_CHARS.issuperset(name.lower()):
            raise invalid_argument("This field cannot be the name of a header.", field, value)
        headers[name] = value.strip(" \t")
    return headers


def _tags(document: str) -> str:
    """Tags, from the XML of the field to the form that they have in a header."""
    root = parse_document(document.encode(), "Tagging")
    pairs = [
        (texts.get("Key", ""), texts.get("Value", ""))
        for tags in children(root, "TagSet")
        for texts in map(child_texts, children(tags, "Tag"))
    ]
    return urlencode(pairs, quote_via=quote)


def _redirect(url: str) -> SplitResult | None:
    """Where to send the browser; None when that is no address of a page, as if it were not said."""
    if len(url) > _URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        split = urlsplit(url)
    except ValueError:
        return None
    good = split.scheme in ("http", "https") and split.netloc and "\\" not in url
    return split if good else None
