"""What a bucket says to browsers, as S3 checks it: CORS rules, and the website."""

from collections.abc import Iterable
from typing import Any

from gateway.errors import S3Error
from gateway.limits import CORS_RULES_MAX, RULE_ID_CHARS_MAX, WEBSITE_RULES_MAX

_METHODS = frozenset(("GET", "PUT", "POST", "DELETE", "HEAD"))


# -- CORS ---------------------------------------------------------------------------------------


def check_cors(wanted: Any) -> None:
    """InvalidRequest, MalformedXML."""
    rules = wanted.CORSRules
    if len(rules) > CORS_RULES_MAX:
        message = "The number of CORS rules should not exceed allowed limit of 100 rules."
        raise S3Error("InvalidRequest", message)
    for rule in rules:
        for method in rule.AllowedMethods:
            if method not in _METHODS:
                message = "Found unsupported HTTP method in CORS config. Unsupported method is "
                raise S3Error("InvalidRequest", f"{message}{method}")
        _check_wildcards("AllowedOrigin", rule.AllowedOrigins, 1)
        _check_wildcards("AllowedHeader", rule.AllowedHeaders or (), 1)
        _check_wildcards("ExposeHeader", rule.ExposeHeaders or (), 0)
        if len(rule.ID or "") > RULE_ID_CHARS_MAX:
            raise S3Error("InvalidArgument", "ID length should not exceed allowed limit of 255")
        if (rule.MaxAgeSeconds or 0) < 0:
            raise S3Error("MalformedXML")


def _check_wildcards(name: str, texts: Iterable[str], most: int) -> None:
    for text in texts:
        if text.count("*") > most:
            can = "contain a wildcard" if not most else "have more than one wildcard"
            raise S3Error("InvalidRequest", f'{name} "{text}" can not {can}.')


# -- website ------------------------------------------------------------------------------------


def check_website(wanted: Any) -> None:
    """InvalidArgument, InvalidRequest, MalformedXML."""
    everything = wanted.RedirectAllRequestsTo
    if everything is not None:
        if any((wanted.IndexDocument, wanted.ErrorDocument, wanted.RoutingRules)):
            message = "RedirectAllRequestsTo cannot be provided in conjunction with others."
            raise S3Error("InvalidArgument", message)
        return
    if wanted.IndexDocument is None:
        message = "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is "
        raise S3Error("InvalidArgument", f"{message}empty")
    suffix = wanted.IndexDocument.Suffix
    if not suffix or "/" in suffix:
        raise S3Error("InvalidArgument", "The IndexDocument Suffix is not well formed")
    if wanted.ErrorDocument is not None and not wanted.ErrorDocument.Key:
        raise S3Error("InvalidArgument", "The ErrorDocument Key is not well formed")
    rules = wanted.RoutingRules or ()
    if len(rules) > WEBSITE_RULES_MAX:
        message = f"{len(rules)} routing rules provided, the number of routing rules is limited to "
        raise S3Error("InvalidRequest", f"{message}{WEBSITE_RULES_MAX}.")
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: Any) -> None:
    redirect, condition = rule.Redirect, rule.Condition
    if condition is not None:
        code = condition.HttpErrorCodeReturnedEquals
        if code is None and condition.KeyPrefixEquals is None:
            message = "Condition cannot be empty. To redirect all requests without a condition, "
            raise S3Error("InvalidRequest", f"{message}leave the condition element out.")
        if code is not None and not _between(code, 400, 599):
            message = f"The provided HTTP error code ({code}) is not valid. "
            raise S3Error("InvalidRequest", f"{message}Valid codes are 4XX or 5XX.")
    code = redirect.HttpRedirectCode
    if code is not None and not _between(code, 301, 399):
        message = f"The provided HTTP redirect code ({code}) is not valid. "
        raise S3Error("InvalidRequest", f"{message}Valid codes are 3XX except 300.")
    if redirect.ReplaceKeyWith is not None and redirect.ReplaceKeyPrefixWith is not None:
        message = "You can only define ReplaceKeyPrefix or ReplaceKey but not both."
        raise S3Error("InvalidRequest", message)
    if not any(getattr(redirect, name) is not None for name in redirect.__struct_fields__):
        raise S3Error("MalformedXML")


def _between(text: str, low: int, high: int) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit() and low <= int(text) <= high
