"""S3 errors: one exception, one table of codes, one writer of the XML answer.

Every operation raises `S3Error` with a code of S3's own vocabulary; the edge turns it into the
status and the XML document that S3 clients parse. The table gives the status and the usual message
of each code (source: Amazon S3 API Reference, "Error responses"); a code that is not in it is a
mistake in the program and is refused where it is raised, not where it is sent.

A message may carry what a client sent (a key, a header), so the writer escapes it, and replaces
what XML 1.0 cannot hold at all (control characters, lone surrogates) by U+FFFD.
"""

from __future__ import annotations

from collections.abc import Mapping

_TIMEOUT = "Your socket connection to the server was not read from or written to in time."
_NO_SIGNATURE_MATCH = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method."
)

# code -> (HTTP status, message when the place that raises gives none)
ERRORS: Mapping[str, tuple[int, str]] = {
    "AccessControlListNotSupported": (400, "The bucket does not allow ACLs"),
    "AccessDenied": (403, "Access Denied"),
    "AmbiguousGrantByEmailAddress": (400, "More than one user has the email address."),
    "AccessForbidden": (403, "CORSResponse: This CORS request is not allowed."),
    "AuthorizationHeaderMalformed": (400, "The authorization header is malformed."),
    "AuthorizationQueryParametersError": (400, "The authorization query parameters are malformed."),
    "BadDigest": (400, "The Content-MD5 you specified did not match what we received."),
    "BadRequest": (400, "Bad Request"),
    "BucketAlreadyExists": (409, "The requested bucket name is not available."),
    "BucketAlreadyOwnedByYou": (409, "The bucket exists already, and you own it."),
    "BucketNotEmpty": (409, "The bucket you tried to delete is not empty."),
    "CertificatePending": (503, "The version is not in the notary's log yet. Try again."),
    "ConditionalRequestConflict": (409, "A conflicting operation occurred during this request."),
    "EntityTooLarge": (400, "Your proposed upload exceeds the maximum allowed object size."),
    "EntityTooSmall": (400, "Your proposed upload is smaller than the minimum allowed size."),
    "ExpiredToken": (400, "The provided token has expired."),
    "IllegalVersioningConfigurationException": (400, "The versioning configuration is not valid."),
    "IllegalLocationConstraintException": (400, "The location constraint is not for this region."),
    "IncompleteBody": (400, "The request body does not have the number of bytes it announced."),
    "InsufficientStorage": (507, "There is not enough free space for this request."),
    "InternalError": (500, "We encountered an internal error. Please try again."),
    "InvalidAccessKeyId": (403, "The AWS Access Key Id you provided does not exist."),
    "InvalidArgument": (400, "Invalid Argument"),
    "InvalidBucketAclWithObjectOwnership": (
        400,
        "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    ),
    "InvalidBucketName": (400, "The specified bucket is not valid."),
    "InvalidBucketState": (409, "The request is not valid for the current state of the bucket."),
    "InvalidDigest": (400, "The Content-MD5 you specified is not valid."),
    "InvalidEncryptionAlgorithmError": (400, "The encryption request is not valid."),
    "InvalidLocationConstraint": (400, "The specified location constraint is not valid."),
    "InvalidObjectState": (403, "The operation is not valid for the current state of the object."),
    "InvalidPart": (400, "One or more of the specified parts could not be found."),
    "InvalidPartNumber": (416, "The requested part number is not satisfiable."),
    "InvalidPartOrder": (400, "The list of parts was not in ascending order."),
    "InvalidPolicyDocument": (400, "The form does not meet the conditions of its policy."),
    "InvalidRange": (416, "The requested range is not satisfiable."),
    "InvalidRedirectLocation": (
        400,
        "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    ),
    "InvalidRequest": (400, "Invalid Request"),
    "InvalidRetentionPeriod": (400, "The retention period is not a positive integer."),
    "InvalidStorageClass": (400, "The storage class you specified is not valid."),
    "InvalidTag": (400, "The tag provided was not a valid tag."),
    "InvalidTargetBucketForLogging": (400, "The target bucket for logging does not exist."),
    "InvalidToken": (400, "The provided token is malformed or otherwise not valid."),
    "InvalidURI": (400, "Couldn't parse the specified URI."),
    "KeyTooLongError": (400, "Your key is too long."),
    "MalformedACLError": (400, "The ACL that you provided was not well formed."),
    "MalformedPOSTRequest": (400, "The body of your POST is not well-formed multipart/form-data."),
    "MalformedPolicy": (400, "The policy is not well formed."),
    "MalformedTrailerError": (400, "The request contained trailing data that was not well-formed."),
    "MalformedXML": (400, "The XML you provided was not well-formed or did not validate."),
    "MaxPostPreDataLengthExceededError": (
        400,
        "Your POST request fields preceding the upload file were too large.",
    ),
    "MaxMessageLengthExceeded": (400, "Your request was too big."),
    "MetadataTooLarge": (400, "Your metadata headers exceed the maximum allowed metadata size."),
    "MethodNotAllowed": (405, "The specified method is not allowed against this resource."),
    "MissingContentLength": (411, "You must provide the Content-Length HTTP header."),
    "MissingRequestBodyError": (400, "Request body is empty."),
    "MissingSecurityHeader": (400, "Your request is missing a required header."),
    "NoSuchBucket": (404, "The specified bucket does not exist."),
    "NoSuchBucketPolicy": (404, "The bucket policy does not exist."),
    "NoSuchCORSConfiguration": (404, "The CORS configuration does not exist."),
    "NoSuchCertificate": (404, "The version is not notarized."),
    "NoSuchKey": (404, "The specified key does not exist."),
    "NoSuchLifecycleConfiguration": (404, "The lifecycle configuration does not exist."),
    "NoSuchObjectLockConfiguration": (404, "The object does not have an Object Lock setting."),
    "NoSuchPublicAccessBlockConfiguration": (404, "There is no public access block configuration."),
    "NoSuchTagSet": (404, "The TagSet does not exist."),
    "NoSuchUpload": (404, "The specified multipart upload does not exist."),
    "NoSuchVersion": (404, "The specified version does not exist."),
    "NoSuchWebsiteConfiguration": (404, "The bucket does not have a website configuration."),
    "NotImplemented": (501, "A header or parameter you provided is not implemented."),
    "NotModified": (304, "Not Modified"),
    "ObjectLockConfigurationNotFoundError": (404, "The bucket has no Object Lock configuration."),
    "OperationAborted": (409, "A conflicting conditional operation is in progress. Try again."),
    "OwnershipControlsNotFoundError": (404, "The bucket ownership controls were not found."),
    "PositionNotHere": (504, "What was written at this position has not come here in time."),
    "PreconditionFailed": (412, "At least one of the preconditions you specified did not hold."),
    "ReplicationConfigurationNotFoundError": (404, "There is no replication configuration."),
    "RequestHeaderSectionTooLarge": (400, "The request header section is too large."),
    "RequestTimeTooSkewed": (403, "The request time and the server's time differ too much."),
    "RequestTimeout": (400, _TIMEOUT),
    "ServerSideEncryptionConfigurationNotFoundError": (
        404,
        "There is no encryption configuration.",
    ),
    "ServiceUnavailable": (503, "Please reduce your request rate or try again later."),
    "SignatureDoesNotMatch": (403, _NO_SIGNATURE_MATCH),
    "SlowDown": (503, "Please reduce your request rate."),
    "TooManyBuckets": (400, "You have attempted to create more buckets than allowed."),
    "UnexpectedContent": (400, "This request does not support content."),
    "UnresolvableGrantByEmailAddress": (400, "No user has the email address."),
    "XAmzContentChecksumMismatch": (400, "The checksum you specified did not match the content."),
    "XAmzContentSHA256Mismatch": (
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
}

_ESCAPES: dict[int, str] = {
    **dict.fromkeys((*range(32), *range(55296, 57344), 65534, 65535), "�"),
    0x09: "&#9;",
    0x0A: "&#10;",
    0x0D: "&#13;",
    ord("&"): "&amp;",
    ord("<"): "&lt;",
    ord(">"): "&gt;",
    ord('"'): "&quot;",
    ord("'"): "&apos;",
}


def xml_text(text: str) -> str:
    """`text` as it may stand in an XML 1.0 element or attribute; always encodable as UTF-8."""
    return text.translate(_ESCAPES)


class S3Error(Exception):
    """An answer to an S3 client: `code` and `status` of the table, a message, further elements.

    `extra` holds elements that S3 puts beside the message (Key, BucketName, Region, ...), in order;
    `head` is further header lines.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        status: int | None = None,
        extra: Mapping[str, str] | None = None,
        head: str = "",
    ) -> None:
        if code not in ERRORS:
            raise ValueError(f"{code!r} is no S3 error code of gateway.errors.ERRORS; add it there")
        usual_status, usual_message = ERRORS[code]
        self.code = code
        self.status = usual_status if status is None else status
        self.message = usual_message if message is None else message
        self.extra: dict[str, str] = dict(extra) if extra else {}
        self.head = head
        super().__init__(code, self.message)

    def __str__(self) -> str:
        return f"{self.code} ({self.status}): {self.message}"

    def to_xml(self, request_id: str, resource: str) -> bytes:
        """The error document; `resource` is the path asked for, unless `extra` names another."""
        elements = {"Code": self.code, "Message": self.message, "Resource": resource}
        elements.update(self.extra)
        elements["RequestId"] = request_id
        body = "".join(f"<{name}>{xml_text(text)}</{name}>" for name, text in elements.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'.encode()


# Answers whose wording and elements clients look at, as S3 gives them.


def invalid_argument(message: str, name: str, value: str) -> S3Error:
    extra = {"ArgumentName": name, "ArgumentValue": value}
    return S3Error("InvalidArgument", message, extra=extra)


def unsupported_authorization(scheme: str, authorization: str) -> S3Error:
    """The first word of an Authorization header is not the one that is understood."""
    if scheme == "AWS" or scheme.startswith("AWS4-"):
        return S3Error(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. "
            "Please use AWS4-HMAC-SHA256.",
        )
    return invalid_argument("Unsupported Authorization Type", "Authorization", authorization)


def two_auth_mechanisms() -> S3Error:
    return S3Error(
        "InvalidArgument",
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature "
        "query string parameter or the Authorization header should be specified",
    )


def request_time_too_skewed(sent: str, server_time: str, skew_seconds_max: int) -> S3Error:
    extra = {
        "RequestTime": sent,
        "ServerTime": server_time,
        "MaxAllowedSkewMilliseconds": str(skew_seconds_max * 1000),
    }
    return S3Error("RequestTimeTooSkewed", extra=extra)


def request_expired(expires_seconds: str, expired_at: str, server_time: str) -> S3Error:
    extra = {"X-Amz-Expires": expires_seconds, "Expires": expired_at, "ServerTime": server_time}
    return S3Error("AccessDenied", "Request has expired", extra=extra)


def headers_not_signed(names: list[str]) -> S3Error:
    message = "There were headers present in the request which were not signed"
    return S3Error("AccessDenied", message, extra={"HeadersNotSigned": ", ".join(names)})


def signature_does_not_match(
    access_key: str, to_sign: str, provided: str, canonical_request: str
) -> S3Error:
    """With what the server signed: all of it came from the client, and it needs it to compare."""
    extra = {
        "AWSAccessKeyId": access_key,
        "StringToSign": to_sign,
        "SignatureProvided": provided,
        "CanonicalRequest": canonical_request,
    }
    return S3Error("SignatureDoesNotMatch", extra=extra)
